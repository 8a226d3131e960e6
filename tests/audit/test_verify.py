"""What somebody can do to the database without having the signing key, and how each is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.findings import Code, Report
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.audit.verify import verify_copy
from tests.audit.logbook import SIGNER, STRANGER, Logbook, ordinary_log, tampering

Tamper = Callable[[sqlite3.Connection], object]


@pytest.fixture
def book() -> Logbook:
    return ordinary_log()


@pytest.fixture
def database(book: Logbook, tmp_path: Path) -> Path:
    return book.save(tmp_path / "customhouse.db")


def verified(database: Path, remembered: bytes | None = None) -> Report:
    return verify_copy(database, SIGNER.vkey, remembered)


def codes(report: Report) -> set[Code]:
    return set(report.counts)


def sentence(report: Report, code: Code) -> str:
    return next(one.sentence for one in report.findings if one.code is code)


def test_an_untouched_log_verifies_and_is_summed_up(book: Logbook, database: Path) -> None:
    report = verified(database)
    assert report.clean
    assert (report.entries, report.root) == (40, book.frontier.root())
    assert report.kinds == {"open": 1, "intent": 17, "outcome": 16, "change": 5, "counters": 1}
    assert report.in_flight == 1
    assert report.checkpoints_checked == 4
    assert report.charged == {"tokens": 1600, "calls": 16, "cost": 800}
    assert report.last_us == book.rows[-1][1]


def test_a_log_that_reaches_the_remembered_checkpoint_verifies(
    book: Logbook, database: Path
) -> None:
    report = verified(database, remembered=book.note())
    assert report.clean
    assert report.checkpoints_checked == 5


# -- one entry is not what it was -------------------------------------------------------------------


def change_body(leaf: int, old: bytes, new: bytes) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        body = db.execute("SELECT body FROM entries WHERE idx = ?", (leaf,)).fetchone()[0]
        assert old in body
        db.execute("UPDATE entries SET body = ? WHERE idx = ?", (body.replace(old, new, 1), leaf))

    return tamper


def test_one_changed_byte_is_found_between_the_two_checkpoints_around_it(database: Path) -> None:
    with tampering(database) as db:
        change_body(12, b'"k1"', b'"k2"')(db)
    report = verified(database)
    assert codes(report) == {Code.ALTERED}
    assert sentence(report, Code.ALTERED) == (
        "at least one of the entries 10 to 19 is not as it was signed: "
        "a published checkpoint states another root at size 20 than the entries have"
    )


@pytest.mark.parametrize("leaf", range(40))
def test_any_entry_at_all_that_was_changed_is_found(leaf: int, database: Path) -> None:
    with tampering(database) as db:
        db.execute("UPDATE entries SET body = body || ' ' WHERE idx = ?", (leaf,))
    assert {Code.ALTERED, Code.NOT_CANONICAL} <= codes(verified(database))


def test_an_altered_amount_is_found_as_altered_and_in_the_sums(database: Path) -> None:
    with tampering(database) as db:
        change_body(3, b'"tokens":100', b'"tokens":1')(db)
    assert codes(verified(database)) == {Code.ALTERED, Code.COUNTERS_DIFFER}


def test_an_altered_entry_is_found_though_root_and_frontier_were_made_to_fit(
    book: Logbook, database: Path
) -> None:
    altered = Frontier()
    for row in book.rows:
        body = row[4].replace(b'"k1"', b'"k2"') if row[0] == 12 else row[4]
        altered.append(leaf_hash(body))
    with tampering(database) as db:
        change_body(12, b'"k1"', b'"k2"')(db)
        db.execute("UPDATE head SET root = ?, frontier = ?", (altered.root(), altered.to_bytes()))
        db.execute("DELETE FROM checkpoints")
    report = verified(database)
    assert codes(report) == {Code.ALTERED, Code.HEAD_MISMATCH}
    assert "entries 0 to 39" in sentence(report, Code.ALTERED)


def test_an_altered_log_signed_by_a_key_of_ones_own_is_found(book: Logbook, database: Path) -> None:
    forged = book.copy()
    forged.signer = STRANGER
    note = forged.note().decode()
    with tampering(database) as db:
        db.execute("UPDATE head SET note = ?", (note,))
        db.execute("UPDATE checkpoints SET note = ? WHERE size = 20", (note,))
    report = verified(database)
    assert report.counts == {Code.BAD_SIGNATURE: 2}
    assert sentence(report, Code.BAD_SIGNATURE).startswith("the head: ")


# -- entries are gone, or elsewhere -----------------------------------------------------------------


def renumber(after: int) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        for (idx,) in db.execute("SELECT idx FROM entries WHERE idx > ? ORDER BY idx", (after,)):
            db.execute("UPDATE entries SET idx = ? WHERE idx = ?", (idx - 1, idx))

    return tamper


@pytest.mark.parametrize("leaf", [0, 5, 7, 19, 38])
def test_a_removed_entry_leaves_a_gap_that_is_found(leaf: int, database: Path) -> None:
    with tampering(database) as db:
        db.execute("DELETE FROM entries WHERE idx = ?", (leaf,))
    report = verified(database)
    assert codes(report) == {Code.REMOVED}
    assert sentence(report, Code.REMOVED) == f"entry {leaf} is missing"


def test_several_removed_entries_are_one_gap(database: Path) -> None:
    with tampering(database) as db:
        db.execute("DELETE FROM entries WHERE idx BETWEEN 13 AND 15")
    assert sentence(verified(database), Code.REMOVED) == "entries 13 to 15 are missing"


def test_a_removed_entry_is_found_though_the_rest_moved_up(database: Path) -> None:
    with tampering(database) as db:
        db.execute("DELETE FROM entries WHERE idx = 19")
        renumber(19)(db)
    found = codes(verified(database))
    assert {Code.ALTERED, Code.REORDERED, Code.TRUNCATED} <= found
    assert Code.REMOVED not in found


def test_a_removed_entry_is_found_though_every_later_entry_was_rewritten(
    book: Logbook, database: Path
) -> None:
    with tampering(database) as db:
        db.execute("DELETE FROM entries WHERE idx >= 38")
        for leaf, at_us, kind, call, body in book.rows[39:]:
            moved = body.replace(b'"i":%d,' % leaf, b'"i":%d,' % (leaf - 1))
            db.execute(
                "INSERT INTO entries VALUES (?,?,?,?,?)", (leaf - 1, at_us, kind, call, moved)
            )
    report = verified(database)
    assert codes(report) == {Code.TRUNCATED}
    assert "the last 1 were cut off" in sentence(report, Code.TRUNCATED)


def swap_rows(one: int, other: int) -> Tamper:
    def tamper(db: sqlite3.Connection) -> None:
        for source, target in ((one, -1), (other, one), (-1, other)):
            db.execute("UPDATE entries SET idx = ? WHERE idx = ?", (target, source))

    return tamper


def test_two_swapped_entries_are_found_by_the_places_they_name(database: Path) -> None:
    with tampering(database) as db:
        swap_rows(9, 10)(db)
    report = verified(database)
    assert codes(report) == {Code.REORDERED, Code.ALTERED}
    assert sentence(report, Code.REORDERED) == "entry 9 says that it was written as 10"


def test_two_swapped_entries_are_found_by_their_times_though_their_places_were_swapped_too(
    database: Path,
) -> None:
    with tampering(database) as db:
        change_body(9, b'"i":9', b'"i":10')(db)
        change_body(10, b'"i":10', b'"i":9')(db)
        swap_rows(9, 10)(db)
    report = verified(database)
    assert codes(report) == {Code.REORDERED, Code.ALTERED}
    assert sentence(report, Code.REORDERED) == "entry 10 is 250000 us older than one before it"


# -- the tail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 5, 25, 40])
def test_a_cut_tail_is_found_by_the_head_that_covers_it(cut: int, database: Path) -> None:
    with tampering(database) as db:
        db.execute("DELETE FROM entries WHERE idx >= ?", (40 - cut,))
    report = verified(database)
    assert Code.TRUNCATED in codes(report)
    assert f"covers 40 entries, there are {40 - cut}" in sentence(report, Code.TRUNCATED)
    assert Code.ALTERED not in codes(report)


def set_back(book: Logbook, size: int) -> Tamper:
    """Restore the state at *size* entries, with the head that was signed then."""
    frontier = Frontier()
    for row in book.rows[:size]:
        frontier.append(leaf_hash(row[4]))
    note = next(note for _, published, note in book.published if published == size)

    def tamper(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries WHERE idx >= ?", (size,))
        db.execute("DELETE FROM counter_states WHERE leaf >= ?", (size,))
        head = (size, frontier.root(), frontier.to_bytes(), note)
        db.execute("UPDATE head SET size = ?, root = ?, frontier = ?, note = ?", head)

    return tamper


def test_a_log_set_back_under_an_old_head_is_found_by_a_later_checkpoint(
    book: Logbook, database: Path
) -> None:
    with tampering(database) as db:
        set_back(book, 20)(db)
    report = verified(database)
    assert codes(report) == {Code.TRUNCATED}
    assert sentence(report, Code.TRUNCATED).startswith("a published checkpoint covers 30 entries")


def test_a_log_set_back_completely_is_found_only_by_whoever_remembers_more(
    book: Logbook, database: Path
) -> None:
    with tampering(database) as db:
        set_back(book, 20)(db)
        db.execute("DELETE FROM checkpoints WHERE size > 20")
    assert verified(database).clean  # said openly: this is what a witness is for
    report = verified(database, remembered=book.note())
    assert codes(report) == {Code.TRUNCATED}
    assert sentence(report, Code.TRUNCATED) == (
        "the remembered checkpoint covers 40 entries, there are 20: the last 20 were cut off"
    )


def test_entries_behind_an_old_head_are_not_believed(book: Logbook, database: Path) -> None:
    old = next(note for _, size, note in book.published if size == 30)
    frontier = Frontier()
    for row in book.rows[:30]:
        frontier.append(leaf_hash(row[4]))
    with tampering(database) as db:
        head = (frontier.root(), frontier.to_bytes(), old)
        db.execute("UPDATE head SET size = 30, root = ?, frontier = ?, note = ?", head)
    assert codes(verified(database)) == {Code.UNSIGNED}


def test_an_entry_added_without_the_key_is_found(book: Logbook, database: Path) -> None:
    forged = book.copy()
    forged.change()
    with tampering(database) as db:
        db.execute("INSERT INTO entries VALUES (?,?,?,?,?)", forged.rows[-1])
    report = verified(database)
    assert codes(report) == {Code.UNSIGNED}
    assert report.findings[0].leaf == 40


def test_an_emptied_log_is_not_a_clean_one(book: Logbook, database: Path) -> None:
    with tampering(database) as db:
        for table in ("entries", "head", "checkpoints", "counter_states"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
    assert codes(verified(database)) == {Code.HEAD_MISMATCH, Code.NOT_OPENED}
    remembering = verified(database, remembered=book.note())
    assert codes(remembering) == {Code.HEAD_MISMATCH, Code.NOT_OPENED, Code.TRUNCATED}


def test_a_hole_that_would_exhaust_the_memory_ends_the_reading(database: Path) -> None:
    with tampering(database) as db:
        db.execute("UPDATE entries SET idx = idx + 9000000000000 WHERE idx >= 35")
    report = verified(database)
    assert report.counts == {Code.REMOVED: 1, Code.TRUNCATED: 1}
    assert report.entries == 35


def test_an_altered_entry_between_two_close_checkpoints_is_named(
    book: Logbook, tmp_path: Path
) -> None:
    book.publish()
    book.change()
    database = book.save(tmp_path / "close.db")
    with tampering(database) as db:
        change_body(40, b"tool.approve", b"tool.suspend")(db)
    assert sentence(verified(database), Code.ALTERED).startswith("entry 40 is not as it was signed")


# -- what stands beside the entries -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        pytest.param("DELETE FROM head", {Code.HEAD_MISMATCH}, id="no head"),
        pytest.param("UPDATE head SET size = 39", {Code.HEAD_MISMATCH}, id="size of the head"),
        pytest.param("UPDATE head SET size = NULL", {Code.HEAD_MISMATCH}, id="no size"),
        pytest.param("UPDATE head SET size = 'x'", {Code.HEAD_MISMATCH}, id="size in words"),
        pytest.param("UPDATE head SET root = zeroblob(32)", {Code.HEAD_MISMATCH}, id="root"),
        pytest.param("UPDATE head SET frontier = x''", {Code.HEAD_MISMATCH}, id="frontier"),
        pytest.param("UPDATE head SET note = NULL", {Code.BAD_SIGNATURE}, id="no note"),
        pytest.param("UPDATE head SET note = 7", {Code.BAD_SIGNATURE}, id="a number for a note"),
        pytest.param(
            "UPDATE checkpoints SET note = replace(note, 'customhouse', 'custom-house')",
            {Code.BAD_SIGNATURE},
            id="notes of another log",
        ),
        pytest.param("UPDATE entries SET call_id = 'X' WHERE idx = 11", {Code.MISFILED}, id="call"),
        pytest.param(
            "UPDATE entries SET kind = 'change' WHERE idx = 11", {Code.MISFILED}, id="kind"
        ),
        pytest.param("UPDATE entries SET kind = 7 WHERE idx = 11", {Code.MISFILED}, id="odd kind"),
        pytest.param("UPDATE entries SET at = at + 1 WHERE idx = 11", {Code.MISFILED}, id="time"),
        pytest.param("UPDATE entries SET at = 'x' WHERE idx = 11", {Code.MISFILED}, id="odd time"),
        pytest.param(
            "UPDATE counter_states SET state = CAST(state AS TEXT) || ' '",
            {Code.COUNTERS_DIFFER},
            id="counters that a restart would believe",
        ),
        pytest.param(
            "INSERT INTO counter_states VALUES (30, '{}')",
            {Code.COUNTERS_DIFFER},
            id="counters of an entry that states none",
        ),
        pytest.param(
            "UPDATE entries SET body = '' WHERE idx = 39",
            {Code.ALTERED, Code.UNKNOWN_KIND},
            id="no body",
        ),
        pytest.param(
            "UPDATE entries SET idx = 9000000000000 WHERE idx = 39",
            {Code.REMOVED, Code.TRUNCATED},
            id="an index that would exhaust the memory",
        ),
        pytest.param(
            "UPDATE entries SET idx = -5 WHERE idx = 39",
            {Code.REORDERED, Code.TRUNCATED},
            id="an index below the first",
        ),
    ],
)
def test_what_stands_beside_the_entries_cannot_lie(
    statement: str, found: set[Code], database: Path
) -> None:
    with tampering(database) as db:
        # A schema of one's own is within reach of whoever has the file.
        db.executescript(
            """CREATE TABLE loose AS SELECT * FROM head; DROP TABLE head;
            CREATE TABLE head (id, size, root, frontier, note, at);
            INSERT INTO head SELECT * FROM loose;"""
        )
        db.execute(statement)
    assert codes(verified(database)) == found


def test_a_body_of_another_type_is_read_as_the_bytes_it_has(database: Path) -> None:
    with tampering(database) as db:
        db.execute("UPDATE entries SET body = CAST(body AS TEXT)")
    assert verified(database).clean


def test_a_thousand_findings_are_counted_and_the_first_are_told(tmp_path: Path) -> None:
    book = Logbook()
    book.open()
    for _ in range(50):
        book.change()
    database = book.save(tmp_path / "customhouse.db")
    with tampering(database) as db:
        db.execute("UPDATE entries SET call_id = 'X'")
    report = verified(database)
    assert report.counts == {Code.MISFILED: 51}
    assert [one.leaf for one in report.findings] == list(range(20))
