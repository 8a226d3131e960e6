"""Listeners that stay too long or ask for too much, and servers that say too much to them."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import httpx2
import pytest

from gateway.audit import entry as entries
from gateway.store import engine
from tests.fakes import eventually
from tests.journey.process import ROOT, GatewayProcess, customhouse, headers, modern, write_policy

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEYS = {
    "watcher": "chk_watcher_0123456789abcdefghijklmnopqrstuvwxy",
    "other": "chk_other_zyxwvutsrqponmlkjihgfedcba9876543210",
}
NOTE, UPDATED = "note:///1", "notifications/resources/updated"
CONFIG = """
listen = "127.0.0.1:0"
[servers.old]
command = ["{python}", "-S", "{watched}", "legacy"]
approve = "first-seen"
[servers.new]
command = ["{python}", "-S", "{watched}", "modern"]
approve = "first-seen"
[agents.watcher]
roles = ["caller"]
key = "env:KEY_WATCHER"
[agents.other]
roles = ["caller"]
key = "env:KEY_OTHER"
"""
POLICY = """\
p, caller, default, tool/*, call, -, allow
p, caller, default, resource/*, read, -, allow
p, caller, default, admin/metrics, read, -, allow
"""
SUBSCRIBE = "p, caller, default, resource/*, subscribe, -, allow\n"


@dataclass
class Ear:
    """One open response, and the events that came on it."""

    status: int = 0
    events: list[Any] = field(default_factory=list)
    is_over: bool = False

    @property
    def told(self) -> list[str]:
        return [event.get("method", "") for event in self.events]


@dataclass
class House:
    folder: Path
    process: GatewayProcess

    @property
    def url(self) -> str:
        return self.process.url

    def run(self, *command: str) -> Any:
        config = str(self.folder / "customhouse.toml")
        code, said, complaint = customhouse(*command, "--json", "--config", config)
        assert code == 0, said + complaint
        return json.loads(said)

    async def set_policy(self, text: str) -> None:
        (self.folder / "policies" / "policy.csv").write_text(text)
        await anyio.to_thread.run_sync(self.run, "policy", "apply")

    async def call(self, server: str, tool: str, **arguments: Any) -> Any:
        params = {"name": tool, "arguments": arguments}
        async with httpx2.AsyncClient(timeout=20) as client:
            answer = await client.post(
                f"{self.url}/mcp/s/{server}",
                content=modern("tools/call", params),
                headers=headers("tools/call", tool, KEYS["other"]),
            )
        return json.loads(answer.json()["result"]["content"][0]["text"])

    async def counted(self, server: str) -> tuple[int, int]:
        """Words that came from *server*, and those that were passed on."""
        async with httpx2.AsyncClient(timeout=20) as client:
            said = headers("", key=KEYS["other"])
            text = (await client.get(f"{self.url}/metrics", headers=said)).text
        counts = re.findall(rf'fate="(heard|passed)",server="{server}"\}} (\S+)', text)
        found = {fate: int(float(count)) for fate, count in counts}
        return found["heard"], found["passed"]

    @asynccontextmanager
    async def listening(
        self, server: str, key: str = KEYS["watcher"], **notifications: Any
    ) -> AsyncIterator[Ear]:
        body = modern("subscriptions/listen", {"notifications": notifications}, 7)
        said = headers("subscriptions/listen", key=key)
        url = f"{self.url}/mcp/s/{server}"
        async with _heard("POST", url, said, body) as ear:
            yield ear

    @asynccontextmanager
    async def getting(self, older: Older) -> AsyncIterator[Ear]:
        async with _heard("GET", older.url, older.headers(), b"") as ear:
            yield ear

    def stored(self) -> list[entries.Entry]:
        with engine.reading(self.folder / "data" / engine.DATABASE) as connection:
            rows = connection.execute("SELECT body FROM entries ORDER BY idx")
            return [entries.decode(body) for (body,) in rows]

    def used_s(self) -> float:
        """Processor time of the gateway alone, without its children."""
        stat = Path(f"/proc/{self.process.process.pid}/stat").read_text().rpartition(")")[2]
        user, system = stat.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        statm = Path(f"/proc/{self.process.process.pid}/statm").read_text().split()
        return int(statm[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Older:
    """A session of the handshake era."""

    url: str
    key: str
    session: str = ""

    def headers(self) -> dict[str, str]:
        said = headers("", key=self.key)
        said |= {"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": self.session}
        return {name: value for name, value in said.items() if value}

    async def ask(self, method: str, params: dict[str, Any]) -> httpx2.Response:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        async with httpx2.AsyncClient(timeout=20) as client:
            return await client.post(self.url, content=body, headers=self.headers())

    async def open(self) -> Older:
        client = {"name": "attacker", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        answer = await self.ask("initialize", params)
        self.session = answer.headers["mcp-session-id"]
        return self


@asynccontextmanager
async def _heard(verb: str, url: str, said: dict[str, str], body: bytes) -> AsyncIterator[Ear]:
    """Read a stream in the background until it ends, or the block does."""
    ear = Ear()

    async def read(client: httpx2.AsyncClient) -> None:
        async with client.stream(verb, url, headers=said, content=body) as response:
            ear.status = response.status_code
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    ear.events.append(json.loads(line[6:]))
        ear.is_over = True

    async with httpx2.AsyncClient(timeout=60) as client, anyio.create_task_group() as group:
        group.start_soon(read, client)
        await eventually(lambda: bool(ear.events) or (verb == "GET" and bool(ear.status)))
        yield ear
        group.cancel_scope.cancel()


async def within_a_second(is_so: Callable[[], bool]) -> None:
    began_s = monotonic()
    await eventually(is_so)
    assert monotonic() - began_s < 4.0  # the machine may be loaded; without it, it would not end


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("listeners")
    write_policy(folder, POLICY + SUBSCRIBE)
    config, watched = folder / "customhouse.toml", ROOT / "tests" / "servers" / "watched.py"
    config.write_text(CONFIG.format(python=sys.executable, watched=watched))
    environ = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    process = GatewayProcess(config, environ).start()
    house = House(folder, process)
    try:
        yield house
        assert process.stop() == 0
        house.run("audit", "verify")
        stored = house.stored()
        intents = {entry.i for entry in stored if isinstance(entry, entries.Intent)}
        assert intents == {e.intent for e in stored if isinstance(e, entries.Outcome)}
    finally:
        if process.process.poll() is None:
            process.kill()


@pytest.mark.timed
async def test_a_server_that_shouts_costs_little_and_is_passed_on_in_few_words(
    house: House,
) -> None:
    async with house.listening("old", resourceSubscriptions=[NOTE]) as ear:
        began_s, used_s, resident_bytes = monotonic(), house.used_s(), house.resident_bytes()
        await house.call("old", "flood", uri=NOTE, times=1_000_000)  # more than there is time for
        while monotonic() - began_s < 1.5:
            with anyio.fail_after(10):  # whoever calls meanwhile is answered, by it as by others
                assert await house.call("old", "log", level="info") == []
        took_s, took_cpu_s = monotonic() - began_s, house.used_s() - used_s
        await house.call("old", "hush")
        heard, passed = await house.counted("old")
        all_s = monotonic() - began_s
        assert took_cpu_s < 0.5 * took_s
        assert house.resident_bytes() - resident_bytes < 16 * 1024 * 1024
        assert 1 <= ear.told.count(UPDATED) <= all_s / 0.1 + 1
        assert heard > 1_000
        assert passed <= all_s / 0.1 + 1


async def test_what_is_kept_open_does_not_outlive_its_key(house: House) -> None:
    issued = await anyio.to_thread.run_sync(house.run, "key", "issue", "watcher")
    older = await Older(f"{house.url}/mcp/s/old", issued["key"]).open()
    async with (
        house.listening("old", issued["key"], resourceSubscriptions=[NOTE]) as newest,
        house.getting(older) as got,
    ):
        assert (await older.ask("resources/subscribe", {"uri": NOTE})).json()["result"] == {}
        assert (await house.call("old", "state"))["followed"] == [NOTE]
        await anyio.to_thread.run_sync(house.run, "key", "revoke", issued["id"])
        await within_a_second(lambda: newest.is_over and got.is_over)
        await house.call("old", "touch", uri=NOTE)
        assert UPDATED not in newest.told + got.told
    with anyio.fail_after(2):
        while (await house.call("old", "state"))["followed"]:
            continue


async def test_what_is_kept_open_does_not_outlive_the_right_to_it(house: House) -> None:
    older = await Older(f"{house.url}/mcp/s/new", KEYS["watcher"]).open()
    async with (
        house.listening("new", resourceSubscriptions=[NOTE]) as newest,
        house.getting(older) as got,
    ):
        assert (await older.ask("resources/subscribe", {"uri": NOTE})).json()["result"] == {}
        await house.call("new", "touch", uri=NOTE)
        await eventually(lambda: newest.told.count(UPDATED) == got.told.count(UPDATED) == 1)
        try:
            await house.set_policy(POLICY)
            await house.call("new", "touch", uri=NOTE)
            # In the newest era nothing is left that it could hear; a session may hear of its lists.
            await within_a_second(lambda: newest.is_over)
            assert "result" in newest.events[-1]
            with anyio.fail_after(2):
                while (await house.call("new", "state"))["followed"]:
                    continue
            assert newest.told.count(UPDATED) == got.told.count(UPDATED) == 1
            refused = await older.ask("resources/subscribe", {"uri": NOTE})
            assert refused.json()["error"]["code"] == 40300
        finally:
            await house.set_policy(POLICY + SUBSCRIBE)


async def test_the_seventeenth_stream_is_refused_and_room_comes_back(house: House) -> None:
    before = len(house.stored())
    async with anyio.create_task_group() as group:
        ears: list[Ear] = []

        async def listen() -> None:
            async with house.listening("old", toolsListChanged=True) as ear:
                ears.append(ear)
                await anyio.sleep_forever()

        for _ in range(16):
            group.start_soon(listen)
        await eventually(lambda: len(ears) == 16, within_s=10)
        body = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        said = headers("subscriptions/listen", key=KEYS["watcher"])
        async with httpx2.AsyncClient(timeout=20) as client:
            answer = await client.post(f"{house.url}/mcp", content=body, headers=said)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, 42903)
        async with house.listening("old", KEYS["other"], toolsListChanged=True):
            pass  # others are not in the way of it
        group.cancel_scope.cancel()
    await eventually(lambda: len(_outcomes(house, before)) == 17)
    async with house.listening("old", toolsListChanged=True):
        pass
    refused = [e.code for e in house.stored()[before:] if isinstance(e, entries.Refused)]
    assert refused == ["too_many_streams"]


def _outcomes(house: House, since: int) -> list[entries.Entry]:
    """Of streams; calls have others."""
    listens = {
        e.i
        for e in house.stored()[since:]
        if isinstance(e, entries.Intent) and e.method == "subscriptions/listen"
    }
    return [e for e in house.stored() if isinstance(e, entries.Outcome) and e.intent in listens]


async def test_nobody_listens_in_the_session_of_another(house: House) -> None:
    hers = await Older(f"{house.url}/mcp/s/old", KEYS["watcher"]).open()
    his = Older(hers.url, KEYS["other"], hers.session)
    async with httpx2.AsyncClient(timeout=20) as client:
        assert (await client.get(his.url, headers=his.headers())).status_code == 404
        elsewhere = await client.get(f"{house.url}/mcp/s/new", headers=hers.headers())
        assert elsewhere.status_code == 404  # a session belongs to one endpoint
    for method, params in (
        ("resources/subscribe", {"uri": NOTE}),
        ("resources/unsubscribe", {"uri": NOTE}),
        ("logging/setLevel", {"level": "debug"}),
    ):
        assert (await his.ask(method, params)).status_code == 404
    async with house.getting(hers) as ear:
        assert ear.status == 200


async def test_whoever_reads_nothing_holds_nothing_up_and_does_not_outlive_its_key(
    house: House,
) -> None:
    issued = await anyio.to_thread.run_sync(house.run, "key", "issue", "watcher")
    body = modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": [NOTE]}})
    said = {**headers("subscriptions/listen", key=issued["key"]), "Content-Length": str(len(body))}
    host, port = house.url.removeprefix("http://").split(":")
    before = len(house.stored())
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        deaf.connect((host, int(port)))
        lines = [f"{name}: {value}" for name, value in said.items()]
        head = "\r\n".join(["POST /mcp/s/old HTTP/1.1", f"Host: {host}:{port}", *lines, "", ""])
        deaf.sendall(head.encode() + body)
        while NOTE not in (await house.call("old", "state"))["followed"]:
            continue
        await house.call("old", "touch", uri=NOTE, times=1_000)
        await anyio.to_thread.run_sync(house.run, "key", "revoke", issued["id"])
        await within_a_second(lambda: len(_outcomes(house, before)) == 1)
        assert len(_outcomes(house, before)) == 1
