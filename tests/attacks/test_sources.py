"""Descriptions of servers from strangers: documents that explode, commands that smuggle, URLs that lead
inside. (Archives are not read at all, so that there is no path in one to escape by.)"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.reach import ask
from gateway.domain.model import Status
from gateway.edge.admin import SOCKET
from gateway.upstream.spec import HttpTransport, OpenApiTransport, ServerSpec
from tests.attacks.conftest import Border
from tests.fakes import border as upstreams
from tests.fakes import make_call, make_definition
from tests.journey.process import customhouse
from tests.servers.pets import KEY, Pets, document, serving

pytestmark = pytest.mark.slow


def operate(border: Border, operation: str, **args: Any) -> Any:
    """What the gateway's operator's socket answers: {"ok": ...} or {"refused": ...}."""
    return ask(border.folder / "data" / SOCKET, operation, args)


@pytest.fixture
def add(border: Border) -> Iterator[Any]:
    """Add a server by command; it is taken away afterwards."""
    added: list[str] = []

    def add_one(name: str, **table: Any) -> Any:
        answer = operate(border, "server.add", name=name, table=table)
        if "ok" in answer:
            added.append(name)
        return answer

    yield add_one
    for name in added:
        assert "ok" in operate(border, "server.remove", name=name)


@pytest.fixture
def inside() -> Iterator[socket.socket]:
    """Something on loopback that nobody is meant to reach."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


INSIDE = [
    "http://169.254.169.254/latest/meta-data",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://127.0.0.2:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::]:{port}/",
]


@pytest.mark.parametrize("url", INSIDE)
@pytest.mark.parametrize("way", ["server", "document"])
def test_a_url_that_leads_inside_is_never_connected_to(
    border: Border, add: Any, inside: socket.socket, url: str, way: str
) -> None:
    url = url.format(port=inside.getsockname()[1])
    table = {"url": url} if way == "server" else {"url": "https://x.example", "openapi": url}
    assert "ok" in add("inside", **table)
    refused = operate(border, "server.test", name="inside")["refused"]
    assert refused["exit_code"] == 5
    assert "is refused: it is" in refused["what"]


@pytest.mark.anyio
@pytest.mark.parametrize("url", INSIDE)
async def test_an_api_that_lies_inside_is_never_called(inside: socket.socket, url: str) -> None:
    base = url.format(port=inside.getsockname()[1])
    body = json.dumps({"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/x"}}})
    spec = ServerSpec("fake", OpenApiTransport(HttpTransport(base), "/dev/null"), timeout_s=5.0)
    async with upstreams(spec) as house:
        outcome = await house.call(make_call(definition=make_definition(body.encode())))
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_unreachable")
    assert outcome.sent is False


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:pw@10.0.0.1/", "http://x.example/#@10.0.0.1", "gopher://x.example/"),
        *("http://\\x/", "file:///etc/passwd", "http:///x", "http://x.example:99999/"),
    ],
)
def test_a_url_that_is_not_a_plain_one_is_refused_before_anything_is_entered(
    add: Any, url: str
) -> None:
    assert add("odd", url=url)["refused"]["exit_code"] in (2, 3)
    assert add("odd", url="https://x.example", openapi=url)["refused"]["exit_code"] in (2, 3)


BOMBS = {
    "yaml aliases": "a: &a [x,x]\n"
    + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    ),
    "yaml merges": "a: &a {x: 1}\nb: {<<: [*a, *a]}\n",
    "yaml that contains itself": "a: &a [*a]\n",
    "yaml tag": "openapi: !!python/object/apply:os.system ['touch {marker}']\n",
    "yaml nested": "a: " + "[" * 500_000,
    "yaml of many parts": "a:\n" + "- x\n" * 500_001,
    "json nested": '{"a":' * 500_000,
    "json of many parts": '{"a":[' + "1," * 3_000_000 + "1]}",
    "too large": '{"a": "' + "x" * 9_000_000 + '"}',
    "not text": "\ufeff\ud800",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_document_that_explodes_is_a_failed_look_and_nothing_else(
    border: Border, add: Any, tmp_path: Path, bomb: str
) -> None:
    marker = tmp_path / "marker"
    file = tmp_path / "api.yaml"
    file.write_text(BOMBS[bomb].replace("{marker}", str(marker)), errors="surrogatepass")
    add("bomb", url="https://x.example", openapi=str(file))
    refused = operate(border, "server.test", name="bomb")["refused"]
    assert "the OpenAPI document cannot be used" in refused["what"] or "bytes" in refused["what"]
    assert not marker.exists()
    assert "content" in border.call("rogue_act", {"mark": f"after-{bomb}"})["result"]


def test_schemas_without_end_become_tools_that_can_be_judged(
    border: Border, add: Any, tmp_path: Path
) -> None:
    schemas: dict[str, Any] = {
        f"S{n}": {"allOf": [{"$ref": f"#/components/schemas/S{n + 1}"}] * 3} for n in range(50)
    }
    schemas["S50"] = {"$ref": "#/components/schemas/S0"}
    schemas["Loop"] = {"properties": {"a": {"$ref": "#/components/schemas/Loop"}}}
    schemas["Self"] = {"$ref": "#/components/schemas/Self"}
    paths = {
        f"/{name}": {
            "post": {
                "operationId": name,
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}
                    }
                },
            }
        }
        for name in ("S0", "Loop", "Self")
    }
    file = tmp_path / "api.json"
    file.write_text(
        json.dumps({"openapi": "3.1.0", "paths": paths, "components": {"schemas": schemas}})
    )
    add("endless", url="https://x.example", openapi={"document": str(file), "writes": True})
    seen = operate(border, "server.test", name="endless")["ok"]
    states = {row["name"]: row["approval"] for row in seen["definitions"]}
    assert states["S0"] == states["Loop"] == "proposed"
    assert "Self" not in states  # it refers to nothing but itself


