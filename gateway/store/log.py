"""The log as the event loop sees it: the next index, the time, and what waits for the writer."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import get_args

from gateway.audit.entry import Entry, encode
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.store.entropy import Entropy
from gateway.store.pseudonyms import Pseudonyms
from gateway.store.writer import After, Effect, Sealing, Write, WriteFailed, Writer, fail

Clock = Callable[[], int]  # microseconds since the epoch, UTC

_KIND = {kind: str(kind.__struct_config__.tag) for kind in get_args(Entry)}
CLOCK_TOLERANCE_US = 5_000_000
SALT_BYTES = 32
_SALTS = Entropy()  # of the event loop's thread, where every commitment is made
MAX_PAYLOAD_BYTES = 65_536  # larger values are committed to, not kept


class ClockBehind(Exception):
    """The wall clock is more than 5 s behind the newest entry; admitting would falsify time."""


class LogDamaged(Exception):
    """The stored tail and the signed head disagree; only `audit verify` can say more."""


class Log:
    """Assigns indexes and times, in order, without an await; the writer persists in that order."""

    def __init__(self, writer: Writer, pseudonyms: Pseudonyms, clock: Clock) -> None:
        self._writer = writer
        self._pseudonyms = pseudonyms
        self._clock = clock
        self.next_leaf = 0
        self.last_us = 0
        self.closed = True

    def resume(self, next_leaf: int, last_us: int) -> None:
        self.next_leaf, self.last_us, self.closed = next_leaf, last_us, False

    def now(self) -> int:
        """Entry time: never before the previous entry.

        Raises: ClockBehind: the wall clock went back by more than 5 s.
        """
        now = self._clock()
        if now >= self.last_us:
            return now
        if self.last_us - now > CLOCK_TOLERANCE_US:
            raise ClockBehind(f"the clock is {(self.last_us - now) / 1e6:.0f} s behind the log")
        return self.last_us

    def stamp(self) -> int:
        """Entry time for what must be written whatever the clock says."""
        return max(self._clock(), self.last_us)

    def clock_is_behind(self) -> bool:
        return self.last_us - self._clock() > CLOCK_TOLERANCE_US

    def put(
        self,
        entry: Entry,
        call_id: str = "",
        payload: bytes = b"",
        effects: Sequence[Effect] = (),
        sealing: Sealing | None = None,
    ) -> asyncio.Future[None]:
        """Queue *entry*, made with this moment's `next_leaf`; the future ends when it is durable.

        The future fails with WriteFailed when it is not known to be.
        """
        if self.closed:
            return _refused()
        if entry.i != self.next_leaf:
            raise ValueError(f"entry {entry.i} was made for another place than {self.next_leaf}")
        body = encode(entry)  # before anything moves: a bad entry is our bug, not the log's end
        fresh = self._pseudonyms.take_fresh()
        done = asyncio.get_running_loop().create_future()
        self.next_leaf += 1
        self.last_us = max(self.last_us, entry.t)
        kind = _KIND[type(entry)]
        committed = (*fresh, *effects) if fresh else effects
        self._writer.put(
            Write(entry.i, entry.t, kind, body, call_id, payload, committed, done, sealing)
        )
        return done

    def carry_out(
        self, effects: Sequence[Effect], after: After | None = None
    ) -> asyncio.Future[None]:
        """Queue statements that need no entry of their own, such as a published checkpoint."""
        if self.closed:
            return _refused()
        done = asyncio.get_running_loop().create_future()
        self._writer.put(Write(-1, 0, "", b"", "", b"", effects, done, None, after))
        return done


def _refused() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    fail(done, WriteFailed("the log is closed"))
    return done


def commit_to(content: bytes) -> tuple[str, bytes]:
    """A salted commitment to *content* and the payload that opens it (salt, then content)."""
    salt = _SALTS.take(SALT_BYTES)
    opening = salt + content
    kept = opening if len(content) <= MAX_PAYLOAD_BYTES else b""
    return hashlib.sha256(opening).hexdigest(), kept


def read_head(connection: sqlite3.Connection) -> Frontier:
    """The frontier stored with the signed head, checked against it and the newest entry.

    Raises: LogDamaged: they do not belong together.
    """
    row = connection.execute("SELECT size, root, frontier FROM head WHERE id = 1").fetchone()
    count, last = connection.execute(
        "SELECT COALESCE(MAX(idx) + 1, 0), MAX(idx) FROM entries"
    ).fetchone()
    if row is None:
        if count:
            raise LogDamaged(f"{count} entries without a signed head")
        return Frontier()
    size, root, stored = row
    frontier = Frontier.from_bytes(stored)
    if size != count or frontier.size != size or frontier.root() != root:
        raise LogDamaged(f"the signed head covers {size} entries, the log holds {count}")
    body = connection.execute("SELECT body FROM entries WHERE idx = ?", (last,)).fetchone()[0]
    if size % 2 and frontier.to_bytes()[-32:] != leaf_hash(body):
        raise LogDamaged(f"entry {last} is not the one that was signed")
    return frontier
