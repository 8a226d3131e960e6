"""One open stream: the answer to a subscriptions/listen, or what a session of the older era GETs.

    data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{...}}}

There are no event ids: who was away asks for the lists again, and nothing is resumed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.domain.model import Call, Outcome, Status
from gateway.domain.refusal import bad_params
from gateway.edge.calls import MAX_URI_CHARS, Asked
from gateway.edge.exchange import Exchange
from gateway.edge.hearing import (
    ACKNOWLEDGED,
    LISTED,
    PROMPTS,
    RESOURCES,
    SUBSCRIPTION_META,
    TOOLS,
    UPDATED,
    Follow,
    Hearing,
    Word,
)
from gateway.edge.reply import CALL_META, call_meta

_FLAGS: Mapping[str, str] = {
    "toolsListChanged": TOOLS,
    "promptsListChanged": PROMPTS,
    "resourcesListChanged": RESOURCES,
}
_URIS = "resourceSubscriptions"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller asked to be told of, and no more."""

    lists: frozenset[str] = frozenset()  # notifications, as in `hearing.LISTED`
    uris: tuple[str, ...] = ()


EVERYTHING = Wanted(frozenset(LISTED))


def read_wanted(params: Mapping[str, Any]) -> Wanted:
    """The filter of a subscriptions/listen; what is not known in it is not honoured.

    Raises: Refused: BAD_PARAMS.
    """
    said = params.get("notifications")
    if not isinstance(said, dict):
        raise bad_params("notifications must be an object")
    lists = set()
    for flag, method in _FLAGS.items():
        if not isinstance(said.get(flag), bool | None):
            raise bad_params(f"{flag} must be true or false")
        if said.get(flag):
            lists.add(method)
    return Wanted(frozenset(lists), _read_uris(said.get(_URIS)))


def _read_uris(said: Any) -> tuple[str, ...]:
    if said is None:
        return ()
    if not isinstance(said, list):
        raise bad_params(f"{_URIS} must be a list")
    for uri in said:
        if not isinstance(uri, str) or not 0 < len(uri) <= MAX_URI_CHARS:
            raise bad_params(f"{_URIS} must hold URIs of 1 to {MAX_URI_CHARS} characters")
    return tuple(dict.fromkeys(said))


@dataclass(eq=False, slots=True)
class Stream:
    """Written by one task, which waits for its reader; others only say what there is to tell."""

    call: Call
    exchange: Exchange
    wanted: Wanted
    hearing: Hearing
    until_s: float  # monotonic
    open: Callable[[Stream], Awaitable[None]]  # what has to be done before the first word
    may: Callable[[Follow], bool]  # whether its caller may be told of a resource, now
    seen: Mapping[str, int] = field(default_factory=dict)  # what of each list, at the last look
    seen_at: object = None  # what was in force then
    count: int = 0  # notifications that were written
    code: str = ""  # why it was ended, when its caller did not
    is_over: bool = False
    _is_open: bool = False

    @property
    def asked(self) -> Asked:
        return self.exchange.asked

    async def run(self) -> None:
        await self.open(self)
        self._is_open = True
        while not self.is_over:
            word = self.hearing.box.take()
            if word is None:
                await self.hearing.box.wait()
            elif self._is_good(word):
                await self._write(word)
                self.count += self.exchange.hears  # else it reached nobody

    def outcome(self) -> Outcome:
        status = Status.OK if self.is_over else Status.CANCELLED
        return Outcome(status, code=self.code, count=self.count)

    def end(self, code: str = "") -> None:
        """Nothing more is told; what was begun is written to its end."""
        self.is_over = True
        self.code = code
        self.hearing.box.wake()

    async def acknowledge(self) -> None:
        """Say what is honoured: of the resources, those that are followed."""
        honoured: dict[str, Any] = {
            flag: True for flag, method in _FLAGS.items() if method in self.wanted.lists
        }
        followed = [uri for uri, follow in self.hearing.follows.items() if follow.is_on]
        if followed:
            honoured[_URIS] = followed
        await self._write(Word(ACKNOWLEDGED), {"notifications": honoured})

    def look(self, seen: Mapping[str, int], at: object) -> None:
        """Compare with what was seen before; of what differs, the caller is told."""
        if self.seen_at is not None:
            for method in self.wanted.lists:
                if seen[method] != self.seen[method]:
                    self.hearing.box.put(Word(method))
        self.seen, self.seen_at = seen, at

    @property
    def is_in_vain(self) -> bool:
        """Whether nothing can ever be told on it."""
        return self._is_open and not self.wanted.lists and not self.hearing.follows

    def _is_good(self, word: Word) -> bool:
        if word.method != UPDATED:
            return word.method in self.wanted.lists
        follow = self.hearing.follows.get(word.uri)
        return follow is not None and follow.is_on and self.may(follow)

    async def _write(self, word: Word, more: Mapping[str, Any] | None = None) -> None:
        params: dict[str, Any] = dict(more or {})
        if word.uri:
            params["uri"] = word.uri
        if self.asked.client.modern:
            params["_meta"] = {SUBSCRIPTION_META: msgspec.Raw(self.asked.message.id)}
        said: dict[str, Any] = {"jsonrpc": "2.0", "method": word.method}
        if params:
            said["params"] = params
        await self.exchange.tell(msgspec.json.encode(said))


def final_result_of(stream: Stream) -> bytes:
    """The result that ends a subscriptions/listen in good order."""
    meta = {
        SUBSCRIPTION_META: msgspec.Raw(stream.asked.message.id),
        CALL_META: msgspec.Raw(call_meta(stream.call, {})),
    }
    return msgspec.json.encode({"resultType": "complete", "_meta": meta})
