"""Servers that others wrote: a stdio server from the registry, and the MCP SDK over HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

from gateway.domain.model import Kind, Status
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import Collected, border, eventually, http_spec, make_call, make_definition

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_mcp_server_time_tells_the_time() -> None:
    spec = ServerSpec("fake", StdioTransport(("mcp-server-time",)), timeout_s=20)
    async with border(spec) as house:
        listing = await house.upstreams.list_definitions("fake")
        names = {entry.name for entry in listing.definitions if entry.kind is Kind.TOOL}
        assert names == {"get_current_time", "convert_time"}
        call = make_call(name="get_current_time", arguments={"timezone": "Europe/Zurich"})
        outcome = await house.call(call)
        assert outcome.status is Status.OK
        assert "Europe/Zurich" in json.loads(outcome.result)["content"][0]["text"]
        wrong = make_call(name="get_current_time", arguments={"timezone": "Nowhere/None"})
        assert (await house.call(wrong)).status in {Status.TOOL_ERROR, Status.RPC_ERROR}


Context = ServerRequestContext[Any]
SCHEMA = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}


async def list_tools(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """Three pages of one tool each."""
    page = int(params.cursor) if params and params.cursor else 0
    name = ["echo", "progress", "wait"][page]
    tool = types.Tool(name=name, description=f"page {page}", input_schema=SCHEMA)
    return types.ListToolsResult(tools=[tool], next_cursor=str(page + 1) if page < 2 else None)


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name == "progress":
        for step in range(3):
            await ctx.session.report_progress(step, 3)
    if params.name == "wait":
        await asyncio.Event().wait()
    text = json.dumps(params.arguments)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@asynccontextmanager
async def sdk_server() -> AsyncIterator[tuple[str, InMemorySubscriptionBus]]:
    """The SDK's own Streamable HTTP server on a free port."""
    bus = InMemorySubscriptionBus()
    server = Server(
        "sdk",
        instructions="be kind",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_subscriptions_listen=ListenHandler(bus),
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(server.streamable_http_app(), log_level="error", lifespan="on")
        serving = uvicorn.Server(config)
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        await eventually(lambda: serving.started)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", bus
        finally:
            serving.should_exit = serving.force_exit = True
            await task


async def test_the_sdks_http_server_answers_streams_and_lists() -> None:
    async with sdk_server() as (url, _), border(http_spec(url)) as house:
        listing = await house.upstreams.list_definitions("fake")
        assert [entry.name for entry in listing.definitions] == ["echo", "progress", "wait"]
        assert listing.instructions == "be kind"

        arguments = {"region": "z\u00fcrich"}
        definition = make_definition(listing.definitions[0].body)
        outcome = await house.call(make_call(arguments=arguments, definition=definition))
        assert json.loads(outcome.result)["content"][0]["text"] == json.dumps(arguments)

        relay = Collected()
        call = make_call(name="progress", arguments={"region": "x"}, meta={"progressToken": 42})
        outcome = await house.call(call, relay=relay)
        assert outcome.status is Status.RPC_ERROR  # the header that its schema wants is missing
        definition = make_definition(listing.definitions[1].body)
        call = make_call(
            name="progress",
            arguments={"region": "x"},
            meta={"progressToken": 42},
            definition=definition,
        )
        outcome = await house.call(call, relay=relay)
        assert outcome.status is Status.OK
        assert [frame["params"]["progress"] for frame in relay.frames] == [0, 1, 2]
        assert {frame["params"]["progressToken"] for frame in relay.frames} == {42}


async def test_the_sdks_http_server_says_when_its_lists_change() -> None:
    told: list[str] = []
    async with sdk_server() as (url, bus), border(http_spec(url)) as house:
        house.upstreams.on_list_changed(told.append)
        await house.upstreams.list_definitions("fake")
        await eventually(lambda: bool(house.upstreams.health()["fake"].connector["listening"]))
        await bus.publish(ToolsListChanged())
        await eventually(lambda: bool(told))
    assert told == ["fake"]
