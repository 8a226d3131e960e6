"""A small world around the real store: real database, real writer, one server with two tools."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import entry as entries
from gateway.audit.checkpoint import Signer, Vkey
from gateway.domain.budget import Limits
from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Decision,
    Definition,
    Kind,
    Outcome,
    Principal,
    Status,
    Verdict,
)
from gateway.domain.run import RunLimits
from gateway.jobs.recover import Recovery, opened
from gateway.store import engine
from gateway.store.counters import Counters
from gateway.store.keys import PAYLOAD_KEY, STATE_KEY
from gateway.store.ledger import Ledger
from gateway.store.log import Log
from gateway.store.pseudonyms import Pseudonyms, stored_pseudonyms
from gateway.store.recovery import Tail, read_tail
from gateway.store.refusals import Refusals
from gateway.store.replays import Replays
from gateway.store.writer import WriteFailed, Writer

LOG_ID = "ab" * 16
PAYLOADS, STATE = b"\x01" * 32, b"\x02" * 32
SIGNING = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
NOON_US = 1_795_348_800_000_000  # 2026-11-22 12:00 UTC
RESULT = Outcome(Status.OK, result=b'{"content":[]}', received_bytes=14)
ANN = Principal(tenant="default", subject="ann", team="reporting", credential="k1")
FourLimits = tuple[Limits | None, Limits | None, Limits | None, Limits | None]


@dataclass
class Clock:
    now_us: int = NOON_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


def tool(name: str, **changes: Any) -> Definition:
    definition = Definition(
        server="desk",
        kind=Kind.TOOL,
        name=name,
        wire_name=f"desk_{name}",
        body=b"{}",
        digest="d" * 64,
        approval=Approval.APPROVED,
        max_result_tokens=100,
        validate=lambda _arguments: None,
    )
    return replace(definition, **changes)


@dataclass
class World:
    path: Path
    clock: Clock = field(default_factory=Clock)
    limits: FourLimits = (None, None, None, None)
    definitions: tuple[Definition, ...] = (tool("add"), tool("pay", price_micros=500))
    policy_version: str = "p1"
    run_limits: RunLimits = field(default_factory=RunLimits)
    vkey: Vkey = field(init=False)
    writer: Writer = field(init=False)
    readers: engine.Readers = field(init=False)
    ledger: Ledger = field(init=False)
    rescuer: Recovery = field(init=False)
    orphans: int = 0
    calls: int = 0
    rescue: asyncio.Task[None] | None = None

    def call(self, name: str = "add", **changes: Any) -> Call:
        self.calls += 1
        call = Call(
            id=f"call{self.calls:022d}",
            principal=ANN,
            method="tools/call",
            kind=Kind.TOOL,
            server="desk",
            name=name,
            act=Act.CALL,
            weight=CallClass.FULL,
            params={"name": b'"add"', "arguments": b'{"a":1}'},
            definition=next((d for d in self.definitions if d.name == name), None),
        )
        return replace(call, **changes)

    def allow(self) -> Decision:
        return Decision(Verdict.ALLOW, self.policy_version, rule=3, visible=True)

    def stored(self) -> list[entries.Entry]:
        with engine.reading(self.path) as connection:
            rows = connection.execute("SELECT body FROM entries ORDER BY idx")
            return [entries.decode(body) for (body,) in rows]

    def build(self) -> Tail:
        engine.prepare(self.path)
        pseudonyms = Pseudonyms()
        with engine.reading(self.path) as connection:
            tail = read_tail(connection)
            pseudonyms.resume(stored_pseudonyms(connection))
        signer = Signer(SIGNING, f"customhouse/{LOG_ID}")
        self.vkey = signer.vkey
        self.writer = Writer(self.path, signer, PAYLOADS)
        self.readers = engine.Readers(self.path)
        log = Log(self.writer, pseudonyms, self.clock)
        catalogue = Catalogue(1, self.definitions, {"desk": ServerView()})
        self.ledger = Ledger(
            log=log,
            counters=Counters(),
            pseudonyms=pseudonyms,
            refusals=Refusals(log, pseudonyms),
            limits_of=lambda _principal, _server: self.limits,
            catalogue=lambda: catalogue,
            policy_version=lambda: self.policy_version,
            runs=self.run_limits,
            replays=Replays(self.readers, self._keys_dir()),
        )
        self.rescuer = Recovery(self.path, self.writer, self.ledger, self._limits_of_accounts)
        return tail

    def break_next_commit(self, *, after_the_disk_has_it: bool = False) -> asyncio.Event:
        """The next COMMIT fails, before or after it is durable; the event: the log is back."""
        rescued = asyncio.Event()

        async def rescue() -> None:
            await self.rescuer.after_failed_commit()
            rescued.set()

        def begin(_failed: WriteFailed) -> None:
            if self.rescue is not None and not self.rescue.done():
                return  # as the house does: one rescue at a time
            self.rescuer.close()
            self.rescue = asyncio.get_running_loop().create_task(rescue())

        self.writer.on_broken = begin
        connection = self.writer._connection
        assert connection is not None
        faulty = _FaultyConnection(connection, after_the_disk_has_it)
        self.writer._connection = cast(sqlite3.Connection, faulty)
        return rescued

    def _keys_dir(self) -> Path:
        folder = self.path.parent / "keys"
        folder.mkdir(exist_ok=True)
        (folder / PAYLOAD_KEY).write_bytes(PAYLOADS)
        (folder / STATE_KEY).write_bytes(STATE)
        return folder

    def _limits_of_accounts(self, accounts: Sequence[str]) -> tuple[Limits | None, ...]:
        return (*self.limits, *(None for _ in accounts[4:]))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        tail = self.build()
        self.writer.start(asyncio.get_running_loop(), tail.frontier.copy())
        at_us = max(self.clock(), tail.last_us)
        entry = opened(LOG_ID, self.vkey.id, tail.frontier.size, at_us)
        self.orphans = await self.rescuer.take_up(tail, entry)
        try:
            yield self
        finally:
            await asyncio.to_thread(self.writer.stop)
            self.readers.close()


@dataclass
class _FaultyConnection:
    """A real connection whose disk fails at COMMIT."""

    connection: sqlite3.Connection
    after_the_disk_has_it: bool

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if statement == "COMMIT":
            if self.after_the_disk_has_it:
                self.connection.execute(statement)
            raise OSError(5, "input/output error")
        return self.connection.execute(statement, values)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)
