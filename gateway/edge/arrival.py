"""A request that was let in at the door, with its body: what both eras start from."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from gateway.domain.model import Principal
from gateway.domain.refusal import MALFORMED, TOO_LARGE_REQUEST, Refused
from gateway.edge.head import Head
from gateway.edge.strict import Message


class Vanished(Exception):
    """The caller left before its request was complete; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Arrival:
    head: Head
    principal: Principal
    server: str  # of the endpoint; "" on /mcp
    address: str
    body: bytes
    message: Message
    receive: Receive
    send: Send


def address_of(scope: Scope) -> str:
    """Where the connection comes from. Forwarded headers are not believed: anyone can send them."""
    client = scope.get("client")
    return str(client[0]) if client else ""


async def read_body(receive: Receive, head: Head, most_bytes: int, within_s: float) -> bytes:
    """The whole body of a request.

    Raises: Refused: TOO_LARGE_REQUEST, as soon as that is known; MALFORMED when it stalls.
    Vanished.
    """
    declared = head.values.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared[:19]) > most_bytes:
        raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
    try:
        async with asyncio.timeout(within_s):
            message = await receive()
            body: bytes = message.get("body", b"")
            if len(body) > most_bytes:
                raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
            if message["type"] == "http.request" and not message.get("more_body", False):
                return body
            return await _the_rest(receive, body, most_bytes)
    except TimeoutError:
        raise Refused(MALFORMED, detail={"problem": "the body did not come in time"}) from None


async def _the_rest(receive: Receive, first: bytes, most_bytes: int) -> bytes:
    body = bytearray(first)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Vanished
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise Refused(TOO_LARGE_REQUEST, detail={"limit": most_bytes})
        if not message.get("more_body", False):
            return bytes(body)
