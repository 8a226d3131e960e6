"""A log for tests, written with the real entries and the real signer, and its database."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import entry as entries
from gateway.audit.checkpoint import Signer
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.domain.budget import Purses
from gateway.domain.model import Act, Amounts, Kind, Status
from tests.audit.samples import AGENT, AT_US, POLICY, TEAM, TENANT, TOOL

LOG_ID = "6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(KEY, f"customhouse/{LOG_ID}")
STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32), SIGNER.origin)
HOLD = Amounts(1000, 1, 50)
STEP_US = 250_000

TABLES = """
    CREATE TABLE entries (idx INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL,
        call_id TEXT NOT NULL, body BLOB NOT NULL);
    CREATE TABLE pseudonyms (id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,
        salt BLOB NOT NULL);
    CREATE TABLE counter_states (leaf INTEGER PRIMARY KEY, state BLOB NOT NULL);
    CREATE TABLE head (id INTEGER PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,
        frontier BLOB NOT NULL, note TEXT NOT NULL, at INTEGER NOT NULL);
    CREATE TABLE checkpoints (at INTEGER PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL);
"""


@dataclass
class Logbook:
    """Writes entries as a gateway would; what a test wants wrong it passes in."""

    signer: Signer = SIGNER
    rows: list[tuple[int, int, str, str, bytes]] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)
    purses: Purses = field(default_factory=Purses)
    states: list[tuple[int, bytes]] = field(default_factory=list)
    published: list[tuple[int, int, str]] = field(default_factory=list)
    now_us: int = AT_US

    @property
    def size(self) -> int:
        return len(self.rows)

    def put(self, entry: entries.Entry) -> int:
        kind = str(entry.__struct_config__.tag)
        return self.put_body(entries.encode(entry), kind, getattr(entry, "call", ""))

    def put_body(self, body: bytes, kind: str, call: str = "") -> int:
        leaf = self.size
        self.rows.append((leaf, self.now_us, kind, call, body))
        self.frontier.append(leaf_hash(body))
        self.now_us += STEP_US
        return leaf

    def when(self) -> dict[str, Any]:
        return {"i": self.size, "t": self.now_us}

    def open(self, **but: Any) -> int:
        said = {"log": LOG_ID, "key": self.signer.vkey.id, "meter": "bytes4@1", **but}
        return self.put(entries.Open(**self.when(), **said))

    def close(self) -> int:
        return self.put(entries.Close(**self.when()))

    def recovery(self, reason: str) -> int:
        return self.put(entries.Recovery(**self.when(), reason=reason, tail=self.size))

    def change(self, **but: Any) -> int:
        said = {"what": "tool.approve", "author": AGENT, "digest": f"{self.size:064x}", **but}
        return self.put(entries.Change(**self.when(), **said))

    def intent(self, **but: Any) -> int:
        said: dict[str, Any] = {
            "call": f"CALL{self.size:022d}",
            "round": 1,
            "who": AGENT,
            "tenant": TENANT,
            "team": TEAM,
            "cred": "k1",
            "method": "tools/call",
            "server": "s1",
            "kind": Kind.TOOL,
            "act": Act.CALL,
            "acc": (TENANT, TEAM, AGENT, TOOL),
            "args": f"{self.size:064x}",
            "rule": 0,
            "policy": POLICY,
            "hold": HOLD,
            "limits": ((TENANT, "tokens", "day", 100_000), (AGENT, "calls", "minute", 60)),
            "meter": "bytes4@1",
            **but,
        }
        entry = entries.Intent(**self.when(), **said)
        if len(entry.acc) >= 4:
            self.purses.hold(entry.i, entry.acc, entry.hold, entry.t)
        return self.put(entry)

    def outcome(self, intent: int, **but: Any) -> int:
        said: dict[str, Any] = {
            "call": self.rows[intent][3] if intent < self.size else f"CALL{intent:022d}",
            "intent": intent,
            "status": Status.OK,
            "bytes": 400,
            "used": Amounts(100, 1, 50),
            "ms": 12,
            **but,
        }
        entry = entries.Outcome(**self.when(), **said)
        held = self.purses.open_holds().get(intent)
        fits = held is not None and entry.used.tokens <= held.amounts.tokens
        if fits and self.rows[intent][3] == entry.call:
            self.purses.settle(intent, entry.used)
        return self.put(entry)

    def counters(self, **but: Any) -> int:
        state = self.purses.canonical(self.now_us)
        self.states.append((self.size, state))
        said = {"digest": hashlib.sha256(state).hexdigest(), **but}
        return self.put(entries.Counters(**self.when(), **said))

    def publish(self) -> bytes:
        note = self.note()
        self.published.append((self.now_us, self.size, note.decode()))
        return note

    def note(self) -> bytes:
        return self.signer.sign(self.size, self.frontier.root())

    def save(self, path: Path) -> Path:
        with sqlite3.connect(path) as connection:
            connection.executescript(TABLES)
            connection.executemany("INSERT INTO entries VALUES (?,?,?,?,?)", self.rows)
            connection.executemany("INSERT INTO counter_states VALUES (?,?)", self.states)
            connection.executemany("INSERT INTO checkpoints VALUES (?,?,?)", self.published)
            root, frontier = self.frontier.root(), self.frontier.to_bytes()
            head = (self.size, root, frontier, self.note().decode(), self.now_us)
            connection.execute("INSERT INTO head VALUES (1,?,?,?,?,?)", head)
        connection.close()
        return path

    def copy(self) -> Logbook:
        """Return the same log, to go on differently: what a holder of the key could do."""
        return replace(
            self,
            rows=self.rows.copy(),
            frontier=self.frontier.copy(),
            purses=Purses.load(self.purses.canonical(self.now_us)),
            states=self.states.copy(),
            published=self.published.copy(),
        )


def ordinary_log() -> Logbook:
    """Forty entries with checkpoints at 10, 20 and 30, and one call in flight.

    In each ten, 0 is the open, counters or a change; 1 and 2 are intents, 3 and 4 their outcomes,
    the second first; 5 and 6 again, 7 and 8 again; 9 is a change. The last entry is an intent.
    """
    book = Logbook()
    for first in (book.open, book.change, book.counters, book.change):
        first()
        for _ in range(2):
            outer, inner = book.intent(), book.intent()
            book.outcome(inner)
            book.outcome(outer)
        if book.size == 39:
            book.intent()
        else:
            book.change()
            book.publish()
    return book


@contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the database to somebody who may write to it, and has no key."""
    connection = sqlite3.connect(path)
    with connection:
        yield connection
    connection.close()
