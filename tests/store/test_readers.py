"""Connections that only read, kept from one reading to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.engine import Readers, open_writer


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_writer(tmp_path / "it.db")
    connection.execute("CREATE TABLE seen (n INTEGER)")
    yield connection
    connection.close()


@pytest.fixture
def readers(tmp_path: Path, writer: sqlite3.Connection) -> Iterator[Readers]:
    readers = Readers(tmp_path / "it.db")
    yield readers
    readers.close()


def seen(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM seen ORDER BY n")]


def test_the_next_reading_has_the_same_connection_and_sees_what_was_written_since(
    writer: sqlite3.Connection, readers: Readers
) -> None:
    with readers.reading() as first:
        assert seen(first) == []
    writer.execute("INSERT INTO seen VALUES (1)")
    with readers.reading() as second:
        assert second is first
        assert seen(second) == [1]


def test_who_reads_at_the_same_time_has_another(readers: Readers) -> None:
    with readers.reading() as one, readers.reading() as other:
        assert one is not other
        assert seen(one) == seen(other) == []


def test_one_that_failed_is_not_kept(readers: Readers) -> None:
    with pytest.raises(ZeroDivisionError), readers.reading() as failed:
        1 // 0  # noqa: B018 - anything that goes wrong while reading
    with readers.reading() as fresh:
        assert fresh is not failed
        assert seen(fresh) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        seen(failed)


def test_what_is_read_on_when_all_are_let_go_is_closed_after_it(readers: Readers) -> None:
    with readers.reading() as connection:
        readers.close()
        assert seen(connection) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        seen(connection)


def test_none_can_write(readers: Readers) -> None:
    with (
        pytest.raises(sqlite3.OperationalError, match="readonly"),
        readers.reading() as connection,
    ):
        connection.execute("INSERT INTO seen VALUES (1)")


def test_a_kept_one_does_not_hold_back_a_checkpoint(
    writer: sqlite3.Connection, readers: Readers
) -> None:
    with readers.reading() as connection:
        connection.execute("SELECT n FROM seen").fetchone()
    writer.execute("INSERT INTO seen VALUES (1)")
    blocked, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert blocked == 0
