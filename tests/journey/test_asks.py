"""Servers that ask in the middle of a call, on the SDK, before clients of the SDK: every pair of eras.

In front a real gateway; behind it children that know one era each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import httpx2
import mcp_types as t
import pytest
from mcp import Client, MCPError
from mcp.client.extension import advertise
from mcp.client.streamable_http import streamable_http_client
from pydantic import FileUrl

from gateway.audit import entry
from gateway.domain.asking import APPS
from gateway.store import engine
from tests.journey.process import KEY, ROOT, GatewayProcess, customhouse, write_policy
from tests.servers import clock

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OLDER, NEWEST = "legacy", "2026-07-28"
OTHER_KEY = "chk_tests_else_0123456789abcdefghijklmnopqrstuvwxyz"
CONFIG = """
listen = "127.0.0.1:0"
[servers.old]
command = ["{python}", "-m", "tests.servers.curious", "older"]
cwd = "{root}"
approve = "first-seen"
session = "per-caller"
requests = ["elicitation", "sampling", "roots"]
[servers.new]
command = ["{python}", "-m", "tests.servers.curious", "newest"]
cwd = "{root}"
approve = "first-seen"
requests = ["elicitation", "sampling", "roots"]
[servers.clock]
command = ["{python}", "-m", "tests.servers.clock"]
cwd = "{root}"
approve = "first-seen"
[agents.tester]
roles = ["caller", "reader"]
key = "env:CH_KEY"
[agents.other]
roles = ["caller"]
key = "env:OTHER_KEY"
"""
POLICY = """\
p, caller, default, tool/old/*,   call, -, allow
p, caller, default, tool/new/*,   call, -, allow
p, reader, default, tool/clock/*, call, -, allow
p, reader, default, resource/clock/*, read, -, allow
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("asks")
    write_policy(folder, POLICY)
    config = folder / "customhouse.toml"
    config.write_text(CONFIG.format(python=sys.executable, root=ROOT))
    process = GatewayProcess(config, {"OTHER_KEY": OTHER_KEY}).start()
    try:
        yield process
        assert process.stop() == 0
        code, said, complaint = customhouse("audit", "verify", "--config", str(config))
        assert code == 0, said + complaint
    finally:
        if process.process.poll() is None:
            process.kill()


@dataclass
class Person:
    """Answers what a client is asked, and keeps the questions."""

    action: Literal["accept", "decline", "cancel"] = "accept"
    asked: list[Any] = field(default_factory=list)

    async def elicit(self, _ctx: Any, params: Any) -> t.ElicitResult:
        self.asked.append(params)
        if self.action != "accept" or params.mode == "url":
            return t.ElicitResult(action=self.action)
        return t.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(self, _ctx: Any, params: Any) -> t.CreateMessageResult:
        self.asked.append(params)
        content = t.TextContent(type="text", text="4")
        return t.CreateMessageResult(role="assistant", content=content, model="m")

    async def roots(self, _ctx: Any) -> t.ListRootsResult:
        self.asked.append("roots")
        return t.ListRootsResult(roots=[t.Root(uri=FileUrl("file:///home"))])


@asynccontextmanager
async def client(
    house: GatewayProcess,
    mode: str,
    person: Person | None = None,
    key: str = KEY,
    path: str = "/mcp",
    **offers: Any,
) -> AsyncIterator[Client]:
    if person is not None:
        offers |= {
            "elicitation_callback": person.elicit,
            "sampling_callback": person.sample,
            "list_roots_callback": person.roots,
        }
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{house.url}{path}", http_client=http)
        async with Client(transport, mode=mode, cache=None, **offers) as made:
            yield made


async def said(made: Client, tool: str, **arguments: Any) -> Any:
    with anyio.fail_after(20):
        result = await made.call_tool(tool, arguments)
    assert not result.is_error, result
    assert isinstance(result.content[0], t.TextContent)
    return json.loads(result.content[0].text)


ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}
ERAS = [
    pytest.param(OLDER, "old", id="older client, older server"),
    pytest.param(OLDER, "new", id="older client, newest server"),
    pytest.param(NEWEST, "old", id="newest client, older server"),
    pytest.param(NEWEST, "new", id="newest client, newest server"),
]


@pytest.mark.parametrize(("mode", "server"), ERAS)
async def test_a_form_is_filled_in_across_any_pair_of_eras(
    house: GatewayProcess, mode: str, server: str
) -> None:
    person = Person()
    async with client(house, mode, person) as made:
        assert await said(made, f"{server}_greet") == ACCEPTED
        assert await said(made, f"{server}_greet_twice") == [ACCEPTED, ACCEPTED]
        assert (await said(made, f"{server}_sign"))["action"] == "accept"
    assert [one.mode for one in person.asked] == ["form", "form", "form", "url"]
    assert person.asked[0].requested_schema["required"] == ["name"]
    assert person.asked[-1].url == "https://example.com/sign"


@pytest.mark.parametrize(("mode", "server"), ERAS)
async def test_a_person_may_say_no(house: GatewayProcess, mode: str, server: str) -> None:
    async with client(house, mode, Person("decline")) as made:
        assert (await said(made, f"{server}_greet"))["action"] == "decline"


@pytest.mark.parametrize(("mode", "server"), [(OLDER, "old"), (NEWEST, "new")])
async def test_sampling_and_roots_work_within_an_era(
    house: GatewayProcess, mode: str, server: str
) -> None:
    async with client(house, mode, Person()) as made:
        assert await said(made, f"{server}_sample") == "4"
        assert await said(made, f"{server}_roots") == ["file:///home"]


async def refusal(made: Client, tool: str) -> str:
    """The refusal that a call ended with, or the code of the error that the server was told."""
    with anyio.fail_after(20):
        try:
            result = await made.call_tool(tool, {})
        except MCPError as err:
            return str(err.error.code)
    assert result.is_error
    assert result.meta is not None
    return str(result.meta["io.customhouse/refusal"]["code"])


def entries(house: GatewayProcess, *calls: str) -> list[Any]:
    """The intents and outcomes of some calls, in the order of the log."""
    with engine.reading(house.config.parent / "data" / engine.DATABASE) as connection:
        rows = connection.execute(
            "SELECT body FROM entries WHERE kind IN ('intent', 'outcome') ORDER BY idx"
        )
        found: list[Any] = [entry.decode(body) for (body,) in rows]
    return [one for one in found if one.call in calls]


async def test_what_the_other_era_has_no_way_for_is_refused_and_said(house: GatewayProcess) -> None:
    person = Person()
    async with client(house, OLDER, person) as made:
        assert await refusal(made, "new_sample") == "not_supported_across_eras"
    async with client(house, NEWEST, person) as made:
        assert await refusal(made, "old_sample") == "-32601"
    assert person.asked == []


async def test_a_question_is_in_the_log_under_its_call_before_and_after(
    house: GatewayProcess,
) -> None:
    async with client(house, OLDER, Person()) as made:
        result = await made.call_tool("old_greet", {})
    assert result.meta is not None
    call_id = result.meta["io.customhouse/call"]["call_id"]
    code, found, complaint = customhouse(
        "audit", "query", f"parent:{call_id}", "--json", "--config", str(house.config)
    )
    assert code == 0, complaint
    [asked] = json.loads(found)
    assert (asked["method"], asked["agent"]) == ("elicitation/create", "tester")
    assert asked["object"] == "tool/old/greet"
    begun, question, answer, ended = entries(house, call_id, asked["call"])
    assert (begun.call, ended.call) == (call_id, call_id)
    assert (question.call, question.parent, answer.status) == (asked["call"], call_id, "ok")
    assert answer.result  # what was answered is committed to, before the server has it
    assert (question.hold.calls, answer.used.calls, begun.hold.calls) == (0, 0, 1)
    assert answer.used.tokens > 0


async def test_so_is_a_question_that_crosses_the_eras(house: GatewayProcess) -> None:
    async with client(house, OLDER, Person()) as made:
        result = await made.call_tool("new_greet_twice", {})
    assert result.meta is not None
    call_id = result.meta["io.customhouse/call"]["call_id"]
    code, found, complaint = customhouse(
        "audit", "query", f"parent:{call_id}", "--json", "--config", str(house.config)
    )
    assert code == 0, complaint
    asked = json.loads(found)
    assert [one["method"] for one in asked] == ["elicitation/create"] * 2
    calls = [one["call"] for one in asked]
    statuses = [one.status for one in entries(house, *calls) if isinstance(one, entry.Outcome)]
    assert statuses == ["ok", "ok"]


async def test_two_agents_have_two_servers(house: GatewayProcess) -> None:
    found = []
    for key, word in ((KEY, "mine"), (OTHER_KEY, "theirs"), (KEY, "again")):
        async with client(house, OLDER, Person(), key) as made:
            found.append(await said(made, "old_remember", word=word))
    assert found[0]["pid"] == found[2]["pid"] != found[1]["pid"]
    assert found[1]["words"] == ["theirs"]
    assert found[2]["words"] == ["mine", "again"]


# -- apps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [OLDER, NEWEST])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/s/clock"])
async def test_an_app_is_shown_as_its_server_made_it(
    house: GatewayProcess, mode: str, path: str
) -> None:
    shows = advertise(APPS, {"mimeTypes": [clock.apps.resources()[0].resource.mime_type]})
    async with client(house, mode, path=path, extensions=[shows]) as made:
        listed = {tool.name: tool for tool in (await made.list_tools()).tools}
        name = "tell" if path.endswith("clock") else "clock_tell"
        assert listed[name].meta == {
            "ui": {"resourceUri": clock.PAGE, "visibility": ["model", "app"]}
        }
        [page] = (await made.read_resource(clock.PAGE)).contents
        assert isinstance(page, t.TextResourceContents)
        assert (page.text, page.mime_type) == (clock.HTML, "text/html;profile=mcp-app")
        [resource] = (await made.list_resources()).resources
        assert resource.meta == {"ui": {"csp": {"connectDomains": ["https://example.com"]}}}
        result = await made.call_tool(name, {})
        assert isinstance(result.content[0], t.TextContent)
        assert "on a page" in result.content[0].text  # it was told what this client shows


@pytest.mark.parametrize("mode", ["auto", OLDER])
async def test_an_extension_is_offered_to_those_who_see_a_server_that_has_it(
    house: GatewayProcess, mode: str
) -> None:
    for key, offered in ((KEY, {APPS: {}}), (OTHER_KEY, None)):
        async with client(house, mode, key=key) as made:
            assert made.server_capabilities is not None
            assert made.server_capabilities.extensions == offered
