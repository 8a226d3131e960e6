"""From somebody else's file to a call, through a real gateway: a REST API and a client's servers."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.cli.reach import ask
from gateway.edge.admin import SOCKET
from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, gateway, write_policy
from tests.servers.pets import KEY as PETS_KEY
from tests.servers.pets import Pets, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""


@pytest.fixture(scope="module")
def pets() -> Iterator[Pets]:
    with serving(Pets()) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    write_policy(folder, "p, caller, default, tool/*, call, -, allow\n")
    (folder / "customhouse.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def running(folder: Path, pets: Pets) -> Iterator[GatewayProcess]:
    """A gateway to which an API and a client's server were added while it ran, and approved."""
    desk = {
        "command": sys.executable,
        "args": ["-m", "gateway.upstream.python", "tests.attacks.desk"],
    }
    (folder / ".mcp.json").write_text(
        json.dumps({"mcpServers": {"Front Desk": {**desk, "cwd": str(ROOT)}}})
    )
    with gateway(folder / "customhouse.toml", {"PETS_KEY": PETS_KEY}) as process:
        document = f"{pets.url}/openapi.json"
        do(folder, "server", "add", document, "--as", "pets", "--auth", "env:PETS_KEY", "--yes")
        do(folder, "server", "add", str(folder / ".mcp.json"), "--yes")
        for server in ("pets", "front-desk"):
            seen = operate(folder, "server.test", name=server)["ok"]["definitions"]
            rows = [[row["kind"], row["name"], row["digest"]] for row in seen]
            assert "ok" in operate(folder, "server.approve", name=server, seen=rows)
        yield process


def operate(folder: Path, operation: str, **args: Any) -> Any:
    return ask(folder / "data" / SOCKET, operation, args)


def do(folder: Path, *arguments: str) -> None:
    code, said, complaint = customhouse(*arguments, "--config", str(folder / "customhouse.toml"))
    assert code == 0, said + complaint


@asynccontextmanager
async def connected(running: GatewayProcess, mode: str) -> AsyncIterator[Client]:
    with anyio.fail_after(20):
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as http:
            transport = streamable_http_client(f"{running.url}/mcp", http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_what_was_imported_is_called_like_every_other_tool(
    running: GatewayProcess, pets: Pets, mode: str
) -> None:
    pets.asked.clear()
    async with connected(running, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"pets_listPets", "pets_getPet", "pets_answer", "front-desk_echo"} <= names
        assert "pets_addPet" not in names  # it writes, and nobody asked for that
        found = await client.call_tool("pets_listPets", {"limit": 2, "tag": ["a b"]})
        assert found.structured_content == {
            "method": "GET",
            "target": "/v1/pets?limit=2&tag=a%20b",
        }
        missing = await client.call_tool("pets_answer", {"petId": "missing"})
        assert missing.is_error
        assert "HTTP 404" in missing.content[0].model_dump_json()
        too_many = await client.call_tool("pets_listPets", {"limit": 51})
        assert too_many.is_error  # the document says at most 50
        echoed = await client.call_tool("front-desk_echo", {"text": "hello"})
        assert "hello" in echoed.content[0].model_dump_json()
    assert [one.target for one in pets.asked] == [
        "/v1/pets?limit=2&tag=a%20b",
        "/v1/answers/missing",
    ]
    assert pets.asked[0].headers["x-api-key"] == PETS_KEY
    assert KEY not in json.dumps([one.headers for one in pets.asked])
