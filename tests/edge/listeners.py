"""Those who listen, by hand: what came to them, and an upstream that has something to tell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.edge.house import Settings
from tests.edge.definitions import BASIC, catalogue
from tests.edge.fakes import Knocker, Line, echo, modern
from tests.edge.older import Older

README, SHARED, PAGE = "file:///readme", "file:///shared", "file:///pages/7"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
TOOLS, PROMPTS, RESOURCES = (
    f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
)


def quick(**over: Any) -> Settings:
    return Settings(version="9.9", watch_after_s=0.0, liveness_period_s=0.02, **over)


@dataclass
class Followed:
    """An upstream that lets resources be followed, and says what the test wants said."""

    relays: dict[str, list[Relay]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    declined: set[str] = field(default_factory=set)
    hours: int = 0  # that are over at once

    async def __call__(self, call: Call, relay: Relay) -> Outcome:
        if call.method != "resources/subscribe":
            return await echo(call, relay)
        if call.name in self.declined:
            return Outcome(Status.RPC_ERROR, error=b'{"code":-32601,"message":"no such thing"}')
        self.relays.setdefault(call.name, []).append(relay)
        try:
            if call.name not in self.silent:
                await relay.notify(b'{"jsonrpc":"2.0","method":"%b"}' % ACKNOWLEDGED.encode())
            if self.hours:
                self.hours -= 1
                return Outcome(Status.OK)
            await anyio.sleep_forever()
        finally:
            self.relays[call.name].remove(relay)
        raise AssertionError

    async def updates(self, uri: str) -> None:
        for relay in list(self.relays.get(uri, ())):
            said = {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri}}
            await relay.notify(json.dumps(said).encode())

    @property
    def count(self) -> int:
        return sum(len(relays) for relays in self.relays.values())


@dataclass
class Ear:
    """One open stream, and what has come on it."""

    line: Line

    @property
    def events(self) -> list[Any]:
        return self.line.response.events

    @property
    def told(self) -> list[str]:
        return [event.get("method", "") for event in self.events]

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(3):
            while not is_so():  # noqa: ASYNC110 - there is nobody who could set an event
                await anyio.sleep(0.005)

    async def hears(self, method: str, count: int = 1) -> None:
        await self.until(lambda: self.told.count(method) >= count)


@asynccontextmanager
async def listening(who: Knocker, **notifications: Any) -> AsyncIterator[Ear]:
    """An acknowledged subscriptions/listen; hung up at the end."""
    body, headers = modern(who, "subscriptions/listen", {"notifications": notifications})
    async with heard(who, Line(body), headers) as ear:
        await ear.hears(ACKNOWLEDGED)
        yield ear


@asynccontextmanager
async def getting(older: Older) -> AsyncIterator[Ear]:
    """The open stream of a session."""
    line = Line(b"")
    async with heard(older.who, line, older.headers(), method="GET") as ear:
        await ear.until(lambda: bool(line.response.status))
        yield ear


@asynccontextmanager
async def heard(who: Knocker, line: Line, headers: Any, **over: Any) -> AsyncIterator[Ear]:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: who.on(line, headers, **over))
        yield Ear(line)
        line.hung_up.set()


def more(*added: Any, version: int = 2) -> Any:
    return catalogue((*BASIC, *added), version)
