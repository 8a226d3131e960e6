"""From a client's own server to a call through the gateway, and back: real processes all the way."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.cli.household import Household, tool
from tests.journey.process import KEY, GatewayProcess, customhouse, gateway

pytestmark = pytest.mark.slow

AGENT = '[agents.bot]\nroles = ["clerk"]\nkey = "env:CH_KEY"\n'
CURSOR, DESKTOP = ".cursor/mcp.json", ".config/Claude/claude_desktop_config.json"


def entry(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())["mcpServers"]["customhouse"]
    return found


@asynccontextmanager
async def as_cursor(said: dict[str, Any]) -> AsyncIterator[Client]:
    """A client that reads its entry as Cursor does: a URL, and headers with variables."""
    headers = {
        name: re.sub(r"\$\{env:(\w+)\}", lambda found: os.environ[found[1]], value)
        for name, value in said["headers"].items()
    }
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(said["url"], http_client=http)
        async with Client(transport, cache=None) as client:
            yield client


@asynccontextmanager
async def as_desktop(said: dict[str, Any]) -> AsyncIterator[Client]:
    """A client that reads its entry as Claude Desktop does: a program, and nothing of our shell."""
    assert set(said) == {"command", "args"}
    started = StdioServerParameters(command=said["command"], args=said["args"], cwd=Path.cwd())
    async with Client(started, cache=None) as client:
        yield client


def tools_and_answer(opened: Any) -> tuple[list[str], str]:
    async def ask() -> tuple[list[str], str]:
        with anyio.fail_after(20):
            async with opened as client:
                names = sorted(tool.name for tool in (await client.list_tools()).tools)
                if not names:
                    return names, ""
                result = await client.call_tool(names[0], {"n": 7})
                return names, result.content[0].text

    return anyio.run(ask)


@pytest.fixture
def client_file(person: Household, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Cursor has before anybody thinks of a gateway; oddly written, as people write."""
    person.lists(tool("add"), tool("sub"))
    person.write(AGENT)
    person.policy("p, clerk, default, tool/*, call, -, allow")
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY)
    file = Path.home() / CURSOR
    file.parent.mkdir()
    command, *args = person.shelf
    own = json.dumps({"command": command, "args": args})
    file.write_bytes(b'{"mcpServers" :\r\n  { "My Shelf": ' + own.encode() + b" }\r\n}")
    file.chmod(0o640)
    return file


def proposed(person: Household) -> list[Any]:
    return [(row["name"], row["definitions"]) for row in person.ask("server", "list")]


def journey(person: Household, file: Path, running: GatewayProcess) -> None:
    before, place = file.read_bytes(), ("--url", running.url)
    backup = Path(person.ask("adopt", "cursor", "--yes", *place)["backup"])
    assert backup.read_bytes() == before
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600

    # Behind the gateway, and of no use before a person has said yes.
    assert proposed(person) == [("my-shelf", {"proposed": 2})]
    assert tools_and_answer(as_cursor(entry(file))) == ([], "")
    person.do("server", "approve", "my-shelf", "--yes")
    assert proposed(person) == [("my-shelf", {"approved": 2})]

    assert not person.ask("connect", "cursor", "--write", "--yes", *place)["changed"]
    said = person.do("connect", "cursor", "--check", *place)
    assert said.count("2 tools") == 2
    tools, answer = tools_and_answer(as_cursor(entry(file)))
    assert tools == ["my-shelf_add", "my-shelf_sub"]
    assert 'you said {"n": 7}' in answer

    person.do("adopt", "cursor", "--undo", "--yes")
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_server_goes_behind_the_gateway_is_called_through_it_and_comes_back(
    person: Household, client_file: Path
) -> None:
    config = person.folder / "customhouse.toml"
    with gateway(config) as running:
        journey(person, client_file, running)
        assert running.stop() == 0
    code, said, complaint = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said + complaint


def test_a_client_that_can_only_start_programs_comes_through_the_bridge(
    person: Household, client_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    monkeypatch.delenv("CUSTOMHOUSE_KEY")
    command, *args = person.shelf
    desktop = Path.home() / DESKTOP
    desktop.parent.mkdir(parents=True)
    desktop.write_text(json.dumps({"mcpServers": {"shelf": {"command": command, "args": args}}}))
    # Clients start programs where they like; a folder of somebody else's must not choose the code,
    # also where no script is installed beside the interpreter.
    monkeypatch.setattr("gateway.cli.spots.NAME", "not-installed")
    for name in ("gateway", "json"):
        Path(name).mkdir()
        Path(name, "__init__.py").write_text("raise SystemExit('the wrong program')")
    with gateway(person.folder / "customhouse.toml") as running:
        place = ("--url", running.url, "--key", f"file:{tmp_path}/key")
        person.do("adopt", "claude-desktop", "--yes", *place)
        person.do("server", "approve", "shelf", "--yes")
        person.do("connect", "claude-desktop", "--check", *place)
        tools, answer = tools_and_answer(as_desktop(entry(desktop)))
    assert tools == ["shelf_add", "shelf_sub"]
    assert 'you said {"n": 7}' in answer
    assert KEY not in desktop.read_text()
