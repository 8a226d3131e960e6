"""`connect --check`: the whole way to a gateway, the client's file, and what is wrong with either."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.config.clients import CLIENTS
from tests.cli.household import Household, tool
from tests.journey.process import GatewayProcess, gateway

KEY = "chk_connect_0123456789abcdefghijklmnopqrstuv"
URL = "https://tools.example.com/mcp"


def file_of(client: str) -> Path:
    return Path.home() / CLIENTS[client].places[0].path.removeprefix("~/")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = Household(tmp_path_factory.mktemp("served"))
    home.write()
    home.lists(tool("add"), tool("sub"))
    agents = '[agents.bot]\nroles = ["clerk"]\nkey = "env:BOT"\n[agents.idle]\nkey = "env:IDLE"\n'
    server = f'[servers.shelf]\ncommand = {json.dumps(home.shelf)}\napprove = "first-seen"\n'
    home.write(server + agents)
    home.policy("p, clerk, default, tool/*, call, -, allow")
    keys = {"BOT": KEY, "IDLE": KEY.replace("connect", "idling")}
    with gateway(home.folder / "customhouse.toml", keys) as running:
        yield running


def steps(person: Household, served: GatewayProcess, *words: str) -> tuple[int, list[Any]]:
    result = person.run("connect", "cursor", "--check", "--url", served.url, *words, "--json")
    return result.exit_code, json.loads(result.stdout)["steps"]


@pytest.mark.slow
def test_a_check_goes_the_whole_way(
    person: Household, served: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY)
    code, found = steps(person, served)
    assert code == 1
    assert [step["ok"] for step in found] == [False, True, True]
    assert found[0]["says"] == "its server customhouse is missing"
    person.do("connect", "cursor", "--write", "--yes", "--url", served.url)
    code, found = steps(person, served)
    assert (code, [step["ok"] for step in found]) == (0, [True] * 3)
    assert [step["says"] for step in found[1:]] == ["2 tools", "2 tools"]
    file = file_of("cursor")
    file.write_text(file.read_text().replace('"customhouse"', '"x": {"url": "y"}, "customhouse"'))
    assert "reached around the gateway: x" in str(steps(person, served))
    assert steps(person, served, "--server", "shelf")[1][0]["says"].count("goes elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "entry", "says"),
    [
        ("cursor", {"url": "{}", "disabled": True}, "is switched off"),
        ("codex", {"url": "{}", "enabled": False}, "is switched off"),
        ("cursor", {"url": "{}", "headers": {"authorization": f"Bearer {KEY}"}}, "the key itself"),
        ("gemini", {"url": "{}"}, "in a way of its own"),
        ("cursor", {"command": "/x/customhouse", "args": ["bridge", "--url", "{}"]}, "of its own"),
        ("cursor", {"command": "x", "url": "{}"}, "of its own"),
        ("cursor", "x", "is missing"),
    ],
)
def test_a_check_says_what_is_wrong_with_the_entry(
    person: Household,
    served: GatewayProcess,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    entry: Any,
    says: str,
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY)
    text = json.dumps({"mcpServers": {"customhouse": entry}}).replace("{}", f"{served.url}/mcp")
    if client == "codex":
        text = f'[mcp_servers.customhouse]\nurl = "{served.url}/mcp"\nenabled = false\n'
    file_of(client).parent.mkdir(exist_ok=True)
    file_of(client).write_text(text)
    result = person.run("connect", client, "--check", "--url", f"{served.url}/mcp")
    assert result.exit_code == 1
    assert says in result.stdout
    assert f"customhouse connect {client} --write --url {served.url}/mcp" in result.stdout
    assert KEY not in result.output


@pytest.mark.slow
def test_a_check_says_what_is_wrong(
    person: Household, served: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert person.refusal("connect", "cursor", "--check", "--url", URL)["exit_code"] == 3
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY.replace("connect", "idling"))
    assert "may use no tool" in str(steps(person, served))
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY.replace("connect", "unknown"))
    code, found = steps(person, served)
    assert code == 1
    assert "customhouse key issue" in found[-1]["fix"]
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY)
    assert "such an endpoint" in steps(person, served, "--server", "no")[1][-1]["fix"]
    elsewhere = person.run("connect", "cursor", "--check", "--url", f"{served.url}/livez")
    assert elsewhere.exit_code == 5
    nowhere = person.run("connect", "cursor", "--check", "--url", "http://127.0.0.1:1/mcp")
    assert nowhere.exit_code == 5
    assert "does not answer" in nowhere.stdout
    assert KEY not in nowhere.output


class Stranger(BaseHTTPRequestHandler):
    """Somebody who is not the gateway, and answers all the same."""

    answer: ClassVar[tuple[int, str, bytes]]

    def do_POST(self) -> None:
        status, kind, body = self.answer
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Location", "/"), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def result(value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()


JSON = "application/json"


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ((200, JSON, result({"serverInfo": {"name": "\x1b[2J"}})), 1, "not the gateway, but None"),
        ((200, JSON, result({"_meta": 1})), 1, "not the gateway, but None"),
        ((200, JSON, result([])), 5, "not as an MCP server would"),
        ((200, JSON, b'{"error": {"message": "\\u001b[2J"}}'), 1, "\\u001b"),
        ((200, JSON, b"[" * 100_000), 5, "not as an MCP server would"),
        ((200, "text/html", b"<html>"), 5, "not as an MCP server would"),
        ((302, "text/html", b""), 5, "302"),
        ((404, "text/html", b""), 5, "there is no gateway at this URL"),
    ],
)
def test_a_check_of_what_is_not_the_gateway_says_so(
    person: Household,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str, bytes],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_KEY", KEY)
    monkeypatch.setattr(Stranger, "answer", answer, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/mcp"
        done = person.run("connect", "generic", "--check", "--url", url)
        server.shutdown()
        thread.join()
    assert done.exit_code == code
    assert says in done.stdout
    assert "\x1b" not in done.stdout
