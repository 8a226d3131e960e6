"""A catalogue of a thousand tools, found and called through two, with the SDK's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.domain.meter import tokens
from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, gateway

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[servers.big]
python = "tests.servers.thousand"
cwd = "{root}"
approve = "first-seen"
[servers.desk]
python = "tests.attacks.desk"
cwd = "{root}"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""
POLICY = "p, caller, default, tool/big/*, call, -, allow\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    policies = folder / "policies"
    policies.mkdir()
    (policies / "model.conf").write_text((ROOT / "policies" / "model.conf").read_text())
    (policies / "policy.csv").write_text(POLICY)
    config = folder / "customhouse.toml"
    config.write_text(CONFIG.format(root=ROOT))
    return config


@pytest.fixture(scope="module")
def running(config: Path) -> Iterator[GatewayProcess]:
    with gateway(config) as process:
        yield process
    code, said, complaint = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said + complaint


@asynccontextmanager
async def _client(running: GatewayProcess, mode: str, path: str) -> AsyncIterator[Client]:
    authorised = {"Authorization": f"Bearer {KEY}"}
    with anyio.fail_after(20):
        async with httpx2.AsyncClient(headers=authorised) as http:
            transport = streamable_http_client(running.url + path, http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_of_a_thousand_tools_the_one_that_fits_is_found_and_called(
    running: GatewayProcess, mode: str
) -> None:
    async with _client(running, mode, "/mcp/search") as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["search_tools", "call_tool"]
        found = await client.call_tool("search_tools", {"query": "how many cherries?"})
        assert found.structured_content is not None
        [tool] = found.structured_content["tools"]
        assert tool["name"] == "big_cherries"
        assert set(tool["inputSchema"]["properties"]) == {"basket", "limit"}
        asked = {"name": tool["name"], "arguments": {"basket": "red", "limit": 3}}
        answer = await client.call_tool("call_tool", asked)
        assert "3 of red" in answer.content[0].model_dump_json()
        wrong = {"name": tool["name"], "arguments": {"limit": "three"}}
        refused = await client.call_tool("call_tool", wrong)
        assert refused.is_error
        # What another server has is there, and not for this caller: no error that ends an agent.
        for hidden in ("desk_echo", "desk_nothing"):
            unknown = await client.call_tool("call_tool", {"name": hidden, "arguments": {}})
            assert unknown.is_error
            assert "find its name with search_tools" in unknown.content[0].model_dump_json()
        nothing = await client.call_tool("search_tools", {"query": "echo desk"})
        assert nothing.structured_content == {"tools": []}


async def test_two_tools_are_a_hundredth_of_what_a_thousand_cost_a_model(
    running: GatewayProcess,
) -> None:
    sizes = []
    for path in ("/mcp", "/mcp/search"):
        async with _client(running, "2026-07-28", path) as client:
            listed = await client.list_tools()
            shown = [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]
            sizes.append(tokens(len(json.dumps(shown))))
    assert sizes[1] * 100 < sizes[0]


async def test_the_log_knows_the_tool_and_not_how_it_was_reached(
    running: GatewayProcess, config: Path
) -> None:
    async with _client(running, "2026-07-28", "/mcp/search") as client:
        asked = {"name": "big_cherries", "arguments": {"basket": "blue"}}
        answer = await client.call_tool("call_tool", asked)
    meta = answer.meta or {}
    call_id = meta["io.customhouse/call"]["call_id"]
    code, said, complaint = customhouse("audit", "show", call_id, "--config", str(config))
    assert code == 0, complaint
    assert "tool/big/cherries" in said
    assert "call_tool" not in said