def test_nothing_is_fetched_for_a_reference(
    border: Border, add: Any, tmp_path: Path, inside: socket.socket
) -> None:
    port = inside.getsockname()[1]
    remote = [
        f"http://127.0.0.1:{port}/p.json",
        f"//127.0.0.1:{port}/p",
        "file:///etc/passwd",
        "p.json",
    ]
    paths = {
        f"/r{n}": {"get": {"operationId": f"r{n}", "parameters": [{"$ref": reference}]}}
        for n, reference in enumerate(remote)
    }
    file = tmp_path / "api.json"
    file.write_text(json.dumps(document(**paths)))
    add("remote", url="https://x.example", openapi=str(file))
    seen = operate(border, "server.test", name="remote")["ok"]
    assert [row["name"] for row in seen["definitions"]] == ["answer", "getPet", "listPets"]


def test_what_is_hidden_in_a_document_is_pointed_at(
    border: Border, add: Any, tmp_path: Path
) -> None:
    hidden = {"get": {"operationId": "look", "description": "harmless\u202e\u200b"}}
    file = tmp_path / "api.json"
    file.write_text(json.dumps({"openapi": "3.1.0", "paths": {"/look": hidden}}))
    add("hiding", url="https://x.example", openapi=str(file))
    (row,) = operate(border, "server.test", name="hiding")["ok"]["definitions"]
    assert (row["approval"], row["reason"][:16]) == ("quarantined", "hidden character")


def test_a_pipe_in_place_of_a_document_holds_nobody_up(
    border: Border, add: Any, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    add("pipe-document", url="https://x.example", openapi=str(tmp_path / "pipe"))
    refused = operate(border, "server.test", name="pipe-document")["refused"]
    assert "the document is not a file" in refused["what"]


def test_an_agent_cannot_make_another_request_than_the_one_that_was_approved(
    border: Border, add: Any
) -> None:
    with serving(Pets()) as pets:
        openapi = {"document": f"{pets.url}/openapi.json", "writes": True}
        assert "ok" in add("zoo", url=f"{pets.url}/v1", openapi=openapi)
        seen = operate(border, "server.test", name="zoo")["ok"]
        rows = [[row["kind"], row["name"], row["digest"]] for row in seen["definitions"]]
        assert "ok" in operate(border, "server.approve", name="zoo", seen=rows)
        good = border.call("zoo_answer", {"petId": "rex"})["result"]
        assert good["structuredContent"] == {"kind": "rex"}
        for text in ("../admin", "..", "%2e%2e", "a/../../b", "a\\b", "x\r\nHost: evil", ""):
            assert border.call("zoo_answer", {"petId": text})["result"]["isError"] is True
        for arguments in ({}, {"petId": 7}, {"petId": "a", "path": "/x"}, {"petId": None}):
            refused = border.call("zoo_answer", arguments)["result"]
            assert refused["_meta"]["io.customhouse/refusal"]["code"] == "invalid_arguments"
        assert [one.target for one in pets.asked] == ["/v1/answers/rex"]
        assert KEY not in json.dumps([one.headers for one in pets.asked])


RECORDER = """\
import json, sys
open(sys.argv[1], "w").write(json.dumps(sys.argv[2:]))
"""


def test_a_command_of_a_clients_file_is_read_by_no_shell(border: Border, tmp_path: Path) -> None:
    said, marker = tmp_path / "said", tmp_path / "marker"
    smuggled = [
        *(f"; touch {marker}", f"$(touch {marker})", f"`touch {marker}`", f"&& touch {marker}"),
        *(f"| tee {marker}", "*", "~", "'\"", "a b", "%PATH%", f"> {marker}"),
    ]
    (tmp_path / "recorder.py").write_text(RECORDER)
    entry = {
        "command": sys.executable,
        "args": [str(tmp_path / "recorder.py"), str(said), *smuggled],
    }
    whole = {"command": f"touch {marker}; true"}
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": {"rec": entry, "whole": whole}}))
    code, out, complaint = customhouse(
        *("server", "add", str(tmp_path / ".mcp.json"), "--yes"),
        *("--config", str(border.folder / "customhouse.toml")),
    )
    try:
        assert code == 5, out + complaint  # neither speaks MCP
        assert json.loads(said.read_text()) == smuggled
        assert not marker.exists()
    finally:
        for name in ("rec", "whole"):
            operate(border, "server.remove", name=name)


def test_names_from_a_file_cannot_act_on_the_terminal(border: Border, tmp_path: Path) -> None:
    evil = "a\x1b]0;owned\x07\x1b[2J\u202egnp\r\u200b"
    entries = {
        evil: {"command": "x", "args": ["y"], evil: 1, "env": {"A": f"b{evil}"}},
        "b": {"command": f"x{evil}"},
        "c": {"type": evil, "url": "https://x.example"},
        "d": {"url": f"https://x.example/{evil}"},
    }
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": entries}))
    for option in ("--dry-run", "--json"):
        code, out, complaint = customhouse(
            *("server", "add", str(tmp_path / ".mcp.json"), "--dry-run", option),
            *("--config", str(border.folder / "customhouse.toml")),
        )
        assert code == 0, complaint
        for sign in ("\x1b", "\x07", "\u202e", "\u200b", "\r"):
            assert sign not in out + complaint
