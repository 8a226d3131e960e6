"""How one resource of a server is followed: the requests of either era, and what comes of them.

2026-07-28    subscriptions/listen {"notifications":{"resourceSubscriptions":[URI]}}, held open
before        resources/subscribe {"uri":URI}, and resources/unsubscribe when nobody follows it any more
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.domain.model import Status
from gateway.upstream import own
from gateway.upstream.envelope import legacy_request
from gateway.upstream.exchange import Bounds, RelayFailed, Run
from gateway.upstream.listen import LISTEN_S, MAX_BYTES
from gateway.upstream.message import Message, died
from gateway.upstream.subscribe import Declined, Told

ASK_S = 30.0
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
_MAX_PARTS = 32  # of a URI that are looked through for one that is followed
_NOT_HONOURED = msgspec.json.encode(
    {"code": -32601, "message": "The server does not tell of changes to this resource."}
)


class Subscribable(Protocol):
    """A session of the handshake era, as far as following a resource needs it."""

    followed: dict[str, Told]
    over: asyncio.Event

    @property
    def run(self) -> Run: ...

    def tell(self, line: bytes) -> None: ...

    def next_id(self) -> bytes: ...


async def listen_for(server: str, run: Run, uri: str, told: Told) -> None:
    """Follow *uri* on a server of 2026-07-28, until cancelled or until it ends the stream.

    Raises: Declined. UpstreamFailed.
    """
    wanted = msgspec.json.encode({"resourceSubscriptions": [uri]})
    call = own.own_call(server, "subscriptions/listen", {"notifications": wanted})
    try:
        outcome = await own.ask(run, call, Bounds(LISTEN_S, MAX_BYTES), _Heard(uri, told))
    except RelayFailed:
        raise Declined(_NOT_HONOURED) from None
    if outcome.status is Status.RPC_ERROR:
        raise Declined(outcome.error)


async def subscribe_in(session: Subscribable, server: str, uri: str, told: Told) -> None:
    """Follow *uri* in a session of the handshake era, until cancelled or until that is over.

    Raises: Declined. UpstreamFailed.
    """
    call = own.own_call(server, "resources/subscribe", {}, uri)
    session.followed[uri] = told  # before it is asked: the first word may come with the answer
    try:
        outcome = await own.ask(session.run, call, Bounds(ASK_S, MAX_BYTES))
        if outcome.status is Status.RPC_ERROR:
            raise Declined(outcome.error)
        told.acknowledged()
        await session.over.wait()
        raise died("the server ended")
    finally:
        del session.followed[uri]
        if not session.over.is_set():
            ending = own.own_call(server, "resources/unsubscribe", {}, uri)
            session.tell(legacy_request(ending, session.next_id()) + b"\n")


class Head(msgspec.Struct, frozen=True):
    """What a word says of the subscription that it is for."""

    subscription: bytes  # raw: the id of our request, when it is named
    uri: str


def read_head(message: Message) -> Head:
    """Of a notification that belongs to a subscription; empty when it cannot be read."""
    try:
        params = _decode_params(message.params)
    except msgspec.MsgspecError:
        return Head(b"", "")
    return Head(bytes(params.meta.subscription), params.uri)


def tell_followers(followed: Mapping[str, Told], uri: str) -> None:
    """Tell whoever follows *uri*, or the nearest resource that it is a part of."""
    for _ in range(_MAX_PARTS):
        told = followed.get(uri) or followed.get(uri + "/")
        if told is not None:
            told.updated()
            return
        uri, slash, _ = uri.rpartition("/")
        if not slash:
            return


def covers(followed: str, uri: str) -> bool:
    """Whether *uri* is what is followed, or a part of it: a server may name either."""
    if uri == followed:
        return True
    return uri.startswith(followed if followed.endswith("/") else followed + "/")


class _Filter(msgspec.Struct):
    uris: list[str] = msgspec.field(name="resourceSubscriptions", default_factory=list)


class _Meta(msgspec.Struct):
    subscription: msgspec.Raw = msgspec.field(
        name="io.modelcontextprotocol/subscriptionId", default=msgspec.Raw()
    )


class _Params(msgspec.Struct):
    uri: str = ""
    notifications: _Filter = msgspec.field(default_factory=_Filter)
    meta: _Meta = msgspec.field(name="_meta", default_factory=_Meta)


class _Word(msgspec.Struct):
    method: str
    params: _Params = msgspec.field(default_factory=_Params)


_decode_params = msgspec.json.Decoder(_Params).decode
_decode_word = msgspec.json.Decoder(_Word).decode


class _NotHonoured(Exception):
    """It acknowledged something else than what it was asked for."""


class _Heard:
    """The relay of our own request."""

    def __init__(self, uri: str, told: Told) -> None:
        self._uri = uri
        self._told = told

    async def notify(self, frame: bytes) -> None:
        try:
            word = _decode_word(frame)
        except msgspec.MsgspecError:
            return
        if word.method == ACKNOWLEDGED:
            if self._uri not in word.params.notifications.uris:
                raise _NotHonoured
            self._told.acknowledged()
        elif word.method == UPDATED and covers(self._uri, word.params.uri):
            self._told.updated()
