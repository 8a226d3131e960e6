"""A database of the log, opened so that reading it cannot change it.

This is the one place outside `gateway.store` that speaks SQL: the offline verifier must run where
nothing of the gateway is installed but this package. Nothing in the file is trusted, not even the
types of its columns, nor that a table is one: see `ordinary`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.audit import ordinary
from gateway.audit.backing import Row as Registered
from gateway.audit.export import COLUMNS
from gateway.audit.ordinary import Columns, NotOrdinary
from gateway.audit.statements import Head

Row = tuple[int, int, bytes, bytes, bytes]  # idx, at, kind, call_id, body: one row of `entries`
Exported = tuple[bytes, dict[str, object]]  # a record as JSON, and the columns beside it

_ROWS = """
    SELECT IFNULL(CAST(idx AS INTEGER), -1), at, kind, call_id, IFNULL(CAST(body AS BLOB), x'')
    FROM entries ORDER BY idx"""
_HEAD = """
    SELECT CAST(size AS INTEGER), IFNULL(CAST(root AS BLOB), x''),
        IFNULL(CAST(frontier AS BLOB), x''), IFNULL(CAST(note AS BLOB), x'')
    FROM head WHERE id = 1"""
_PUBLISHED = "SELECT IFNULL(CAST(note AS BLOB), x'') FROM checkpoints ORDER BY size, note"
_NAMES = """
    SELECT IFNULL(CAST(id AS BLOB), x''), IFNULL(CAST(kind AS BLOB), x''),
        IFNULL(CAST(name AS BLOB), x''), IFNULL(CAST(salt AS BLOB), x'')
    FROM pseudonyms ORDER BY id"""
_ROTATIONS = """
    SELECT CAST(idx AS INTEGER), IFNULL(CAST(body AS BLOB), x'') FROM entries
    WHERE kind = 'change' AND instr(body, CAST('"rotation":{' AS BLOB)) > 0 ORDER BY idx"""
_FIRST_PAYLOAD = (
    "SELECT CAST(leaf AS INTEGER) FROM payloads WHERE sealed <> x'' ORDER BY leaf LIMIT 1"
)
_STATES = """
    SELECT IFNULL(CAST(leaf AS INTEGER), -1), IFNULL(CAST(state AS BLOB), x'')
    FROM counter_states ORDER BY leaf"""

# Columns in the order in which `gateway.audit.backing` takes them.
_REGISTERED = {
    "agents": "SELECT name, origin, tenant, team, roles, limits, disabled FROM agents",
    "keys": "SELECT id, agent, digest, origin, issued_at, expires_at, revoked_at FROM keys",
    "servers": "SELECT name, origin, spec, suspended FROM servers",
    "definitions": """SELECT server, kind, name, digest, body, approval, reason,
        approved_digest, approved_body, gone FROM definitions""",
    "policy_versions": "SELECT version, bundle, at FROM policy_versions",
}
_TABLES = "SELECT CAST(name AS BLOB) FROM sqlite_master WHERE type = 'table'"
_ABOUT = """
    SELECT IFNULL(CAST(key AS BLOB), x''), IFNULL(CAST(value AS BLOB), x'') FROM about LIMIT 9"""

MAX_RECORD_BYTES = 16_777_216
# Every table that is read here, with all its columns.
_LOG: Columns = {
    "entries": ("idx", "at", "kind", "call_id", "body"),
    "head": ("id", "size", "root", "frontier", "note", "at"),
    "checkpoints": ("at", "size", "note"),
    "pseudonyms": ("id", "kind", "name", "salt"),
    "counter_states": ("leaf", "state"),
    "agents": ("name", "origin", "tenant", "team", "roles", "limits", "disabled"),
    "keys": ("id", "agent", "digest", "origin", "issued_at", "expires_at", "revoked_at"),
    "servers": ("name", "origin", "spec", "suspended"),
    "definitions": (
        *("server", "kind", "name", "digest", "body", "approval", "reason"),
        *("approved_digest", "approved_body", "gone"),
    ),
    "policy_versions": ("version", "bundle", "at"),
    "payloads": ("leaf", "nonce", "sealed"),
}
_EXPORT: Columns = {"records": (*COLUMNS, "record"), "about": ("key", "value")}
# Only its first row is read, and there may be more of it than of all else.
_NOT_WALKED = frozenset({"payloads"})


class NotReadable(Exception):
    """The file is not a database of a log, or SQLite cannot read it."""


@contextmanager
def opened(path: Path, tables: Columns = _LOG) -> Iterator[sqlite3.Connection]:
    """Open the database at *path* for reading, all of it as it is at this moment.

    Raises: NotReadable: also from within the block, for whatever SQLite cannot read there.
    """
    # Without a write-ahead log beside it no process has the database open. SQLite then need not
    # make files for one, and a copy on read-only media can be read. Where there is one it is a
    # part of the database, which `immutable` would pass over.
    alone = not path.with_name(path.name + "-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    except sqlite3.Error as err:
        raise NotReadable(f"{path} cannot be opened: {err}") from err
    try:
        ordinary.bound(connection, path)
        connection.execute("BEGIN")  # one moment for all tables: a server may be writing
        there = ordinary.check(connection, tables, alone=tables is _EXPORT)
        for table in sorted(there - _NOT_WALKED):
            ordinary.check_pages(connection, table)
        # Whatever stands in a column of text, it comes as bytes instead of as an exception.
        connection.text_factory = bytes
        yield connection
    except NotOrdinary as err:
        raise NotReadable(f"{path} is not a database of a log: {err}") from err
    except sqlite3.Error as err:
        raise NotReadable(f"{path} cannot be read: {ordinary.told(err)}") from err
    finally:
        connection.close()


def rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Return all entries, by index."""
    return connection.execute(_ROWS)


