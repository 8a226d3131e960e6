"""Reading the log back: the one path by which a process, new or after a failed commit, finds out
where the log stands. Nothing is written here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import checkpoint, copy, entry, rotation
from gateway.audit.checkpoint import Signer, Vkey
from gateway.audit.merkle import BadFrontier, Frontier, leaf_hash
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.audit.rotation import BadRotation, Keys
from gateway.domain.budget import Purses
from gateway.store import backing
from gateway.store.counters import rebuild_purses
from gateway.store.engine import reading
from gateway.store.keys import CHECKPOINT, load_or_create, replace_file
from gateway.store.log import LogDamaged, read_head

FRONTIER = "checkpoint.frontier"


class LogShortened(Exception):
    """The log is shorter than, or inconsistent with, the checkpoint this house remembers."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the log stands, and what it says of holds and charges."""

    frontier: Frontier
    last_us: int
    purses: Purses
    state_leaf: int  # of the newest counters entry, -1: none


def log_id(connection: sqlite3.Connection) -> str:
    """The random id in the first entry; "" for an empty log."""
    row = connection.execute("SELECT body FROM entries WHERE idx = 0").fetchone()
    if row is None:
        return ""
    first = entry.decode(row[0])
    if not isinstance(first, entry.Open):
        raise LogDamaged(f"the log begins with {type(first).__name__}, not with Open")
    return first.log


def keys_of(connection: sqlite3.Connection, newest: Vkey) -> Keys:
    """The keys that have signed this log, the *newest* of which is ours.

    Raises: LogDamaged: what the log says of its keys is not signed by them.
    """
    try:
        keys = Keys(newest, rotation.among(copy.rotations(connection)))
    except BadRotation as err:
        raise LogDamaged(f"the log does not lead to its signing key: {err}") from err
    if keys.newest != newest:
        raise LogDamaged(
            f"the log was handed over to {keys.newest.id}; the key here is {newest.id}"
        )
    return keys


def read_tail(connection: sqlite3.Connection) -> Tail:
    """Raises: LogDamaged, CountersDamaged: stored state contradicts the log."""
    frontier = read_head(connection)
    last_us = connection.execute("SELECT COALESCE(MAX(at), 0) FROM entries").fetchone()[0]
    purses, state_leaf = rebuild_purses(connection)
    return Tail(frontier, last_us, purses, state_leaf)


def calls_of(connection: sqlite3.Connection, leaves: Iterable[int]) -> dict[int, str]:
    """The call ids of the intents at *leaves*."""
    found: dict[int, str] = {}
    for leaf in leaves:
        row = connection.execute("SELECT call_id FROM entries WHERE idx = ?", (leaf,)).fetchone()
        found[leaf] = str(row[0])
    return found


def remember(keys_dir: Path, note: str, frontier: bytes) -> None:
    """Remember the newest published checkpoint where the owner of the database cannot reach."""
    replace_file(keys_dir / FRONTIER, frontier)
    replace_file(keys_dir / CHECKPOINT, note.encode())


def check_remembered(
    connection: sqlite3.Connection, keys_dir: Path, keys: Keys, head: Frontier
) -> None:
    """The log on disk extends the one whose checkpoint is remembered.

    Raises: LogShortened: it does not; `audit verify` tells more.
    """
    path = keys_dir / CHECKPOINT
    if not path.exists():
        return
    try:
        known = keys.open(path.read_bytes())
    except ValueError as err:
        raise LogShortened(f"{path} is not a checkpoint of this log: {err}") from err
    if head.size < known.size:
        raise LogShortened(f"the log holds {head.size} entries, {known.size} were published")
    grown = _frontier_at(keys_dir, known)
    rows = connection.execute("SELECT body FROM entries WHERE idx >= ? ORDER BY idx", (grown.size,))
    for (body,) in rows:
        grown.append(leaf_hash(body))
        if grown.size == known.size and grown.root() != known.root:
            raise LogShortened(f"the first {known.size} entries are not those that were published")
    if grown.root() != head.root():
        raise LogShortened(
            f"the log does not continue the {known.size} entries that were published"
        )


def verified_size(database: Path, keys_dir: Path) -> int:
    """How many entries the log has, when all that a start looks at is right. Changes nothing.

    Raises: as opening the house.
    """
    with reading(database) as connection:
        connection.execute("BEGIN")  # one moment for all that is read: a server may be writing
        origin = ORIGIN_PREFIX + log_id(connection)
        tail = read_tail(connection)
        house_keys = load_or_create(keys_dir, log_is_empty=False)
        signed_by = keys_of(connection, Signer(house_keys.signing, origin).vkey)
        check_remembered(connection, keys_dir, signed_by, tail.frontier)
        backing.check(connection, keys_dir, signed_by, tail.frontier)
        return tail.frontier.size


def _frontier_at(keys_dir: Path, known: checkpoint.Checkpoint) -> Frontier:
    """The remembered frontier, if it belongs to *known*; an empty one means: hash from the start."""
    try:
        frontier = Frontier.from_bytes((keys_dir / FRONTIER).read_bytes())
    except (OSError, BadFrontier):
        return Frontier()
    if frontier.size == known.size and frontier.root() == known.root:
        return frontier
    return Frontier()
