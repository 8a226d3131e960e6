"""The SDK's own client, in both of its modes, across the border."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from gateway.domain.model import Call, Outcome, Relay, Status
from tests.edge.fakes import Stand

pytestmark = pytest.mark.anyio

MODES = ["auto", "legacy", "2026-07-28"]


async def _upstream(call: Call, relay: Relay) -> Outcome:
    if call.method == "resources/read":
        body = b'{"contents":[{"uri":"file:///readme","text":"hello"}]}'
        return Outcome(Status.OK, body)
    if call.method == "prompts/get":
        return Outcome(Status.OK, b'{"messages":[]}')
    if call.method == "completion/complete":
        return Outcome(Status.OK, b'{"completion":{"values":["a"]}}')
    if call.meta.get("progressToken"):
        frame = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,"progress":0.5}}'
        await relay.notify(frame % call.meta["progressToken"])
    if call.name == "zones":
        return Outcome(Status.RPC_ERROR, error=b'{"code":-32050,"message":"theirs","data":{"x":1}}')
    return Outcome(Status.OK, b'{"content":[{"type":"text","text":"12:00"}]}')


@asynccontextmanager
async def _client(mode: str, path: str = "/mcp") -> AsyncIterator[Client]:
    stand = Stand()
    stand.pipeline.upstream = _upstream
    async with (
        stand.border.run(),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(stand.border),
            headers={"Authorization": "Bearer alice-key"},
        ) as http,
    ):
        transport = streamable_http_client(f"http://127.0.0.1:8080{path}", http_client=http)
        async with Client(transport, mode=mode, cache=None) as client:
            yield client


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_lists_and_calls_tools(mode: str) -> None:
    with anyio.fail_after(10):
        async with _client(mode) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == [
                "docs_mirrored",
                "docs_search",
                "time_now",
                "time_zones",
            ]
            answer = await client.call_tool("time_now", {"zone": "UTC"})
            assert isinstance(answer.content[0], types.TextContent)
            assert answer.content[0].text == "12:00"


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_reads_resources_gets_prompts_and_completes(mode: str) -> None:
    with anyio.fail_after(10):
        async with _client(mode) as client:
            assert [str(r.uri) for r in (await client.list_resources()).resources] == [
                "file:///readme"
            ]
            assert (await client.read_resource("file:///readme")).contents
            assert (await client.list_prompts()).prompts[0].name == "docs_summarise"
            assert (await client.get_prompt("docs_summarise")).messages == []
            ref = types.PromptReference(type="ref/prompt", name="docs_summarise")
            done = await client.complete(ref, {"name": "a", "value": "b"})
            assert done.completion.values == ["a"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_hears_progress(mode: str) -> None:
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    with anyio.fail_after(10):
        async with _client(mode) as client:
            await client.call_tool("time_now", {}, progress_callback=on_progress)
    assert heard == [0.5]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_gets_the_errors_as_they_are(mode: str) -> None:
    with anyio.fail_after(10):
        async with _client(mode) as client:
            with pytest.raises(MCPError) as unknown:
                await client.call_tool("nope", {})
            assert unknown.value.code == -32602
            with pytest.raises(MCPError) as theirs:
                await client.call_tool("time_zones", {})
            assert (theirs.value.code, theirs.value.data) == (-32050, {"x": 1})


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_one_server_uses_its_names_and_reads_its_instructions(mode: str) -> None:
    with anyio.fail_after(10):
        async with _client(mode, "/mcp/s/time") as client:
            if mode != "2026-07-28":  # a pinned client does not ask
                assert client.instructions == "Ask for the time politely."
            assert [tool.name for tool in (await client.list_tools()).tools] == ["now", "zones"]
            await client.call_tool("now", {})


@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
async def test_a_client_mirrors_parameters_where_the_tool_asks_for_it(mode: str) -> None:
    with anyio.fail_after(10):
        async with _client(mode) as client:
            await client.list_tools()
            answer: Any = await client.call_tool("docs_mirrored", {"region": "eu-ü"})
            assert answer.content
