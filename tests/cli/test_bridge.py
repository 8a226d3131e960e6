"""Clients that can only start a program reach a real gateway through `customhouse bridge`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import mcp_types as t
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated

from gateway.audit import entry as entries
from gateway.store import engine
from tests.fakes import eventually
from tests.journey.process import (
    KEY,
    ROOT,
    GatewayProcess,
    customhouse,
    gateway,
    modern,
    write_policy,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OLDER, NEWEST = "legacy", "2026-07-28"
NOTE = "note:///1"
RAW = """
listen = "127.0.0.1:{port}"
[servers.raw]
command = ["{python}", "-S", "{root}/tests/servers/lines.py", "modern"]
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""
CONFIG = (
    RAW
    + """
[servers.old]
command = ["{python}", "-m", "tests.servers.curious", "older"]
cwd = "{root}"
approve = "first-seen"
session = "per-caller"
[servers.notes]
command = ["{python}", "-S", "{root}/tests/servers/watched.py", "modern"]
approve = "first-seen"
"""
)
POLICY = """\
p, caller, default, tool/*, call, -, allow
p, caller, default, resource/*, read, -, allow
p, caller, default, resource/*, subscribe, -, allow
"""


def settings(folder: Path, port: int, text: str = CONFIG) -> Path:
    write_policy(folder, POLICY)
    config = folder / "customhouse.toml"
    config.write_text(text.format(python=sys.executable, root=ROOT, port=port))
    return config


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(settings(tmp_path_factory.mktemp("bridge"), 0)) as running:
        yield running
        assert running.stop() == 0
        code, said, complaint = customhouse("audit", "verify", "--config", str(running.config))
        assert code == 0, said + complaint


def words(url: str, *more: str) -> list[str]:
    return ["-m", "gateway.cli", "bridge", "--url", url, *more]


@asynccontextmanager
async def client(
    house: GatewayProcess, mode: str, *more: str, **offers: Any
) -> AsyncIterator[Client]:
    environ = {"CUSTOMHOUSE_KEY": KEY, "PYTHONPATH": str(ROOT)}
    started = StdioServerParameters(
        command=sys.executable, args=words(house.url, *more), env=environ
    )
    with anyio.fail_after(30):
        async with Client(started, mode=mode, cache=None, **offers) as made:
            yield made


def said(result: t.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, t.TextContent)
    return content.text


async def call(made: Client, tool: str, **arguments: Any) -> Any:
    with anyio.fail_after(10):
        result = await made.call_tool(tool, arguments)
    assert not result.is_error, result
    return json.loads(said(result))


