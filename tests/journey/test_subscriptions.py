"""Clients of the SDK that listen through a real gateway to real servers, in every pair of eras."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as t
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated, Subscription, ToolsListChanged

from gateway.audit import entry as entries
from gateway.store import engine
from tests.fakes import eventually
from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, write_policy

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OLDER, NEWEST = "legacy", "2026-07-28"
NOTE, NEWS = "note:///1", "news:///today"
CONFIG = """
listen = "127.0.0.1:0"
[servers.old]
command = ["{python}", "-S", "{watched}", "legacy"]
approve = "first-seen"
session = "per-caller"
[servers.new]
command = ["{python}", "-S", "{watched}", "modern"]
approve = "first-seen"
[servers.web]
url = "http://127.0.0.1:{port}/mcp"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""
POLICY = """\
p, caller, default, tool/*, call, -, allow
p, caller, default, resource/*, read, -, allow
p, caller, default, resource/*, subscribe, -, allow
"""


@dataclass
class House:
    process: GatewayProcess
    folder: Path

    @asynccontextmanager
    async def client(self, mode: str, path: str = "/mcp", **offers: Any) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"{self.process.url}{path}", http_client=http)
            async with Client(transport, mode=mode, cache=None, **offers) as made:
                yield made

    def stored(self, kind: type[entries.Entry]) -> list[Any]:
        with engine.reading(self.folder / "data" / engine.DATABASE) as connection:
            rows = connection.execute("SELECT body FROM entries ORDER BY idx")
            found = [entries.decode(body) for (body,) in rows]
        return [entry for entry in found if isinstance(entry, kind)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("subscriptions")
    write_policy(folder, POLICY)
    command = [sys.executable, "-m", "tests.servers.bulletin"]
    bulletin = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert bulletin.stdout is not None
    port = bulletin.stdout.readline().strip()
    config = folder / "customhouse.toml"
    watched = ROOT / "tests" / "servers" / "watched.py"
    config.write_text(CONFIG.format(python=sys.executable, watched=watched, port=port))
    process = GatewayProcess(config).start()
    try:
        yield House(process, folder)
        assert process.stop() == 0
        code, said, complaint = customhouse("audit", "verify", "--config", str(config))
        assert code == 0, said + complaint
    finally:
        if process.process.poll() is None:
            process.kill()
        bulletin.terminate()
        bulletin.communicate(timeout=10)


@dataclass
class Heard:
    """What a client of the older era is told."""

    notes: list[Any] = field(default_factory=list)

    async def take(self, message: Any) -> None:
        if not isinstance(message, Exception):
            self.notes.append(message)

    def count(self, kind: type) -> int:
        return sum(isinstance(note, kind) for note in self.notes)


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    with anyio.fail_after(10):
        result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert isinstance(result.content[0], t.TextContent)
    return json.loads(result.content[0].text)


async def next_of(subscription: Subscription) -> Any:
    with anyio.fail_after(10):
        return await anext(subscription)


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_client_of_the_newest_era_follows_a_resource_of_either(
    house: House, server: str
) -> None:
    async with house.client(NEWEST, f"/mcp/s/{server}") as client:
        wanted = [NOTE, "note:///private", "elsewhere:///x"]
        async with client.listen(resource_subscriptions=wanted) as subscription:
            assert subscription.honored.resource_subscriptions == [NOTE]
            assert subscription.honored.tools_list_changed is None
            await call(client, "touch", uri=NOTE, times=500)
            assert await next_of(subscription) == ResourceUpdated(NOTE)


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_client_of_the_older_era_follows_a_resource_of_either(
    house: House, server: str
) -> None:
    heard = Heard()
    async with house.client(OLDER, f"/mcp/s/{server}", message_handler=heard.take) as client:
        resources = client.server_capabilities.resources
        assert resources is not None
        assert resources.subscribe is True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await client.subscribe_resource(NOTE)
            with pytest.raises(MCPError):
                await client.subscribe_resource("note:///private")
            await call(client, "touch", uri=NOTE)
            await eventually(lambda: heard.count(t.ResourceUpdatedNotification) == 1)
            await client.unsubscribe_resource(NOTE)
        with anyio.fail_after(5):
            while (await call(client, "state"))["followed"]:
                continue


async def test_all_clients_share_one_subscription_to_the_server(house: House) -> None:
    async with house.client(NEWEST, "/mcp/s/new") as one, house.client(NEWEST) as other:
        before = (await call(one, "state"))["subscribed"]
        listens = [c.listen(resource_subscriptions=["note:///2"]) for c in (one, one)]
        async with listens[0] as first, listens[1] as second:
            assert (await call(one, "state"))["subscribed"] == before + 1
            await call(one, "touch", uri="note:///2")
            told = await next_of(first), await next_of(second)
            assert told == (ResourceUpdated("note:///2"), ResourceUpdated("note:///2"))
        # At the endpoint of all, a URI that two servers know means neither of them.
        async with other.listen(resource_subscriptions=[NOTE, NEWS]) as subscription:
            assert subscription.honored.resource_subscriptions == [NEWS]


async def test_a_list_that_grows_is_told_in_both_eras(house: House) -> None:
    heard = Heard()
    async with (
        house.client(NEWEST) as newest,
        house.client(OLDER, message_handler=heard.take),
        newest.listen(tools_list_changed=True, prompts_list_changed=True) as subscription,
    ):
        names = await call(newest, "web_grow")
        assert await next_of(subscription) == ToolsListChanged()
        listed = {tool.name for tool in (await newest.list_tools()).tools}
        assert f"web_{names[-1]}" in listed
        await eventually(lambda: heard.count(t.ToolListChangedNotification) == 1)


async def test_log_messages_reach_the_call_they_belong_to_from_the_level_it_asked_for(
    house: House,
) -> None:
    logged: list[str] = []

    async def log(params: t.LoggingMessageNotificationParams) -> None:
        logged.append(params.level)

    async with house.client(OLDER, logging_callback=log) as client:
        await call(client, "web_log")
        assert logged == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await client.set_logging_level("warning")
        await call(client, "web_log")
        assert logged == ["warning", "emergency"]
    async with house.client(OLDER, "/mcp/s/old", logging_callback=log) as client:
        await call(client, "log", level="alert")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await client.set_logging_level("error")
        await call(client, "log", level="warning")
        await call(client, "log", level="critical")
        assert logged == ["warning", "emergency", "critical"]
    logged.clear()
    async with house.client(NEWEST, logging_callback=log) as client:
        meta: Any = {"io.modelcontextprotocol/logLevel": "emergency"}
        await client.call_tool("web_log", {}, meta=meta)
        assert logged == ["emergency"]


async def test_every_stream_is_in_the_log_with_what_was_told_on_it(house: House) -> None:
    async with house.client(NEWEST) as client:
        async with client.listen(resource_subscriptions=[NEWS]) as subscription:
            await call(client, "web_print")
            await next_of(subscription)
        listens = [i for i in house.stored(entries.Intent) if i.method == "subscriptions/listen"]
        children = [i for i in house.stored(entries.Intent) if i.parent == listens[-1].call]
        assert [(c.method, str(c.kind), str(c.act)) for c in children] == [
            ("resources/subscribe", "resource", "subscribe")
        ]
        ended = {listens[-1].i, children[0].i}

        def outcomes() -> list[entries.Outcome]:
            return [o for o in house.stored(entries.Outcome) if o.intent in ended]

        await eventually(lambda: len(outcomes()) == 2)
        assert [(str(o.status), o.count) for o in outcomes()] == [("cancelled", 1)] * 2
        assert {(o.used.calls, o.used.tokens) for o in outcomes()} == {(0, 0)}


async def test_at_last_a_drain_ends_streams_within_a_second_and_says_so(house: House) -> None:
    async with (
        house.client(NEWEST) as client,
        client.listen(tools_list_changed=True) as subscription,
    ):
        house.process.process.terminate()
        with anyio.fail_after(2), pytest.raises(StopAsyncIteration):
            await anext(subscription)
    assert await anyio.to_thread.run_sync(house.process.wait) == 0
    drained = house.stored(entries.Outcome)[-1]
    assert (str(drained.status), drained.code) == ("ok", "draining")
