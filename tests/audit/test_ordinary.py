"""Files from others that make SQLite compute: none of them is read, and none takes more than its size."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.audit import copy, ordinary
from gateway.audit.copy import NotReadable
from gateway.audit.export import COLUMNS
from gateway.audit.verify import verify_copy
from gateway.audit.verify_export import verify_file
from gateway.store.exportfile import write
from tests.audit.logbook import SIGNER, ordinary_log, tampering

ROOT = Path(__file__).parents[2]
WAIT_S = 20
MOST_BYTES = 33_554_432  # that a verifier which is not stopped may write on a disk
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n)"
ROWS = (
    "SELECT i AS idx, 1 AS at, 'intent' AS kind, '' AS call_id, hex(zeroblob(1000)) AS body FROM n"
)
COUNTED = "SELECT COUNT(*) FROM (SELECT i FROM n LIMIT ?)"
PAGE = 512
INTERIOR, LEAF = 5, 13  # a page of a table that leads to others; one with rows


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return ordinary_log().save(tmp_path / "customhouse.db")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.db"
    about = {"log": "l", "checkpoint": "c", "query": "", "proofs": "yes"}
    write(path, [{"leaf": 1, "kind": "open"}], about)
    return path


def verified(module: str, path: Path) -> tuple[int, str]:
    """What the verifier says, as a process that has to end, and may not fill the disk."""
    vkey = path.with_name("log.vkey")
    vkey.write_text(f"{SIGNER.vkey}\n")
    done = subprocess.run(
        [sys.executable, "-m", f"gateway.audit.{module}", str(path), str(vkey)],
        cwd=ROOT,
        env={"SQLITE_TMPDIR": str(path.parent)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES)),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_log_whose_entries_are_an_endless_view_is_refused(log: Path) -> None:
    with tampering(log) as db:
        db.execute("DROP TABLE entries")
        db.execute(f"CREATE VIEW entries AS {ENDLESS} {ROWS}")
    assert verified("verify", log) == (
        3,
        f"nothing could be verified: {log} is not a database of a log: "
        "it has a 'view', which is no part of a log: 'entries'\n",
    )


def test_an_export_whose_records_are_an_endless_view_is_refused(export: Path) -> None:
    columns = ",".join(f"'x' AS {one}" for one in COLUMNS if one != "leaf")
    with tampering(export) as db:
        db.execute("DROP TABLE records")
        select = f"SELECT i AS leaf, {columns}, hex(zeroblob(2000)) AS record FROM n"  # noqa: S608 - constants
        db.execute(f"CREATE VIEW records AS {ENDLESS} {select}")
    code, said = verified("verify_export", export)
    assert (code, "it has a 'view'" in said) == (3, True)


@pytest.mark.parametrize("table", ["entries", "ENTRIES"])
def test_a_table_whose_branches_share_their_pages_is_refused(table: str, log: Path) -> None:
    _grow(log, table)
    code, said = verified("verify", log)
    assert code == 3
    assert f"its table {table.lower()} is damaged" in said


def _grow(path: Path, table: str) -> None:
    """Let six floors of the tree of entries have one room each, to which every door leads."""
    with tampering(path) as db:
        db.execute("ALTER TABLE entries RENAME TO other")
        db.execute(f"ALTER TABLE other RENAME TO {table}")
        rows = ((idx, 1, "intent", "", b"x" * 400) for idx in range(1_000, 3_000))
        db.executemany("INSERT INTO entries VALUES (?,?,?,?,?)", rows)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={PAGE}")
        db.execute("VACUUM")
        query = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?"
        (root,) = db.execute(query, (table,)).fetchone()
    file = bytearray(path.read_bytes())
    floors = [root, *(_page(file, at) for at in _doors(file, root)[:5])]
    leaf = _page(file, _doors(file, floors[1])[0])
    assert [file[(page - 1) * PAGE] for page in (*floors, leaf)] == [INTERIOR] * 6 + [LEAF]
    for page, below in zip(floors, [*floors[1:], leaf], strict=True):
        for at in _doors(file, page):
            file[at : at + 4] = below.to_bytes(4)
    path.write_bytes(file)


def _doors(file: bytearray, page: int) -> list[int]:
    """Where in *file* the numbers of the pages stand that an interior page leads to."""
    at = (page - 1) * PAGE
    count = int.from_bytes(file[at + 3 : at + 5])
    cells = (int.from_bytes(file[at + n : at + n + 2]) for n in range(12, 12 + 2 * count, 2))
    return [at + 8, *(at + cell for cell in cells)]


def _page(file: bytearray, at: int) -> int:
    return int.from_bytes(file[at : at + 4])


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        (["ALTER TABLE entries ADD COLUMN x"], "has not the columns of one: 'x'"),
        (
            ["ALTER TABLE checkpoints ADD COLUMN x AS (hex(zeroblob(9)))"],
            "has not the columns of one: 'x'",
        ),
        (
            [
                "DROP TABLE counter_states",
                "CREATE TABLE counter_states (leaf INTEGER PRIMARY KEY, state AS (hex(leaf)))",
            ],
            "its column counter_states.state is computed",
        ),
        (
            [
                "DROP TABLE counter_states",
                "CREATE TABLE counter_states (leaf INTEGER PRIMARY KEY)",
                f"ALTER TABLE counter_states ADD COLUMN state DEFAULT '{'x' * 999}'",
            ],
            "its column counter_states.state is computed",
        ),
        (['CREATE INDEX "i\'i" ON entries (hex(body))'], "its index .* is computed"),
        (["CREATE VIEW other AS SELECT 1"], "it has a 'view'"),
        (["CREATE VIRTUAL TABLE other USING fts5(x)"], "'other' is computed"),
    ],
    ids=[
        *("a column more", "a generated column", "a generated column in the place of another"),
        *("a column of what no row holds", "an index on an expression", "a view that is not read"),
        "a virtual table",
    ],
)
def test_a_log_in_which_anything_is_computed_is_refused(
    statements: list[str], why: str, log: Path
) -> None:
    assert verify_copy(log, SIGNER.vkey).clean
    with tampering(log) as db:
        for statement in statements:
            db.execute(statement)
    with pytest.raises(NotReadable, match=why):
        verify_copy(log, SIGNER.vkey)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER TABLE records ADD COLUMN approved_by TEXT", "the columns of one: 'approved_by'"),
        ("ALTER TABLE about ADD COLUMN approved_by TEXT", "the columns of one: 'approved_by'"),
        ("CREATE TABLE verdicts (leaf, text)", "it has other tables, too: 'verdicts'"),
        ("CREATE TRIGGER t AFTER INSERT ON records BEGIN SELECT 1; END", "it has a 'trigger'"),
        ("DROP TABLE records", "no such table: records"),
        ("DROP TABLE about", "no such table: about"),
    ],
)
def test_an_export_is_two_tables_and_nothing_else(statement: str, why: str, export: Path) -> None:
    assert verify_file(export, SIGNER.vkey).records == 1
    with tampering(export) as db:
        db.execute(statement)
    with pytest.raises(NotReadable, match=why):
        verify_file(export, SIGNER.vkey)


def test_reading_ends_when_it_takes_more_than_a_file_of_this_size_can(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordinary, "STEPS_PER_BYTE", 1)

    def count(most: int) -> None:
        with copy.opened(log) as connection:
            connection.execute(f"{ENDLESS} {COUNTED}", (most,))

    count(1_000)
    with pytest.raises(NotReadable, match="more work than any log of its size"):
        count(10_000_000)


def test_where_there_are_no_records_nothing_is_verified(tmp_path: Path, export: Path) -> None:
    path = tmp_path / "empty.jsonl"
    for text in ("", "\n\n"):
        path.write_text(text)
        code, said = verified("verify_export", path)
        assert (code, "holds no records, so nothing is proved" in said) == (3, True)
    with tampering(export) as db:
        db.execute("DELETE FROM records")
    with pytest.raises(NotReadable, match="nothing is proved"):
        verify_file(export, SIGNER.vkey)
