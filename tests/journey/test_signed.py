"""Servers that let in only what crossed the border, behind a real gateway: asked, called, re-keyed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes import eventually
from tests.journey.process import (
    ROOT,
    customhouse,
    gateway,
    headers,
    modern,
)
from tests.servers.pets import KEY as PETS_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KINDS = ("newest", "streamable", "sse", "pets")
CONFIG = """
listen = "127.0.0.1:{port}"
[servers.newest]
url = "{newest}"
approve = "first-seen"
sign = true
[servers.streamable]
url = "{streamable}"
approve = "first-seen"
sign = true
[servers.sse]
url = "{sse}"
approve = "first-seen"
sign = true
[servers.pets]
url = "{pets}/v1"
openapi = "{pets}/openapi.json"
auth = "env:PETS_KEY"
approve = "first-seen"
sign = true
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""
POLICY = "p, caller, default, tool/*, call, -, allow\n"
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "newest": ("newest_echo", {"text": "hello"}),
    "streamable": ("streamable_echo", {"text": "hello"}),
    "sse": ("sse_echo", {"text": "hello"}),
    "pets": ("pets_getPet", {"petId": "rex"}),
}


@dataclass
class Stand:
    config: Path
    url: str
    servers: dict[str, str]
    client: httpx2.Client

    def keys(self) -> list[str]:
        answer = self.client.get(f"{self.url}/.well-known/jwks.json")
        return [key["kid"] for key in answer.json()["keys"]]

    def calls(self) -> dict[str, Any]:
        """What comes of one call of each; the agent says that it crossed the border, too."""
        came: dict[str, Any] = {}
        for kind, (name, arguments) in CALLS.items():
            said = {**headers("tools/call", name), "Customhouse-Call": "e30.e30.e30"}
            body = modern("tools/call", {"name": name, "arguments": arguments})
            answer = self.client.post(f"{self.url}/mcp", content=body, headers=said).json()
            came[kind] = answer if answer["result"].get("isError") else "done"
        return came

    def directly(self, kind: str) -> int:
        """How the server answers who did not cross the border."""
        url = self.servers[kind]
        if kind == "pets":
            said = {"X-Api-Key": PETS_KEY}
            return self.client.get(f"{url}/v1/pets/rex", headers=said).status_code
        body = modern("tools/call", {"name": "echo", "arguments": {}})
        said = headers("tools/call", "echo")
        return self.client.post(url, content=body, headers=said).status_code

    def listed(self) -> set[str]:
        body = modern("tools/list", {})
        answer = self.client.post(f"{self.url}/mcp", content=body, headers=headers("tools/list"))
        return {tool["name"] for tool in answer.json()["result"]["tools"]}


@contextmanager
def serving(border: str) -> Iterator[dict[str, str]]:
    """All kinds of server, each in a process of its own and behind the recipe; their URLs."""
    with ExitStack() as stack:
        started = {}
        for kind in KINDS:
            command = [sys.executable, "-m", "tests.servers.guarded", kind, border]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            started[kind] = process
        yield {kind: one.stdout.readline().strip() for kind, one in started.items() if one.stdout}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "policies").mkdir()
    (folder / "policies" / "model.conf").write_text((ROOT / "policies/model.conf").read_text())
    (folder / "policies" / "policy.csv").write_text(POLICY)
    config = folder / "customhouse.toml"
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]  # servers are told it before the gateway is there
    url = f"http://127.0.0.1:{port}"
    with serving(url) as servers, httpx2.Client(timeout=20) as client:
        config.write_text(CONFIG.format(port=port, **servers))
        yield Stand(config, url, servers, client)
    code, said, complaint = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said + complaint


@asynccontextmanager
async def served(stand: Stand) -> AsyncIterator[None]:
    """The gateway, from when it has looked at every server."""
    names = {name for name, _ in CALLS.values()}
    with gateway(stand.config, {"PETS_KEY": PETS_KEY}) as process:
        await eventually(lambda: names <= stand.listed(), 15)
        yield
    # They were not asked before they could fetch the keys.
    assert not [line for line in process.lines if line.get("event") == "server_not_listed"]


async def test_calls_pass_through_the_gateway_and_on_no_other_way_whatever_key_it_has(
    stand: Stand,
) -> None:
    async with served(stand):
        assert stand.calls() == dict.fromkeys(KINDS, "done")
        [first] = stand.keys()
        for kind in KINDS:
            assert stand.directly(kind) == 403
        code, said, complaint = customhouse("key", "rotate", "state", "--config", str(stand.config))
        assert code == 0, said + complaint
        assert stand.keys()[0] == first  # servers hear of the second before it is used
        [_, second] = stand.keys()
        assert stand.calls() == dict.fromkeys(KINDS, "done")
    async with served(stand):
        assert stand.keys() == [second]
        assert stand.calls() == dict.fromkeys(KINDS, "done")
        for kind in KINDS:
            assert stand.directly(kind) == 403


async def test_whoever_has_no_signing_server_publishes_no_keys(
    stand: Stand, tmp_path: Path
) -> None:
    config = tmp_path / "customhouse.toml"
    text = stand.config.read_text().replace("sign = true", "")
    config.write_text(text.replace(stand.url.removeprefix("http://"), "127.0.0.1:0"))
    with gateway(config, {"PETS_KEY": PETS_KEY}) as process:
        assert stand.client.get(f"{process.url}/.well-known/jwks.json").status_code == 404
        refused = [line for line in process.lines if line.get("event") == "server_not_listed"]
    assert {line["server"] for line in refused} == set(KINDS)
