"""A curated bundle, through a real gateway, with the SDK's own client in both eras."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, gateway, write_policy

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[servers.desk]
python = "tests.attacks.desk"
cwd = "{root}"
approve = "first-seen"
[servers.pipe]
command = ["{python}", "-m", "tests.journey.effects", "{folder}/effects", "stdio"]
cwd = "{root}"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
[toolsets.office]
tools = ["desk/e*", "pipe/act", "gone/*"]
[toolsets.clerks]
tools = ["role:clerk"]
[toolsets.sealed]
tools = ["gone/*"]
"""
POLICY = """\
p, caller, default, tool/desk/*, call, -, allow
p, clerk, default, tool/desk/pid, call, -, allow
p, clerk, default, tool/pipe/*, call, -, allow
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("house")
    write_policy(folder, POLICY)
    config = folder / "customhouse.toml"
    config.write_text(CONFIG.format(root=ROOT, python=sys.executable, folder=folder))
    with gateway(config) as process:
        yield process
    code, said, complaint = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said + complaint


@asynccontextmanager
async def _client(running: GatewayProcess, path: str, mode: str) -> AsyncIterator[Client]:
    authorised = {"Authorization": f"Bearer {KEY}"}
    with anyio.fail_after(20):
        async with httpx2.AsyncClient(headers=authorised) as http:
            transport = streamable_http_client(running.url + path, http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("path", ["/mcp/t/office", "/token/mcp/t/office"])
async def test_the_bundle_is_all_there_is(running: GatewayProcess, path: str, mode: str) -> None:
    async with _client(running, path, mode) as client:
        # pipe/act is in the bundle, and policy does not let this agent use it
        assert [tool.name for tool in (await client.list_tools()).tools] == ["desk_echo"]
        answer = await client.call_tool("desk_echo", {"text": "hello"})
        assert "hello" in answer.content[0].model_dump_json()
        for outside in ("desk_pid", "pipe_act", "nope"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(outside, {})
            assert refused.value.code == -32602
            assert refused.value.data.keys() == {"io.customhouse/refusal"}
            assert refused.value.data["io.customhouse/refusal"].keys() == {"call_id"}


async def test_a_role_in_a_bundle_lends_its_tools_and_not_its_rights(
    running: GatewayProcess,
) -> None:
    async with _client(running, "/mcp/t/clerks", "2026-07-28") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["desk_pid"]


@pytest.mark.parametrize(
    "path", ["/mcp/t/sealed", "/mcp/t/nope", "/token/mcp/t/nope", "/mcp/s/nope"]
)
def test_a_bundle_that_holds_nothing_for_the_caller_is_not_there(
    running: GatewayProcess, path: str
) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    said = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    answer = httpx2.post(running.url + path, content=body, headers=said)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == -32602
