"""What somebody can do to a log who may write its database: done to copies, as well as it can be.

The triggers that refuse changes are dropped first, which whoever owns the file can do. What the
owner of the file lacks is the signing key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_GUARDS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
CUT = 5


@dataclass(frozen=True, slots=True)
class Tampering:
    """One way to falsify a log, and the words of the verifier that must give it away."""

    name: str
    what: str
    act: Callable[[sqlite3.Connection], None]
    found_as: str  # a finding of `customhouse audit verify`


def copy_database(source: Path, target: Path) -> None:
    """Copy it as it is at this moment, also while the gateway writes (SQLite's own backup)."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(f"{source.as_uri()}?mode=ro") as old, _opened(target.as_uri()) as new:
        old.backup(new)


def tamper(database: Path, tampering: Tampering) -> None:
    """Do *tampering* to the database, in one transaction."""
    with _opened(database.as_uri()) as connection, connection:
        for (trigger,) in connection.execute(_GUARDS).fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        tampering.act(connection)


def _change_one_byte(connection: sqlite3.Connection) -> None:
    """Make a call look cheaper: another first digit in the tokens it was charged."""
    index, body = _one(connection, "kind = 'outcome' AND instr(body, '\"tokens\":')")
    at = body.index(b'"tokens":') + len(b'"tokens":')
    digit = b"1" if body[at : at + 1] != b"1" else b"2"
    changed = body[:at] + digit + body[at + 1 :]
    connection.execute("UPDATE entries SET body = ? WHERE idx = ?", (changed, index))


def _remove_one(connection: sqlite3.Connection) -> None:
    """Make a refusal unseen."""
    index, _ = _one(connection, "kind = 'refused'")
    connection.execute("DELETE FROM entries WHERE idx = ?", (index,))


def _swap_two(connection: sqlite3.Connection) -> None:
    """Let two refusals change places, with everything that is said of them."""
    query = "SELECT idx, at, call_id, body FROM entries WHERE kind = 'refused' ORDER BY idx LIMIT 2"
    (one, *of_one), (other, *of_other) = connection.execute(query).fetchall()
    place = "UPDATE entries SET at = ?, call_id = ?, body = ? WHERE idx = ?"
    connection.execute(place, (*of_other, one))
    connection.execute(place, (*of_one, other))


def _cut_the_tail(connection: sqlite3.Connection) -> None:
    """End the log earlier."""
    connection.execute("DELETE FROM entries WHERE idx > (SELECT MAX(idx) FROM entries) - ?", (CUT,))


def _swap_names(connection: sqlite3.Connection) -> None:
    """Let two callers change places without touching an entry: only the table of names says who."""
    query = "SELECT id, name FROM pseudonyms WHERE kind = 's' ORDER BY id LIMIT 2"
    (one, of_one), (other, of_other) = connection.execute(query).fetchall()
    rename = "UPDATE pseudonyms SET name = ? WHERE id = ?"
    in_between = ("", one)  # no two may have one name, not even for a moment
    connection.executemany(rename, (in_between, (of_one, other), (of_other, one)))


def _nothing(_connection: sqlite3.Connection) -> None:
    """An older state of the database is whole and signed: nothing needs to be changed in it."""


TAMPERINGS = (
    Tampering("one-byte", "one byte of one entry changed", _change_one_byte, "altered"),
    Tampering("removed", "one entry removed", _remove_one, "removed"),
    Tampering("swapped", "two entries swapped", _swap_two, "reordered"),
    Tampering("cut", f"the last {CUT} entries cut off", _cut_the_tail, "truncated"),
    Tampering("renamed", "two names swapped in the table of names", _swap_names, "renamed"),
)
SET_BACK = Tampering("set-back", "all of it set back to an earlier state", _nothing, "truncated")


def _one(connection: sqlite3.Connection, where: str) -> tuple[int, bytes]:
    query = f"SELECT idx, CAST(body AS BLOB) FROM entries WHERE {where} ORDER BY idx LIMIT 1"  # noqa: S608 - our own words
    index, body = connection.execute(query).fetchone()
    return int(index), bytes(body)


@contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(uri, uri=True)
    try:
        yield connection
    finally:
        connection.close()
