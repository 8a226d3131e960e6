"""Servers of the handshake era that others wrote: the MCP SDK over Streamable HTTP and HTTP+SSE."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.fakes import eventually

MODERN = "2026-07-28"
TOOLS = ("echo", "progress", "wait", "change", "ping", "sample", "touch", "hang_up")
Context = ServerRequestContext[Any]
Guard = Callable[[ASGIApp, str], ASGIApp]  # what stands in front of an app that is at this URL


@dataclass(frozen=True)
class Seen:
    """One HTTP request, as it reached the server."""

    http_method: str
    path: str
    headers: dict[str, str]
    method: str  # of the JSON-RPC message; "" when there is none
    border: dict[str, Any]  # what its signed token says; empty where nobody looks at that


@dataclass
class Running:
    """A server that runs, and what it noticed."""

    url: str = ""
    app: ASGIApp | None = None  # None: every request is answered 503
    refuses_modern: bool = True
    refuses_older: bool = False
    seen: list[Seen] = field(default_factory=list)
    executed: list[dict[str, Any]] = field(default_factory=list)  # arguments of echo
    followed: list[str] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def posts(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method]

    def requests(self, http_method: str) -> list[Seen]:
        return [one for one in self.seen if one.http_method == http_method]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note each request; refuse an era the way servers do that do not speak it."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        body = await request.body()
        method = json.loads(body).get("method", "") if body else ""
        target = scope["path"] + (
            f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        )
        border = scope.get("border", {})
        self.seen.append(Seen(scope["method"], target, dict(request.headers), method, border))
        modern = request.headers.get("mcp-protocol-version") == MODERN
        if modern and self.refuses_modern:
            await _refuse(-32000, "Bad Request: Unsupported protocol version")(scope, receive, send)
        elif not modern and self.refuses_older:
            await _refuse(-32020, "MCP-Protocol-Version is missing")(scope, receive, send)
        elif self.app is None:
            await Response(status_code=503)(scope, receive, send)
        else:
            await self.app(scope, _again(body, receive), send)


def _refuse(code: int, message: str) -> Response:
    error = {"code": code, "message": message}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever comes after it."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay


def make_server(running: Running) -> Server[Any]:
    async def list_tools(
        ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS]
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        text = await _act(running, ctx, params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    async def follow(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        running.followed.append(str(params.uri))
        return types.EmptyResult()

    async def leave(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        running.followed.remove(str(params.uri))
        return types.EmptyResult()

    return Server(
        "older",
        instructions="be kind",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscribe_resource=follow,
        on_unsubscribe_resource=leave,
    )


async def _act(running: Running, ctx: Context, name: str, arguments: dict[str, Any]) -> str:
    if name == "echo":
        running.executed.append(arguments)
    elif name == "wait":
        await _wait(running)
    elif name == "touch":
        await ctx.session.send_resource_updated(arguments["uri"])
    elif name == "sample":
        return await _sample(ctx)
    else:
        await _say(ctx, name)
    return json.dumps(arguments)


async def _say(ctx: Context, name: str) -> None:
    if name == "progress":
        for step in range(3):
            await ctx.session.report_progress(step, 3)
    elif name == "change":
        await ctx.session.send_tool_list_changed()
    elif name == "ping":
        await ctx.session.send_ping()
    elif name == "hang_up":
        assert ctx.close_standalone_sse_stream is not None
        await ctx.close_standalone_sse_stream()


async def _wait(running: Running) -> None:
    running.waiting.set()
    try:
        await asyncio.Event().wait()
    finally:
        running.cancelled.set()


async def _sample(ctx: Context) -> str:
    """What comes of asking a client that offers no sampling."""
    params = types.CreateMessageRequestParams(messages=[], max_tokens=1)
    try:
        await ctx.session.send_request(
            types.CreateMessageRequest(params=params), types.CreateMessageResult
        )
    except MCPError as err:
        return str(err.error.code)
    return "sampled"


@asynccontextmanager
async def serve(
    running: Running, port: int = 0, guard: Guard | None = None
) -> AsyncIterator[Running]:
    """*running* on a free port of loopback."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        running.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        app = guard(running, running.url) if guard else running
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=30)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        try:
            yield running
        finally:
            server.should_exit = server.force_exit = True
            await task


@asynccontextmanager
async def sessions(running: Running, **how: Any) -> AsyncIterator[None]:
    """A set of sessions for *running*; leaving it loses them all, as a restart does."""
    server = make_server(running)
    app = server.streamable_http_app(**how)
    async with server.session_manager.run():
        running.app = app
        yield
        running.app = None


@asynccontextmanager
async def streamable_server(
    port: int = 0, guard: Guard | None = None, **how: Any
) -> AsyncIterator[Running]:
    """The SDK's Streamable HTTP server of 2025-11-25 and before."""
    running = Running()
    async with sessions(running, **how), serve(running, port, guard):
        yield running


@asynccontextmanager
async def newest_server(guard: Guard | None = None) -> AsyncIterator[Running]:
    """The SDK's server of 2026-07-28, and of nothing before."""
    running = Running(refuses_modern=False, refuses_older=True)
    async with sessions(running), serve(running, guard=guard):
        yield running


@asynccontextmanager
async def sse_server(port: int = 0, guard: Guard | None = None) -> AsyncIterator[Running]:
    """The SDK's HTTP+SSE server."""
    running = Running()
    server = make_server(running)
    transport = SseServerTransport("/messages/")

    async def stream(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as streams:
            reads, writes = streams
            await server.run(reads, writes, server.create_initialization_options())
        return Response()

    running.app = Starlette(
        routes=[
            Route("/mcp", stream, methods=["GET"]),
            Mount("/messages/", app=transport.handle_post_message),
        ]
    )
    async with serve(running, port, guard):
        yield running


class Remembered(EventStore):
    """Every event of a session, so that a broken stream can go on."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        last = int(last_event_id)
        stream_id = self._events[last - 1][0]
        for number, (stream, message) in enumerate(self._events[last:], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def main(kind: str, port: int) -> None:
    """One of them until it is killed; says its URL, and then when somebody waits in it."""
    async with (sse_server if kind == "sse" else streamable_server)(port) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        await running.waiting.wait()
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
