"""The raw hop: the least a Python gateway can do. It parses the JSON, checks a static token and
forwards over a kept connection; no policy, no budget, no log. Twice: as an ASGI application on
uvicorn, which is what gateways are made of, and on bare asyncio protocols.

    BENCH_KEY=... BENCH_UPSTREAM=PORT python -m tests.bench.hop asgi|bare
"""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec
import uvicorn
import uvloop

from tests.bench.wire import Client, Message, Server, connect, serve

_AUTHORIZATION = b"Bearer " + os.environ.get("BENCH_KEY", "").encode()
_UPSTREAM = int(os.environ.get("BENCH_UPSTREAM", "0"))
_NOT_FORWARDED = frozenset({b"host", b"authorization", b"content-length", b"connection"})
_RETURNED = (b"content-type", b"mcp-session-id")

Event = MutableMapping[str, Any]

_EVENTS = b"text/event-stream"


class Flow(Client):
    """A connection whose answer is passed on as it comes, b"" behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def on_body(self, body: bytes) -> None:
        self.pieces.put_nowait(body)

    def on_message_complete(self) -> None:
        self.pieces.put_nowait(b"")
        super().on_message_complete()


# Kept connections that nobody uses just now, shared by all callers.
_free: list[Client] = []
_flows: list[Flow] = []
# A task nobody holds may be collected half-way.
_running: set[asyncio.Task[None]] = set()


def admits(method: bytes, token: bytes | None, body: bytes) -> bool:
    """The token is the one, and the body is a JSON-RPC request, or asks a model (or a session ends)."""
    if token != _AUTHORIZATION:
        return False
    if method == b"DELETE":
        return True
    call = msgspec.json.decode(body)
    return bool((call.get("jsonrpc") == "2.0" and "method" in call) or "model" in call)


def forwarded(
    method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> bytes:
    """The request as it goes upstream: without the caller's token."""
    lines = b"".join(b"%b: %b\r\n" % line for line in headers if line[0] not in _NOT_FORWARDED)
    return b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
        method,
        target,
        lines,
        len(body),
        body,
    )


def returned(reply: Message) -> list[tuple[bytes, bytes]]:
    """The headers of a reply that the caller gets to see."""
    return [(name, reply.headers[name]) for name in _RETURNED if name in reply.headers]


class Bare(Server):
    """One connection of a caller, on protocols alone."""

    def received(self, request: Message) -> None:
        if not admits(self.method, request.headers.get(b"authorization"), request.body):
            self.respond(401, b"", b"")
            return
        raw = forwarded(self.method, request.target, request.headers.items(), request.body)
        if _free:
            self._forward(_free.pop(), raw)
            return
        task = asyncio.ensure_future(self._forward_anew(raw))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _forward_anew(self, raw: bytes) -> None:
        self._forward(await connect(_UPSTREAM), raw)

    def _forward(self, client: Client, raw: bytes) -> None:
        def answered(answer: asyncio.Future[Message]) -> None:
            if answer.exception() is not None:
                self.transport.close()
                return
            _free.append(client)
            reply = answer.result()
            lines = b"".join(b"%b: %b\r\n" % line for line in returned(reply))
            self.respond(reply.status, lines, reply.body)

        client.ask(raw).add_done_callback(answered)


async def _body(receive: Callable[[], Awaitable[Event]]) -> bytes:
    body: bytes = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body", False):
            return body


async def asgi(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """The same as an ASGI application."""
    body = await _body(receive)
    method, target = scope["method"].encode(), scope["raw_path"]
    headers = dict(scope["headers"])
    if not admits(method, headers.get(b"authorization"), body):
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    raw = forwarded(method, target, scope["headers"], body)
    if headers.get(b"accept") == _EVENTS:
        await _streamed(raw, send)
        return
    client = _free.pop() if _free else await connect(_UPSTREAM)
    reply = await client.ask(raw)
    _free.append(client)
    length = (b"content-length", b"%d" % len(reply.body))
    told = [*returned(reply), length]
    await send({"type": "http.response.start", "status": reply.status, "headers": told})
    await send({"type": "http.response.body", "body": reply.body})


async def _streamed(raw: bytes, send: Callable[[Event], Awaitable[None]]) -> None:
    """Forward a request that is answered with events."""
    flow = _flows.pop() if _flows else await connect(_UPSTREAM, Flow)
    answer = flow.ask(raw)
    piece = await flow.pieces.get()
    headers = [(b"content-type", _EVENTS)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while piece:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        piece = await flow.pieces.get()
    await send({"type": "http.response.body", "body": b""})
    await answer
    _flows.append(flow)


async def serve_asgi() -> None:
    """Serve `asgi` on a free loopback port, the way a gateway would."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        asgi, http="httptools", lifespan="off", access_log=False, log_level="warning"
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(serve_asgi() if sys.argv[1:] == ["asgi"] else serve(Bare))
