"""Approvals across real processes: the SDK's client sends its person to the page; kill -9 in between."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as t
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.journey.process import (
    KEY,
    ROOT,
    GatewayProcess,
    call_tool,
    customhouse,
    write_policy,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
BOSS_KEY = "chk_tests_boss_0123456789abcdefghijklmnopqrstuvwxyz"
CONFIG = """
listen = "127.0.0.1:0"
[servers.pipe]
command = ["{python}", "-m", "tests.journey.effects", "{folder}/effects", "stdio"]
cwd = "{root}"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
[agents.ann]
roles = ["boss"]
key = "env:BOSS_KEY"
"""
POLICY = """\
p, caller, default, tool/pipe/act, call, approval:boss, allow
p, boss, default, admin/approvals, *, -, allow
"""


@dataclass
class Place:
    folder: Path
    process: GatewayProcess = field(init=False)

    @property
    def config(self) -> Path:
        return self.folder / "customhouse.toml"

    def start(self) -> None:
        self.process = GatewayProcess(self.config, {"BOSS_KEY": BOSS_KEY}).start()

    def effects(self) -> list[str]:
        path = self.folder / "effects"
        return path.read_text().split() if path.exists() else []

    def command(self, *words: str) -> str:
        code, said, complaint = customhouse(*words, "--config", str(self.config))
        assert code == 0, said + complaint
        return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("approvals")
    write_policy(folder, POLICY)
    place = Place(folder)
    place.config.write_text(CONFIG.format(python=sys.executable, root=ROOT, folder=folder))
    place.start()
    try:
        yield place
        assert place.process.stop() == 0
        place.command("audit", "verify")
    finally:
        if place.process.process.poll() is None:
            place.process.kill()


@asynccontextmanager
async def client(place: Place, mode: str, **offers: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=40) as http:
        transport = streamable_http_client(f"{place.process.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, cache=None, **offers) as made:
            yield made


def text_of(result: Any) -> str:
    assert isinstance(result.content[0], t.TextContent)
    return str(result.content[0].text)


async def repeated(place: Place, mark: str) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await call_tool(http, place.process.url, "pipe_act", {"mark": mark})
    result: dict[str, Any] = answer["result"]
    return result


def approval_in(result: dict[str, Any]) -> str:
    refusal = result["_meta"]["io.customhouse/refusal"]
    assert refusal["code"] == "approval_needed", refusal
    return str(refusal["approval"])


async def test_the_client_of_the_sdk_opens_the_page_and_goes_on_by_itself(place: Place) -> None:
    """Here its person opens the page, has it approved there, and says so."""
    pages: list[str] = []

    async def opens(_ctx: Any, params: Any) -> t.ElicitResult:
        assert isinstance(params, t.ElicitRequestURLParams)
        form = {"credential": BOSS_KEY, "action": "show"}
        async with httpx2.AsyncClient(timeout=10) as browser:
            pages.append((await browser.get(params.url)).text)
            origin = {"Origin": place.process.url}  # as browsers send it with a form
            shown = await browser.post(params.url, data=form, headers=origin)
            pages.append(shown.text)
            done = await browser.post(params.url, data=form | {"action": "approve"}, headers=origin)
            assert done.status_code == 200, done.text
        return t.ElicitResult(action="accept")

    async with client(place, "auto", elicitation_callback=opens) as made:
        with anyio.fail_after(20):
            result = await made.call_tool("pipe_act", {"mark": "by-page"})
    assert (result.is_error, text_of(result)) == (False, "by-page")
    assert ["by-page" in page for page in pages] == [False, True]
    assert place.effects().count("by-page") == 1


async def test_it_waits_while_somebody_decides_elsewhere(place: Place) -> None:
    """The page is passed on; who approves does so with a command, over the API."""
    opened = anyio.Event()

    async def passes_on(_ctx: Any, params: Any) -> t.ElicitResult:
        opened.set()
        return t.ElicitResult(action="accept")

    async def decide() -> None:
        await opened.wait()
        url, key = ["--url", place.process.url, "--key", "env:BOSS_KEY"], {"BOSS_KEY": BOSS_KEY}

        def command(*words: str) -> Any:
            code, said, complaint = customhouse(*url, "approval", *words, "--json", environ=key)
            assert code == 0, said + complaint
            return json.loads(said)

        [row] = await anyio.to_thread.run_sync(command, "list")
        words = ("approve", row["approval"], "--yes", "--reason", "fine")
        done = await anyio.to_thread.run_sync(command, *words)
        assert done["approved_by"] == ["agent:ann"]

    async with client(place, "auto", elicitation_callback=passes_on) as made:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(decide)
                result = await made.call_tool("pipe_act", {"mark": "elsewhere"})
    assert (result.is_error, text_of(result)) == (False, "elsewhere")


async def test_a_client_of_the_older_era_reads_it_and_repeats_the_call(place: Place) -> None:
    async with client(place, "legacy") as made:
        with anyio.fail_after(20):
            first = await made.call_tool("pipe_act", {"mark": "older"})
        assert first.is_error
        assert f"{place.process.url}/approvals/A-" in text_of(first)
        assert first.meta is not None
        approval = first.meta["io.customhouse/refusal"]["approval"]
        command = ("approval", "approve", approval, "--yes")
        await anyio.to_thread.run_sync(place.command, *command)
        with anyio.fail_after(20):
            again = await made.call_tool("pipe_act", {"mark": "older"})
            third = await made.call_tool("pipe_act", {"mark": "older"})
    assert (again.is_error, text_of(again), third.is_error) == (False, "older", True)
    assert place.effects().count("older") == 1


async def test_an_approval_outlives_a_crash_until_it_is_used_and_not_after(place: Place) -> None:
    approval = approval_in(await repeated(place, "crash"))
    await anyio.to_thread.run_sync(place.command, "approval", "approve", approval, "--yes")
    place.process.kill()
    place.start()
    assert not (await repeated(place, "crash")).get("isError")
    place.process.kill()
    place.start()
    assert approval_in(await repeated(place, "crash")) != approval
    assert place.effects().count("crash") == 1