def bodies(connection: sqlite3.Connection, low: int, high: int) -> list[bytes]:
    """Return the bodies of the entries from *low* up to *high*."""
    query = "SELECT IFNULL(CAST(body AS BLOB), x'') FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
    return [body for (body,) in connection.execute(query, (low, high))]


def head(connection: sqlite3.Connection) -> Head | None:
    row = connection.execute(_HEAD).fetchone()
    return None if row is None else Head(*row)


def published(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Return the notes of the published checkpoints, by size."""
    return (note for (note,) in connection.execute(_PUBLISHED))


def counter_states(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """Return the stored counters: leaf of their entry, and state."""
    return connection.execute(_STATES)


def names(connection: sqlite3.Connection) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Return what each pseudonym stands for: pseudonym, kind, name, salt."""
    return connection.execute(_NAMES)


def rotations(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """Return leaf and body of every entry that may hand the signing key over."""
    return connection.execute(_ROTATIONS)


def first_payload(connection: sqlite3.Connection) -> int | None:
    """Return the first leaf that still has a payload; None where none has."""
    if b"payloads" not in _tables(connection):
        return None
    row = connection.execute(_FIRST_PAYLOAD).fetchone()
    return None if row is None else row[0]


@contextmanager
def exported(path: Path) -> Iterator[tuple[list[tuple[bytes, bytes]], Iterator[Exported]]]:
    """What an export says of itself, and its records.

    Raises: NotReadable: *path* is no export, or SQLite cannot read it; also from within the block.
    """
    with opened(path, _EXPORT) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RECORD_BYTES)
        yield connection.execute(_ABOUT).fetchall(), _records(connection)


def _records(connection: sqlite3.Connection) -> Iterator[Exported]:
    columns = ", ".join(COLUMNS)
    query = f"SELECT CAST(record AS BLOB), {columns} FROM records ORDER BY leaf"  # noqa: S608 - constants
    for said, *values in _typed(connection, query):
        record = said if isinstance(said, bytes) else b""
        yield record, dict(zip(COLUMNS, values, strict=True))


def registered(connection: sqlite3.Connection) -> Iterator[tuple[str, Registered]]:
    """Return every row of administration with the name of its table; a missing table has none."""
    there = _tables(connection)
    for table, query in _REGISTERED.items():
        if table.encode() in there:
            for row in _typed(connection, query):
                yield table, row


def _tables(connection: sqlite3.Connection) -> set[bytes]:
    return {bytes(name) for (name,) in connection.execute(_TABLES).fetchall()}


def _typed(connection: sqlite3.Connection, query: str) -> Iterator[Registered]:
    """Return rows in which a text is not a blob, whatever bytes either has."""
    before = connection.text_factory
    cursor = connection.execute(query)
    while True:
        # Only for this step: what is read in between, by others, has the types it is used to.
        connection.text_factory = _text
        try:
            row = cursor.fetchone()
        finally:
            connection.text_factory = before
        if row is None:
            return
        yield row


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")