@contextmanager
def pipes(url: str, key: str = KEY) -> Iterator[subprocess.Popen[bytes]]:
    """The bridge as a bare process."""
    bridge = subprocess.Popen(
        [sys.executable, *words(url)],
        env={**os.environ, "CUSTOMHOUSE_KEY": key},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield bridge
    finally:
        bridge.kill()
        bridge.communicate()


def asked(bridge: subprocess.Popen[bytes], line: bytes) -> Any:
    """The first line that comes after *line* went in."""
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    bridge.stdin.write(line + b"\n")
    bridge.stdin.flush()
    return json.loads(bridge.stdout.readline())


@pytest.mark.parametrize("mode", [OLDER, NEWEST, "auto"])
async def test_a_client_of_either_era_lists_and_calls(house: GatewayProcess, mode: str) -> None:
    async with client(house, mode) as made:
        names = {tool.name for tool in (await made.list_tools()).tools}
        assert {"old_greet", "notes_touch", "raw_echo"} <= names
        assert (await call(made, "raw_echo", x="\u00fc\u2028"))["arguments"] == {
            "x": "\u00fc\u2028"
        }
    async with client(house, mode, "--server", "raw") as made:
        assert [tool.name for tool in (await made.list_tools()).tools] == ["echo"]


async def test_calls_overtake_one_another(house: GatewayProcess) -> None:
    ended: list[str] = []
    async with client(house, NEWEST) as made, anyio.create_task_group() as group:

        async def slow() -> None:
            await call(made, "old_wait", seconds=0.4)
            ended.append("slow")

        group.start_soon(slow)
        await anyio.lowlevel.checkpoint()
        await call(made, "raw_echo")
        ended.append("quick")
    assert ended == ["quick", "slow"]


@pytest.mark.parametrize("mode", [OLDER, NEWEST])
async def test_a_question_in_the_middle_of_a_call_is_answered(
    house: GatewayProcess, mode: str
) -> None:
    async def elicit(_ctx: Any, _params: Any) -> t.ElicitResult:
        return t.ElicitResult(action="accept", content={"name": "Ada"})

    steps: list[float] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with client(house, mode, elicitation_callback=elicit) as made:
        with anyio.fail_after(15):
            result = await made.call_tool("old_greet", {}, progress_callback=progress)
        assert json.loads(said(result))["content"] == {"name": "Ada"}
        assert 1 in steps


async def test_a_client_of_the_newest_era_follows_a_resource(house: GatewayProcess) -> None:
    async with (
        client(house, NEWEST, "--server", "notes") as made,
        made.listen(resource_subscriptions=[NOTE]) as subscription,
    ):
        await call(made, "touch", uri=NOTE)
        with anyio.fail_after(10):
            assert await anext(subscription) == ResourceUpdated(NOTE)


async def test_a_client_of_the_older_era_is_told_outside_of_its_requests(
    house: GatewayProcess,
) -> None:
    heard: list[Any] = []

    async def take(message: Any) -> None:
        heard.append(message)

    def is_told() -> bool:
        return any(isinstance(one, t.ResourceUpdatedNotification) for one in heard)

    async with client(house, OLDER, "--server", "notes", message_handler=take) as made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await made.subscribe_resource(NOTE)
        await call(made, "touch", uri=NOTE)
        await eventually(is_told)
    assert is_told()


@pytest.mark.parametrize("mode", [OLDER, NEWEST])
async def test_a_call_that_is_given_up_ends_at_the_gateway(
    house: GatewayProcess, mode: str
) -> None:
    database = house.config.parent / "data" / engine.DATABASE

    def cancelled() -> int:
        with engine.reading(database) as connection:
            rows = connection.execute("SELECT body FROM entries ORDER BY idx").fetchall()
        log = [entries.decode(body) for (body,) in rows]
        calls = {
            e.i for e in log if isinstance(e, entries.Intent) and e.method == "tools/call"
        }  # and no streams, which end so when their client leaves
        given_up = ("cancelled", "not_sent")
        ends = [e for e in log if isinstance(e, entries.Outcome) and e.intent in calls]
        return sum(e.status in given_up for e in ends)

    before = cancelled()
    async with client(house, mode) as made:
        with anyio.move_on_after(0.5):
            await made.call_tool("old_wait", {"seconds": 9})
        await call(made, "raw_echo")
        await eventually(lambda: cancelled() > before, 20)
    assert cancelled() == before + 1


def test_what_nobody_knows_passes_through(house: GatewayProcess) -> None:
    with pipes(house.url) as bridge:
        answer = asked(bridge, modern("tools/call", {"name": "raw_echo", "arguments": {}, "x": 1}))
        assert answer["result"]["vendor"] == 1


def test_no_name_breaks_out_of_a_header(house: GatewayProcess) -> None:
    names = ("ra\u00fc", " x", "a\r\nX-Evil: 1", "\u202e", "", "=?base64?x?=", "\ud800")
    with pipes(house.url) as bridge:
        for name in names:
            answer = asked(bridge, modern("tools/call", {"name": name, "arguments": {}}, name))
            assert "error" in answer
            assert answer["id"] == name


def test_what_is_no_message_is_answered_by_the_gateway(house: GatewayProcess) -> None:
    with pipes(house.url) as bridge:
        for line in (b"not json", b"[]", b'{"jsonrpc":"2.0","id":1,"id":2}', b"\xff", b"7"):
            assert "error" in asked(bridge, line), line
        assert asked(bridge, modern("tools/list", {}, 5))["id"] == 5, "and the next one as ever"


@pytest.mark.parametrize("line", [modern("tools/list", {}, "a"), modern("initialize", {}, "a")])
def test_every_request_is_answered_under_its_own_id_also_without_a_good_key(
    house: GatewayProcess, line: bytes
) -> None:
    wrong = "chk_wrong_0123456789abcdefghijklmnopqrstuvw"
    with pipes(house.url, wrong) as bridge:
        answer = asked(bridge, line)
        assert answer["id"] == "a"
        assert answer["error"]["data"]["io.customhouse/refusal"]["code"] == "not_authenticated"
        bridge.kill()
        assert wrong.encode() not in b"".join(bridge.communicate())


def test_every_request_is_answered_also_without_a_gateway() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pipes(f"http://127.0.0.1:{taken.getsockname()[1]}/mcp") as bridge:
            answer = asked(bridge, modern("tools/list", {}, 3))
    assert answer["id"] == 3
    assert "does not answer" in answer["error"]["message"]


def test_it_ends_when_its_input_does_and_answers_what_is_under_way(house: GatewayProcess) -> None:
    with pipes(house.url) as bridge:
        asked(bridge, modern("tools/list", {}))
        wait = modern("tools/call", {"name": "old_wait", "arguments": {"seconds": 60}}, "never")
        last = modern("tools/call", {"name": "raw_echo", "arguments": {}}, "last")
        said, complaint = bridge.communicate(wait + b"\n" + last, timeout=30)
    assert [json.loads(line)["id"] for line in said.splitlines()] == ["last"]
    assert (bridge.returncode, complaint) == (0, b"")


async def test_a_session_outlives_the_gateway(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = settings(tmp_path, port, RAW)
    first = GatewayProcess(config).start()
    async with client(first, OLDER) as made:
        await call(made, "raw_echo")
        await anyio.to_thread.run_sync(first.kill)
        with pytest.raises(MCPError, match=r"does not answer|broke off"):
            await made.call_tool("raw_echo", {})
        with gateway(config):
            assert (await call(made, "raw_echo", n=1))["arguments"] == {"n": 1}
