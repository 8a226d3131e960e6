"""Opening copies: read-only media, databases that are being written, and files that are none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.audit import copy
from gateway.audit.copy import NotReadable
from gateway.audit.verify import verify_copy
from tests.audit.logbook import SIGNER, Logbook, ordinary_log


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return ordinary_log().save(tmp_path / "customhouse.db")


def test_reading_leaves_no_trace_beside_the_copy_or_in_it(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    before = database.read_bytes()
    assert [path.name for path in database.parent.iterdir()] == ["customhouse.db"]
    database.chmod(0o400)
    database.parent.chmod(0o500)
    try:
        assert verify_copy(database, SIGNER.vkey).clean
    finally:
        database.parent.chmod(0o700)
    assert [path.name for path in database.parent.iterdir()] == ["customhouse.db"]
    assert database.read_bytes() == before


def test_what_still_is_in_the_write_ahead_log_belongs_to_the_log(tmp_path: Path) -> None:
    book = ordinary_log()
    shorter = book.save(tmp_path / "customhouse.db")
    book.change()
    note, frontier = book.note().decode(), book.frontier
    writer = sqlite3.connect(shorter, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO entries VALUES (?,?,?,?,?)", book.rows[-1])
    head = (book.size, frontier.root(), frontier.to_bytes(), note)
    writer.execute("UPDATE head SET size = ?, root = ?, frontier = ?, note = ?", head)
    writer.execute("COMMIT")
    report = verify_copy(shorter, SIGNER.vkey)
    writer.close()
    assert report.clean
    assert report.entries == 41


def test_a_log_that_grows_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    book = ordinary_log()
    path = book.save(tmp_path / "customhouse.db")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("UPDATE head SET at = at + 1")
    with copy.opened(path) as connection:
        first = copy.head(connection)
        book.change()
        writer.execute("INSERT INTO entries VALUES (?,?,?,?,?)", book.rows[-1])
        writer.execute("UPDATE head SET size = 41")
        assert len(list(copy.rows(connection))) == 40
        assert copy.head(connection) == first
    writer.close()


def test_a_reader_cannot_write_even_if_it_tried(database: Path) -> None:
    def delete() -> None:
        with copy.opened(database) as connection:
            connection.execute("DELETE FROM entries")

    with pytest.raises(NotReadable, match="readonly"):
        delete()


@pytest.mark.parametrize("name", ["odd?name.db", "100%.db", "with space#.db", "\u00fcber.db"])
def test_a_name_with_a_meaning_in_addresses_is_only_a_name(name: str, tmp_path: Path) -> None:
    assert verify_copy(ordinary_log().save(tmp_path / name), SIGNER.vkey).clean


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotReadable, match=r"no\.db"):
        verify_copy(tmp_path / "no.db", SIGNER.vkey)
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a database " * 500, id="something else"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 4080, id="only the first bytes of one"),
    ],
)
def test_a_file_that_is_no_log_is_not_readable(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "customhouse.db"
    path.write_bytes(content)
    with pytest.raises(NotReadable):
        verify_copy(path, SIGNER.vkey)


def test_no_byte_of_the_file_can_be_changed_and_another_log_be_verified(tmp_path: Path) -> None:
    book = Logbook()
    book.open()
    book.outcome(book.intent())
    book.publish()
    path = book.save(tmp_path / "customhouse.db")
    good, entries = path.read_bytes(), [row[4] for row in book.rows]
    for at in range(0, len(good), 37):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x15]) + good[at + 1 :])
        try:
            report = verify_copy(path, SIGNER.vkey)
            with copy.opened(path) as connection:
                read = [row[4] for row in copy.rows(connection)]
        except NotReadable:
            continue
        # Unused space and indexes of SQLite may differ; what was signed may not.
        assert not report.clean or read == entries
