"""The one writer: a thread that makes queued entries durable, in order, a batch per fsync.

    event loop:  put(Write) put(Write) put(Write)          (index already assigned)
    writer:      BEGIN  insert...  frontier  sign head  COMMIT  -> one wake-up for the whole batch

Whatever queued during one commit is the next batch; where several callers wait at once, the writer
lingers a moment for those it has just woken (a commit costs more than the wait: DECISIONS). A failed or ambiguous commit answers its
whole batch, and everything behind it, with WriteFailed; the thread then refuses until `reopen`.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit import checkpoint
from gateway.audit.checkpoint import BadCheckpoint, BadSignature, Signer, Vkey
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.store.engine import open_writer
from gateway.store.entropy import Entropy

MAX_BATCH = 256
LINGER_S = 0.0004  # after a commit that had several waiters; a lone caller is never made to wait
NONCE_BYTES = 12

Effect = tuple[str, tuple[Any, ...]]  # one prepared statement that commits with the entry


After = Callable[[sqlite3.Connection], None]  # on the writer's connection, outside a transaction


@dataclass(frozen=True, slots=True)
class Sealing:
    """Keys that replace those in use, from the entry that says so on; None: as it is."""

    signer: Signer | None = None
    payload_key: bytes | None = None


class WriteFailed(Exception):
    """The batch is not known to be durable; the log is closed until it was re-read."""


@dataclass(slots=True)
class Write:
    """One entry in its canonical bytes, with everything that commits together with it."""

    leaf: int
    at_us: int
    kind: str
    body: bytes  # empty: effects only
    call_id: str = ""
    payload: bytes = b""  # salt and names and values: sealed into the side table
    effects: Sequence[Effect] = ()
    done: asyncio.Future[None] | None = None
    sealing: Sealing | None = None
    after: After | None = None  # when the commit is durable, and before anybody hears of it


@dataclass(frozen=True, slots=True)
class Head:
    size: int
    note: str


@dataclass(slots=True)
class _Rows:
    """What one batch writes, and under which keys."""

    signer: Signer  # of the head after it
    aead: AESGCM  # of the next payload
    entries: list[tuple[int, int, str, str, bytes]] = field(default_factory=list)
    payloads: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def take_over(self, sealing: Sealing) -> None:
        self.signer = sealing.signer or self.signer
        self.aead = AESGCM(sealing.payload_key) if sealing.payload_key else self.aead


class Writer:
    """Owns the writing connection. `put` from the event loop; everything else is its thread's."""

    def __init__(self, path: Path, signer: Signer, payload_key: bytes) -> None:
        self._path = path
        self.signer = signer
        self._successor: Signer | None = None  # in use from a commit on that may have failed
        self._aead = AESGCM(payload_key)
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._nonces = Entropy()
        self._frontier = Frontier()
        self.head: Head | None = None
        self.broken = False
        self.full = False  # the last commit found no room on the disk
        self._crowd = 0  # waiters of the newest commit
        # On the event loop, before the first waiter hears of the failure.
        self.on_broken: Callable[[WriteFailed], None] = lambda _failed: None

    def start(self, loop: asyncio.AbstractEventLoop, frontier: Frontier) -> None:
        if self._thread is not None:
            raise RuntimeError("the writer runs already: two would share one connection")
        self._loop = loop
        self._frontier = frontier
        self._connection = open_writer(self._path)
        if self._successor is not None and signed_head(self._connection, self._successor.vkey):
            self.signer = self._successor
        self._successor = None
        self.broken = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue *write*; its future ends when it is on disk or known not to be."""
        self._queue.put(write)

    def stop(self) -> None:
        """Finish what is queued, then end the thread and close the connection (blocking)."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._next_batch()
            if not batch:
                continue
            if self.broken:
                self._answer(batch, WriteFailed("the log is closed after a failed commit"))
                continue
            try:
                self._commit(batch)
            except Exception as err:  # noqa: BLE001 - whatever it is, callers must hear of it
                self.broken, self.full = True, _is_full(err)
                self._rollback()
                self._answer(batch, WriteFailed(f"no commit: {type(err).__name__}: {err}"))
            else:
                self.full = False
                self._answer(batch, None)

    def _next_batch(self) -> tuple[list[Write], bool]:
        batch: list[Write] = []
        first = self._queue.get()
        if first is None:
            return batch, False
        batch.append(first)
        if self._crowd > 1:
            time.sleep(LINGER_S)
        while len(batch) < MAX_BATCH:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, False
            batch.append(following)
        return batch, True

    def _commit(self, batch: list[Write]) -> None:
        connection = self._connection
        if connection is None:
            raise OSError("the log is not open")
        rows = self._gathered(batch)
        self._successor = rows.signer
        connection.execute("BEGIN IMMEDIATE")
        head = self._insert(connection, rows)
        connection.execute("COMMIT")
        self.signer, self._successor, self._aead = rows.signer, None, rows.aead
        self._crowd = len(batch)
        if head is not None:
            self.head = head
        for write in batch:
            if write.after is not None:
                write.after(connection)

    def _gathered(self, batch: list[Write]) -> _Rows:
        rows = _Rows(self.signer, self._aead)
        for write in batch:
            rows.effects.extend(write.effects)
            if write.sealing is not None:
                rows.take_over(write.sealing)
            if not write.body:
                continue
            self._frontier.append(leaf_hash(write.body))
            rows.entries.append((write.leaf, write.at_us, write.kind, write.call_id, write.body))
            if write.payload:
                rows.payloads.append(self._sealed(rows.aead, write.leaf, write.payload))
        return rows

    def _insert(self, connection: sqlite3.Connection, rows: _Rows) -> Head | None:
        if rows.payloads:
            connection.executemany("INSERT INTO payloads VALUES (?,?,?)", rows.payloads)
        for statement, values in rows.effects:
            connection.execute(statement, values)
        if not rows.entries:
            return None
        connection.executemany("INSERT INTO entries VALUES (?,?,?,?,?)", rows.entries)
        frontier = self._frontier
        size, root, at_us = frontier.size, frontier.root(), rows.entries[-1][1]
        note = rows.signer.sign(size, root).decode()
        connection.execute(
            "REPLACE INTO head VALUES (1,?,?,?,?,?)", (size, root, frontier.to_bytes(), note, at_us)
        )
        return Head(size, note)

    def _sealed(self, aead: AESGCM, leaf: int, payload: bytes) -> tuple[int, bytes, bytes]:
        # The leaf index is bound in, so a sealed payload cannot be moved to another entry.
        nonce = self._nonces.take(NONCE_BYTES)
        return leaf, nonce, aead.encrypt(nonce, payload, leaf.to_bytes(8, "big"))

    def _rollback(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the connection is thrown away either way; the tail on disk decides
        finally:
            connection.close()

    def _answer(self, batch: list[Write], failed: WriteFailed | None) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if failed is None:
            self._loop.call_soon_threadsafe(_resolve, batch, None)
        else:
            self._loop.call_soon_threadsafe(self._fail, batch, failed)

    def _fail(self, batch: list[Write], failed: WriteFailed) -> None:
        self.on_broken(failed)
        _resolve(batch, failed)


def _is_full(err: Exception) -> bool:
    if isinstance(err, OSError):
        return err.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(err, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL


def signed_head(connection: sqlite3.Connection, vkey: Vkey) -> bool:
    """Whether the head on the disk is signed by *vkey*."""
    row = connection.execute("SELECT note FROM head WHERE id = 1").fetchone()
    try:
        return row is not None and bool(checkpoint.open(str(row[0]).encode(), vkey))
    except (BadSignature, BadCheckpoint):
        return False


def _resolve(batch: list[Write], error: WriteFailed | None) -> None:
    for write in batch:
        done = write.done
        if done is None or done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            fail(done, error)


def fail(done: asyncio.Future[None], error: WriteFailed) -> None:
    """Fail a future that perhaps nobody awaits any more: recovery deals with what it stood for."""
    done.set_exception(error)
    done.exception()  # looked at: asyncio need not warn


def unseal(key: bytes, leaf: int, nonce: bytes, sealed: bytes) -> bytes:
    """The payload of *leaf*. Raises: cryptography.exceptions.InvalidTag when it was altered."""
    return AESGCM(key).decrypt(nonce, sealed, leaf.to_bytes(8, "big"))
