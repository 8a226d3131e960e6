"""A request that was let in at the door, and its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.domain.model import Principal
from gateway.domain.refusal import MALFORMED, TOO_LARGE_REQUEST, Refused
from gateway.edge.allowance import FREE_BYTES
from gateway.edge.endpoint import Endpoint
from gateway.edge.head import Head, accepted
from gateway.edge.strict import Message
from gateway.edge.watch import Watch


class Vanished(Exception):
    """The caller left before its request was complete; there is nobody to answer."""


class Visitor(msgspec.Struct, frozen=True):
    """Who was let in at the door, and to which endpoint."""

    head: Head
    principal: Principal
    endpoint: Endpoint
    address: str

    @property
    def can_stream(self) -> bool:
        return accepted(self.head.values.get(b"accept", b"")).stream


class Arrival(msgspec.Struct, frozen=True):
    """One whole request: what both eras start from."""

    visitor: Visitor
    body: bytes
    message: Message
    send: Send
    watch: Watch


def address_of(scope: Scope) -> str:
    """Where the connection comes from. Forwarded headers are not believed: anyone can send them."""
    client = scope.get("client")
    return str(client[0]) if client else ""


@asynccontextmanager
async def body_within(deadline_s: float) -> AsyncIterator[None]:
    """Around `read_body`. Raises: Refused: MALFORMED: the body did not come in time."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        raise Refused(MALFORMED, detail={"problem": "the body did not come in time"}) from None


async def read_body(
    receive: Receive, head: Head, most_bytes: int, pay: Callable[[int], None]
) -> bytes:
    """The whole body of a request; what is large is paid for piece by piece, as it comes.

    Raises: Refused: TOO_LARGE_REQUEST, as soon as that is known; or what *pay* refuses. Vanished.
    """
    declared = head.values.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared[:19]) > most_bytes:
        raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) > most_bytes:
        raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
    if len(body) > FREE_BYTES:
        pay(len(body))
    if message["type"] == "http.request" and not message.get("more_body", False):
        return body
    if message["type"] != "http.request":
        raise Vanished
    return await _the_rest(receive, body, most_bytes, pay)


async def _the_rest(
    receive: Receive, first: bytes, most_bytes: int, pay: Callable[[int], None]
) -> bytes:
    body = bytearray(first)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Vanished
        piece = message.get("body", b"")
        pay(len(piece))
        body += piece
        if len(body) > most_bytes:
            raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
        if not message.get("more_body", False):
            return bytes(body)
