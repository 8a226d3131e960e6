"""What one listener is to be told: each thing once, however often it happened.

A listener is one subscriptions/listen, or one session of the handshake era. What waits for it is
bounded by what it asked for, and not by how much is said or how slowly it reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import anyio
import msgspec

from gateway.domain.model import Call, Kind, Reply, Status
from gateway.domain.refusal import Refused
from gateway.edge.house import Pipeline
from gateway.edge.levels import LOG_LEVEL_META

SUBSCRIPTION_META = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
TOOLS, PROMPTS, RESOURCES = (
    f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
)
# What a list shows, by the notification that says it has changed.
LISTED: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {TOOLS: (Kind.TOOL,), PROMPTS: (Kind.PROMPT,), RESOURCES: (Kind.RESOURCE, Kind.TEMPLATE)}
)


class Word(NamedTuple):
    """One notification; *uri* of what was updated."""

    method: str
    uri: str = ""


class Box:
    """What waits to be told to one listener."""

    def __init__(self) -> None:
        self._waiting: dict[Word, None] = {}
        self._woken = asyncio.Event()

    def put(self, word: Word) -> None:
        self._waiting[word] = None
        self._woken.set()

    def drop(self, word: Word) -> None:
        self._waiting.pop(word, None)

    def wake(self) -> None:
        self._woken.set()

    def take(self) -> Word | None:
        """The oldest, if there is one."""
        word = next(iter(self._waiting), None)
        if word is not None:
            del self._waiting[word]
        return word

    async def wait(self) -> None:
        """Until something was put, or somebody woke."""
        await self._woken.wait()
        self._woken.clear()


class Follow:
    """One resource that one listener follows: the relay of its call, and what may end it."""

    def __init__(self, call: Call, box: Box) -> None:
        self.call = call
        self.is_on = False  # the server tells of changes
        self.known = asyncio.Event()  # that it is on, or that it will never be
        self.refused: Refused | None = None
        self.reply: Reply | None = None
        self.scope = anyio.CancelScope()  # of all that it does
        self._box = box

    async def notify(self, frame: bytes) -> None:
        if ACKNOWLEDGED.encode() in frame and not self.is_on:
            self.is_on = True
            self.known.set()
        else:  # taken up anew: whatever happened in between
            self._box.put(Word(UPDATED, self.call.name))

    def end(self) -> None:
        self.is_on = False
        self.scope.cancel()

    @property
    def is_over(self) -> bool:
        return self.scope.cancel_called

    async def keep(self, pipeline: Pipeline, new_call_id: Callable[[], str]) -> None:
        """Its call, from admission to outcome; after an hour it is another, and judged again."""
        try:
            with self.scope:
                self.reply = await pipeline.govern(self.call, self)
                while self.is_on and self.reply.outcome.status is Status.OK:
                    self.call = replace(self.call, id=new_call_id())
                    self.reply = await pipeline.govern(self.call, self)
        except Refused as refused:
            self.refused = refused
        finally:
            self.is_on = False
            self.known.set()


@dataclass(slots=True)
class Hearing:
    """One listener."""

    box: Box = field(default_factory=Box)
    follows: dict[str, Follow] = field(default_factory=dict)  # by URI
    level: str = ""  # of log messages; "": none are wanted

    def mark(self, meta: dict[str, bytes]) -> None:
        """Say in the `_meta` of a request which log messages its session wants."""
        meta.pop(LOG_LEVEL_META, None)
        if self.level:
            meta[LOG_LEVEL_META] = msgspec.json.encode(self.level)

    def forget(self, follow: Follow) -> None:
        """It is not followed any more: what waits of it is of no use, and would wait for ever."""
        if self.follows.get(follow.call.name) is follow:
            del self.follows[follow.call.name]
            self.box.drop(Word(UPDATED, follow.call.name))

    def close(self) -> None:
        """Nobody listens any more."""
        for follow in self.follows.values():
            follow.end()
