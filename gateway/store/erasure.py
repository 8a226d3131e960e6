"""Destroying what lies beside entries: which rows are meant, and how no byte of them stays.

Rows are emptied where they lie. SQLite zeroes what it deletes (secure_delete), but a deletion makes
it move the neighbours, and what was moved can stay readable in the unused part of a page: the next
erasure of such a neighbour would miss it. An emptied row moves nothing. Rows without anything in
them are deleted later, where all that lies around them is empty as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.audit import entry as entries
from gateway.store.engine import open_writer
from gateway.store.identity import REGISTERED
from gateway.store.writer import Effect

PAYLOADS_AT_ONCE = 2_000  # emptied in one commit: callers wait for it
ENTRIES_AT_ONCE = 200_000  # looked at in one step
_MARGIN = 2_000  # empty rows kept before the first full one: more than lie on the pages beside it
_EMPTY = "UPDATE payloads SET nonce = x'', sealed = x'' WHERE leaf = ?"
_DELETE_EMPTY = "DELETE FROM payloads WHERE leaf < ? AND sealed = x''"
_REWRITTEN = ("agents", "keys")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Some of the payloads that are to go, and the leaf to go on from; -1: these were all."""

    leaves: tuple[int, ...]
    next_leaf: int = -1


def empty_effects(leaves: Iterable[int]) -> list[Effect]:
    """Destroy the payloads of these entries."""
    return [(_EMPTY, (leaf,)) for leaf in leaves]


def clear_effect(before: int) -> Effect:
    """Delete rows that are empty, where no entry before *before* has a payload any more."""
    return _DELETE_EMPTY, (before - _MARGIN,)


def delete_agent(name: str) -> Effect:
    return "DELETE FROM agents WHERE name = ?", (name,)


def delete_key(key_id: str) -> Effect:
    return "DELETE FROM keys WHERE id = ?", (key_id,)


def delete_policy(version: str) -> Effect:
    return "DELETE FROM policy_versions WHERE version = ?", (version,)


def rows_of(connection: sqlite3.Connection, agent: str) -> tuple[list[Row], list[Row]]:
    """The rows of *agent*, and those of its keys, as `gateway.store.backing.keep` takes them."""
    agents = connection.execute("SELECT * FROM agents WHERE name = ?", (agent,)).fetchall()
    keys = connection.execute("SELECT * FROM keys WHERE agent = ?", (agent,)).fetchall()
    return agents, keys


def is_dead(key: Row, now_us: int) -> bool:
    """A key of the registry that opens nothing. The row of any other one says that it must not."""
    _, _, _, origin, _, expires_us, revoked_us = key
    return origin == REGISTERED and bool(revoked_us or (expires_us and expires_us <= now_us))


