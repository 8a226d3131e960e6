"""Servers of the handshake era that do as they are told, misbehaviour included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.fakes import Asked, Behaviour, FakeUpstream, chunk, http_response

INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "fake", "version": "1"},
}
TEXT = "text/plain"
NOT_FOUND = http_response(b"Session not found", status="404 Not Found", content_type="text/plain")
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def says(body: bytes, status: str, content_type: str = TEXT) -> Behaviour:
    async def behave(asked: Asked) -> None:
        await asked.send(http_response(body, status=status, content_type=content_type))

    return behave


def error(code: int, status: str = "200 OK", data: Any = None) -> Behaviour:
    async def behave(asked: Asked) -> None:
        failure = {"code": code, "message": "no", "data": data}
        body = {"jsonrpc": "2.0", "id": asked.id, "error": failure}
        await asked.send(http_response(json.dumps(body).encode(), status=status))

    return behave


async def forever(asked: Asked) -> None:
    await asked.reader.read()


def http_method(asked: Asked) -> str:
    return asked.head.split(" ")[0]


def event(message: Mapping[str, Any]) -> bytes:
    return chunk(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")


async def refuse_discover(asked: Asked) -> None:
    """As the MCP SDK did before it knew 2026-07-28."""
    body = b"Bad Request: No valid session ID provided"
    await asked.send(http_response(body, status="400 Bad Request", content_type="text/plain"))


async def no_stream(asked: Asked) -> None:
    await asked.send(http_response(b"", status="405 Method Not Allowed"))


async def echo(asked: Asked) -> None:
    text = json.dumps(asked.params["arguments"])
    await asked.answer({"content": [{"type": "text", "text": text}]})


class FakeOlder(FakeUpstream):
    """Streamable HTTP with sessions. `call` answers tools/call; everything may be replaced."""

    def __init__(self, call: Behaviour = echo) -> None:
        super().__init__(self.route, introduces=True)
        self.call = call
        self.on_discover: Behaviour = refuse_discover
        self.on_initialize: Behaviour = self._initialize
        self.on_get: Behaviour = no_stream
        self.initialized: Mapping[str, Any] = INITIALIZED
        self.session_id = "session-1"
        self.known: set[str] = set()

    def calls(self, method: str = "tools/call") -> list[Asked]:
        return [asked for asked in self.asked if asked.body.get("method") == method]

    def answers(self) -> list[dict[str, Any]]:
        """What the gateway answered to the server's own requests."""
        return [asked.body for asked in self.asked if asked.body and "method" not in asked.body]

    def lose_session(self) -> None:
        self.known.clear()
        self.session_id += "-again"

    async def route(self, asked: Asked) -> None:
        method = asked.body.get("method")
        if method == "server/discover":
            await self.on_discover(asked)
        elif method == "initialize":
            await self.on_initialize(asked)
        elif asked.headers.get("mcp-session-id", "") not in self.known:
            await asked.send(NOT_FOUND)
        elif http_method(asked) == "GET":
            await self.on_get(asked)
        elif method == "tools/call":
            await self.call(asked)
        elif method == "ping":
            await asked.answer({})
        else:
            await asked.send(ACCEPTED)

    async def _initialize(self, asked: Asked) -> None:
        self.known.add(self.session_id)
        message = {"jsonrpc": "2.0", "id": asked.id, "result": self.initialized}
        extra = f"Mcp-Session-Id: {self.session_id}\r\n" if self.session_id else ""
        await asked.send(http_response(json.dumps(message).encode(), extra=extra))


Answer = Callable[[Asked, "FakeSse"], Awaitable[None]]


async def echo_on_stream(asked: Asked, server: FakeSse) -> None:
    await asked.send(ACCEPTED)
    text = json.dumps(asked.params["arguments"])
    await server.say({"id": asked.id, "result": {"content": [{"type": "text", "text": text}]}})


class FakeSse(FakeUpstream):
    """HTTP+SSE. `call` answers tools/call, on the stream or otherwise."""

    def __init__(self, call: Answer = echo_on_stream) -> None:
        super().__init__(self.route, introduces=True)
        self.call = call
        self.on_get: Behaviour = self._stream
        self.endpoint = "/messages?session=1"
        self.said_endpoint = ""  # what it says instead
        self.first_event = "endpoint"
        self.streams: list[Asked] = []
        self.opened = asyncio.Event()

    def calls(self, method: str = "tools/call") -> list[Asked]:
        return [asked for asked in self.asked if asked.body.get("method") == method]

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.streams[-1].send(event({"jsonrpc": "2.0", **message}))

    async def route(self, asked: Asked) -> None:
        method = asked.body.get("method")
        if http_method(asked) == "GET":
            await self.on_get(asked)
        elif asked.head.split(" ")[1] != self.endpoint:
            await asked.send(http_response(b"", status="405 Method Not Allowed"))
        elif method == "initialize":
            await asked.send(ACCEPTED)
            await self.say({"id": asked.id, "result": INITIALIZED})
        elif method == "tools/call":
            await self.call(asked, self)
        elif method == "ping":
            await asked.send(ACCEPTED)
            await self.say({"id": asked.id, "result": {}})
        else:
            await asked.send(ACCEPTED)

    async def _stream(self, asked: Asked) -> None:
        self.streams.append(asked)
        await asked.open_stream()
        text = f"event: {self.first_event}\ndata: {self.said_endpoint or self.endpoint}\n\n"
        await asked.send(chunk(text.encode()))
        self.opened.set()
        await asked.reader.read()
