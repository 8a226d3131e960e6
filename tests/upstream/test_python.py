"""Python functions behind the border: served from a child process, schemas from type hints."""

import asyncio
import json
import os
from typing import Any

import pytest

from gateway.domain.model import Outcome, Status
from gateway.upstream.python import main
from gateway.upstream.spec import PythonTransport, ServerSpec
from tests.fakes import border, make_call

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # each test starts the SDK, which takes a second


def functions(**transport: Any) -> ServerSpec:
    return ServerSpec("fake", PythonTransport("tests.servers.functions", **transport), timeout_s=20)


def text(outcome: Outcome) -> str:
    return str(json.loads(outcome.result)["content"][0]["text"])


async def test_the_public_functions_of_a_module_are_tools() -> None:
    async with border(functions(env={"MODULE_KEY": "given"})) as house:
        listing = await house.upstreams.list_definitions("fake")
        tools = {entry.name: json.loads(entry.body) for entry in listing.definitions}
        assert set(tools) == {"add", "shout", "fail", "where", "block"}
        assert tools["add"]["description"] == "Add two numbers."
        assert tools["add"]["inputSchema"]["required"] == ["a"]
        assert tools["add"]["inputSchema"]["properties"]["b"]["default"] == 1
        assert tools["shout"]["inputSchema"]["properties"]["tone"]["enum"] == ["calm", "loud"]
        assert "Functions for the Python connector" in listing.instructions

        blocked = asyncio.create_task(house.call(make_call(name="block", arguments={"seconds": 1})))
        assert text(await house.call(make_call(name="add", arguments={"a": 2, "b": 3}))) == "5"
        assert text(await house.call(make_call(name="shout", arguments={"text": "hi"}))) == "HI"
        assert not blocked.done()  # a function that blocks holds up nobody else
        assert (await house.call(make_call(name="fail"))).status is Status.TOOL_ERROR
        assert (await house.call(make_call(name="_private"))).status in {
            Status.TOOL_ERROR,
            Status.RPC_ERROR,
        }
        where = json.loads((await house.call(make_call(name="where"))).result)
        pid, given, other = where["structuredContent"]["result"]
        assert int(pid) != os.getpid()
        assert (given, other) == ("given", "")
        assert text(await blocked) == "blocked"
        lines = [entry["line"] for entry in house.events("upstream_stderr")]
    assert any("functions.impossible is not offered" in line for line in lines)


async def test_a_module_that_does_not_exist_is_a_failed_server() -> None:
    spec = ServerSpec("fake", PythonTransport("no.such.module"), timeout_s=20)
    async with border(spec) as house:
        assert (await house.call()).status is Status.FAILED
        lines = [entry["line"] for entry in house.events("upstream_stderr")]
    assert any("no" in line and "module" in line.lower() for line in lines)


def test_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["python.py"]) == 2
    assert "usage" in capsys.readouterr().err