def policies(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """Every stored version of the policy, with its files."""
    return connection.execute("SELECT version, bundle FROM policy_versions")


def family(connection: sqlite3.Connection, call_id: str) -> frozenset[str]:
    """A call and those that it caused: what a person answered in its course is in one of these.

    Empty: there is no such call.
    """
    first = min(_leaves_of_call(connection, call_id), default=-1)
    if first < 0:
        return frozenset()
    rows = connection.execute(
        "SELECT body FROM entries WHERE idx > ? AND kind = 'intent' AND instr(body, ?) > 0"
        " ORDER BY idx",  # whatever caused a call stands before it
        (first, b'"parent":"'),
    )
    calls = {call_id}
    for (body,) in rows:
        entry = entries.decode(body)
        if isinstance(entry, entries.Intent) and entry.parent in calls:
            calls.add(entry.call)
    return frozenset(calls)


def of_calls(connection: sqlite3.Connection, calls: Iterable[str]) -> Step:
    """The payloads of *calls*, and the notes of changes about them."""
    wanted = frozenset(calls)
    found = {leaf for call_id in wanted for leaf in _leaves_of_call(connection, call_id)}
    subjects = {known for known, call_id in _names_of_calls(connection) if call_id in wanted}
    if subjects:
        found |= {change.i for change in _changes(connection) if change.subject in subjects}
    return Step(_kept(connection, found))


def results_of(connection: sqlite3.Connection, call_id: str) -> Iterator[tuple[int, bytes, bytes]]:
    """(leaf, nonce, sealed) of what a call was answered."""
    return connection.execute(
        "SELECT leaf, nonce, sealed FROM entries JOIN payloads ON leaf = idx"
        " WHERE call_id = ? AND call_id <> '' AND kind = 'outcome' AND sealed <> x''",
        (call_id,),
    )


def of_subject(connection: sqlite3.Connection, who: str, first: int, end: int) -> Step:
    """The payloads of what the subject *who* did, as itself or through others, in [first, end)."""
    until = min(end, first + ENTRIES_AT_ONCE)
    rows = connection.execute(
        "SELECT idx, kind, call_id, body FROM entries"
        " WHERE idx >= ? AND idx < ? AND instr(body, ?) > 0 ORDER BY idx",
        (first, until, f'"{who}"'.encode()),
    )
    leaves: list[int] = []
    for leaf, kind, call_id, body in rows:
        if kind not in ("intent", "refused") or not _is_by(entries.decode(body), who):
            continue
        leaves += _kept(connection, _leaves_of_call(connection, call_id) | {leaf})
        if len(leaves) >= PAYLOADS_AT_ONCE:
            return Step(tuple(dict.fromkeys(leaves)), leaf + 1)
    return Step(tuple(dict.fromkeys(leaves)), until if until < end else -1)


def notes_about(connection: sqlite3.Connection, who: str, subjects: Sequence[str]) -> Step:
    """Why something about *subjects* (pseudonyms), or about a call of *who*, was changed."""
    calls = dict(_names_of_calls(connection)) if who else {}
    about = {
        change.i
        for change in _changes(connection)
        if change.subject in subjects or _called(connection, calls.get(change.subject, ""), who)
    }
    return Step(_kept(connection, about))


def notes_of(
    connection: sqlite3.Connection, whats: Sequence[str]
) -> Iterator[tuple[int, bytes, bytes]]:
    """(leaf, nonce, sealed) of the notes of all changes that are one of *whats*."""
    for change in _changes(connection):
        if change.what not in whats or not change.note:
            continue
        query = "SELECT nonce, sealed FROM payloads WHERE leaf = ? AND sealed <> x''"
        for nonce, sealed in connection.execute(query, (change.i,)):
            yield change.i, bytes(nonce), bytes(sealed)


def before(connection: sqlite3.Connection, end: int) -> Step:
    """Payloads of entries before *end*, the oldest first."""
    rows = connection.execute(
        "SELECT leaf FROM payloads WHERE leaf < ? AND sealed <> x'' ORDER BY leaf LIMIT ?",
        (end, PAYLOADS_AT_ONCE),
    ).fetchall()
    leaves = tuple(int(leaf) for (leaf,) in rows)
    return Step(leaves, leaves[-1] + 1 if len(leaves) == PAYLOADS_AT_ONCE else -1)


def first_since(connection: sqlite3.Connection, at_us: int, size: int) -> int:
    """The first entry that is not older than *at_us*; *size* when all are."""
    row = connection.execute(
        "SELECT COALESCE(MIN(idx), ?) FROM entries WHERE at >= ?", (size, at_us)
    ).fetchone()
    return int(row[0])


def is_author(connection: sqlite3.Connection, who: str) -> bool:
    """Whether *who* has ever changed anything here."""
    row = connection.execute(
        "SELECT 1 FROM entries WHERE kind = 'change' AND instr(body, ?) > 0 LIMIT 1",
        (f'"author":"{who}"'.encode(),),
    ).fetchone()
    return row is not None


def scrub(connection: sqlite3.Connection, *also: str) -> None:
    """Leave nothing of deleted rows of administration, nor of erased names in their index.

    Rows of agents and keys are few and were replaced again and again, so all of them are written
    anew, as are those of the tables named in *also*.
    """
    connection.execute("PRAGMA temp_store=MEMORY")  # sorting an index must not spill names to disk
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in (*_REWRITTEN, *also):
            rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()  # noqa: S608
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - tables named above
            if not rows:
                continue
            marks = ",".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
        connection.execute("REINDEX pseudonyms_by_name")
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def finish(path: Path) -> bool:
    """Leave no byte of what the process before us erased, which may have been killed meanwhile.

    To be called by the owner of the folder before the writer starts, and before an entry says that
    it did. False: as `truncate`.
    """
    with closing(open_writer(path)) as connection:
        if _erased_lately(connection):
            scrub(connection, "policy_versions")
        return truncate(connection)


def _erased_lately(connection: sqlite3.Connection) -> bool:
    """Whether nobody has taken up the log since something was erased."""
    (erased,) = connection.execute(
        "SELECT MAX(idx) FROM entries WHERE kind = 'change' AND instr(body, ?) > 0",
        (b'"what":"audit.erase"',),
    ).fetchone()
    if erased is None:
        return False
    taken_up = "SELECT 1 FROM entries WHERE idx > ? AND kind = 'open' LIMIT 1"
    return connection.execute(taken_up, (erased,)).fetchone() is None


def truncate(connection: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, where older states of pages lie.

    False: somebody is reading an older state; nobody waits for that here.
    """
    connection.execute("PRAGMA busy_timeout=0")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute("PRAGMA busy_timeout=5000")
    return not busy


def _leaves_of_call(connection: sqlite3.Connection, call_id: str) -> set[int]:
    rows = connection.execute(
        "SELECT idx FROM entries WHERE call_id = ? AND call_id <> ''", (call_id,)
    )
    return {int(leaf) for (leaf,) in rows}


def _kept(connection: sqlite3.Connection, leaves: Iterable[int]) -> tuple[int, ...]:
    """Those of *leaves* that have a payload."""
    query = "SELECT 1 FROM payloads WHERE leaf = ? AND sealed <> x''"
    return tuple(leaf for leaf in sorted(leaves) if connection.execute(query, (leaf,)).fetchone())


def _is_by(entry: entries.Entry, who: str) -> bool:
    if isinstance(entry, entries.Intent | entries.Refused | entries.Single):
        return who == entry.who or who in entry.actors
    return False


def _called(connection: sqlite3.Connection, call_id: str, who: str) -> bool:
    rows = connection.execute(
        "SELECT body FROM entries WHERE call_id = ? AND call_id <> '' ORDER BY idx LIMIT 1",
        (call_id,),
    )
    return any(_is_by(entries.decode(body), who) for (body,) in rows)


def _names_of_calls(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(pseudonym, call id) of the calls that changes are about."""
    return connection.execute("SELECT id, substr(name, 6) FROM pseudonyms WHERE name LIKE 'call/%'")


def _changes(connection: sqlite3.Connection) -> Iterator[entries.Change]:
    rows = connection.execute("SELECT body FROM entries WHERE kind = 'change' ORDER BY idx")
    for (body,) in rows:
        entry = entries.decode(body)
        if isinstance(entry, entries.Change):
            yield entry
