"""Erasing on the disk: of thousands of rows, erased in any order, no byte stays readable."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store import engine, erasure
from gateway.store.pseudonyms import Pseudonyms

ROWS = 4_000


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / engine.DATABASE
    engine.prepare(path)
    return path


@pytest.fixture
def database(prepared: Path, tmp_path: Path) -> Path:
    path = tmp_path / engine.DATABASE
    path.write_bytes(prepared.read_bytes())
    return path


@pytest.fixture
def connection(database: Path) -> Iterator[sqlite3.Connection]:
    opened = engine.open_writer(database)
    opened.execute("PRAGMA synchronous=OFF")  # it is not the disk that is tried
    yield opened
    opened.close()


def name_of(number: int) -> str:
    return f"NAME{number:08d}"


def mark_of(number: int) -> bytes:
    return b"SEAL%08d" % number


def left(database: Path, word: bytes) -> set[int]:
    """The numbers of names, or of seals, that stand anywhere in the files."""
    stored = database.read_bytes() + database.with_name(database.name + "-wal").read_bytes()
    return {int(number) for number in re.findall(word + rb"(\d{8})", stored)}


def fill(connection: sqlite3.Connection, dice: random.Random) -> Pseudonyms:
    names = Pseudonyms()
    connection.execute("BEGIN")
    order = list(range(ROWS))
    dice.shuffle(order)
    for number in order:
        names.of("s", name_of(number))
    for effect in names.take_fresh():
        connection.execute(*effect)
    for leaf in range(ROWS):
        sealed = mark_of(leaf) + dice.randbytes(dice.choice((30, 300, 300, 5_000)))
        connection.execute("INSERT INTO payloads VALUES (?,?,?)", (leaf, b"n" * 12, sealed))
    connection.execute("COMMIT")
    return names


@pytest.mark.parametrize("seed", [0, 1])
def test_of_rows_erased_in_any_order_nothing_can_be_read(
    connection: sqlite3.Connection, database: Path, seed: int
) -> None:
    dice = random.Random(seed)
    names = fill(connection, dice)
    gone = dice.sample(range(ROWS), ROWS // 2)
    for first in range(0, len(gone), 200):
        some = gone[first : first + 200]
        names.forget([names.known("s", name_of(number)) for number in some])
        connection.execute("BEGIN")
        for effect in (*names.take_fresh(), *erasure.empty_effects(some)):
            connection.execute(*effect)
        connection.execute("COMMIT")
    erasure.scrub(connection)
    assert erasure.truncate(connection)
    stay = set(range(ROWS)) - set(gone)
    assert left(database, b"NAME") == stay
    assert left(database, b"SEAL") == stay


def test_what_is_older_gives_its_room_back_and_moves_nothing_that_stays(
    connection: sqlite3.Connection, database: Path
) -> None:
    fill(connection, random.Random(2))
    end = 3_500
    while True:
        step = erasure.before(connection, end)
        done = step.next_leaf if step.next_leaf >= 0 else end
        for effect in (*erasure.empty_effects(step.leaves), erasure.clear_effect(done)):
            connection.execute(*effect)
        if step.next_leaf < 0:
            break
    (rows,) = connection.execute("SELECT COUNT(*) FROM payloads").fetchone()
    assert ROWS - end < rows < ROWS
    # What stays is erased one by one, and nothing of it was left behind by what went before.
    for effect in erasure.empty_effects(range(end, ROWS)):
        connection.execute(*effect)
    assert erasure.truncate(connection)
    assert left(database, b"SEAL") == set()
