"""Servers of the handshake era behind a real gateway: added, tested, listed, called in both eras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, gateway, write_policy

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[servers.streamable]
url = "{streamable}"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""
POLICY = "p, caller, default, tool/*, call, -, allow\n"
KINDS = ("streamable", "sse")


@dataclass
class Stand:
    running: GatewayProcess
    config: Path
    urls: dict[str, str]

    def asks(self, *arguments: str) -> Any:
        code, said, complaint = customhouse(*arguments, "--json", "--config", str(self.config))
        assert code == 0, said + complaint
        return json.loads(said)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("house")
    write_policy(folder, POLICY)
    config = folder / "customhouse.toml"
    with ExitStack() as stack:
        urls = {kind: stack.enter_context(_server(kind)) for kind in KINDS}
        config.write_text(CONFIG.format(**urls))
        made = Stand(stack.enter_context(gateway(config)), config, urls)
        made.asks("server", "add", "sse", "--url", urls["sse"], "--approve", "first-seen", "--yes")
        yield made
    code, said, complaint = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said + complaint


@contextmanager
def _server(kind: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.upstream.older_servers", kind, "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@asynccontextmanager
async def _client(stand: Stand, mode: str) -> AsyncIterator[Client]:
    authorised = {"Authorization": f"Bearer {KEY}"}
    with anyio.fail_after(20):
        async with httpx2.AsyncClient(headers=authorised) as http:
            transport = streamable_http_client(f"{stand.running.url}/mcp", http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client


def test_a_server_of_either_kind_is_looked_at_and_listed(stand: Stand) -> None:
    for kind in KINDS:
        looked = stand.asks("server", "test", kind)
        assert {row["name"] for row in looked["definitions"]} >= {"echo", "progress"}
    tools = {row["object"] for row in stand.asks("tool", "list")}
    assert {"tool/streamable/echo", "tool/sse/echo"} <= tools


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_of_either_era_calls_a_server_of_either_kind(
    stand: Stand, kind: str, mode: str
) -> None:
    seen: list[float] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with _client(stand, mode) as client:
        assert f"{kind}_echo" in [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool(f"{kind}_echo", {"text": "hello"})
        [content] = answer.content
        assert isinstance(content, TextContent)
        assert json.loads(content.text) == {"text": "hello"}
        await client.call_tool(f"{kind}_progress", {}, progress_callback=progressed)
    assert seen == [0, 1, 2]
