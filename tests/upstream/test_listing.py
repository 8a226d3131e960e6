"""What a server lists: whole or not at all, one broken entry at a time, bounded in every direction."""

import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from gateway.domain.definition import Listed
from gateway.domain.model import Kind, Outcome, Status
from gateway.upstream.listing import Introduction, list_all
from gateway.upstream.message import UpstreamFailed
from tests.fakes import Asked, Behaviour, FakeUpstream, border, eventually, http_response, http_spec

pytestmark = pytest.mark.anyio

ALL: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}}


def server_with(lists: dict[str, Any], capabilities: dict[str, Any] | None = None) -> Behaviour:
    """Answers each list method with a result, a JSON-RPC error code, or raw text of `result`."""

    async def behave(asked: Asked) -> None:
        method = asked.body["method"]
        if method == "server/discover":
            found: Any = {"supportedVersions": ["2026-07-28"], "instructions": "be kind"}
            found["capabilities"] = ALL if capabilities is None else capabilities
            found["_meta"] = {"io.modelcontextprotocol/serverInfo": {"name": "fake"}}
            found = lists.get(method, found)
        else:
            found = lists.get(method, -32601)
        if callable(found):
            found = found(asked.params.get("cursor"))
        if isinstance(found, int):
            error = {"code": found, "message": "no"}
            message = {"jsonrpc": "2.0", "id": asked.id, "error": error}
            await asked.send(http_response(json.dumps(message).encode()))
        elif isinstance(found, bytes):
            body = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (asked.id, found)
            await asked.send(http_response(body))
        else:
            await asked.answer(found)

    return behave


async def test_everything_is_listed_raw_and_page_by_page() -> None:
    tools = {
        None: b'{"tools":[{"name":"a", "x":1.50}],"nextCursor":"p/2"}',
        "p/2": b'{"tools":[{"vendor":{"b":1,"a":2},"name":"b"}],"nextCursor":"p/3"}',
        "p/3": b'{"tools":[]}',
    }
    lists: dict[str, Any] = {
        "tools/list": lambda cursor: tools[cursor],
        "prompts/list": {"prompts": [{"name": "a"}]},
        "resources/list": {"resources": [{"uri": "file:///x", "name": "x"}], "nextCursor": None},
        "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "f:///{p}"}]},
    }
    async with (
        FakeUpstream(server_with(lists), introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    assert [(entry.kind, entry.name, entry.fault) for entry in listing.definitions] == [
        (Kind.TOOL, "a", ""),
        (Kind.TOOL, "b", ""),
        (Kind.PROMPT, "a", ""),
        (Kind.RESOURCE, "file:///x", ""),
        (Kind.TEMPLATE, "f:///{p}", ""),
    ]
    assert [entry.body for entry in listing.definitions[:2]] == [
        b'{"name":"a", "x":1.50}',
        b'{"vendor":{"b":1,"a":2},"name":"b"}',
    ]
    assert listing.instructions == "be kind"
    assert server.connections == 1


async def test_only_what_the_server_says_it_has_is_asked_for() -> None:
    lists: dict[str, Any] = {"tools/list": {"tools": []}}
    behave = server_with(lists, {"tools": {}, "extensions": [1]})
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        await house.upstreams.list_definitions("fake")
    assert [asked.body["method"] for asked in server.asked] == ["server/discover", "tools/list"]


async def test_a_server_without_discover_is_listed_all_the_same() -> None:
    lists: dict[str, Any] = {"server/discover": -32601, "tools/list": {"tools": [{"name": "a"}]}}
    behave = server_with(lists)
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    assert [entry.name for entry in listing.definitions] == ["a"]


BROKEN_ENTRIES = {
    "no name": b'{"description":"x"}',
    "name is a number": b'{"name":5}',
    "empty name": b'{"name":""}',
    "not an object": b'["name"]',
    "null": b"null",
    "endless name": b'{"name":"' + b"a" * 3_000 + b'"}',
}


@pytest.mark.parametrize("entry", BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES.keys())
async def test_a_broken_entry_is_reported_and_costs_nobody_else(entry: bytes) -> None:
    page = b'{"tools":[{"name":"a"},%b,{"name":"b"}]}' % entry
    behave = server_with({"tools/list": page}, {"tools": {}})
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    assert [e.name for e in listing.definitions if not e.fault] == ["a", "b"]
    (broken,) = [e for e in listing.definitions if e.fault]
    assert broken.name == ""
    assert broken.body == entry


async def test_a_name_too_long_to_be_called_has_no_definition() -> None:
    uri = "file:///" + "x" * 1000
    lists = {
        "tools/list": {"tools": [{"name": "t" * 128}, {"name": "t" * 129}]},
        "prompts/list": {"prompts": [{"name": "p" * 129}]},
        "resources/list": {"resources": [{"uri": uri, "name": "x"}]},
    }
    async with (
        FakeUpstream(server_with(lists), introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    named = {entry.name: entry.fault for entry in listing.definitions if entry.name}
    assert named == {"t" * 128: "", uri: ""}
    nameless = [entry.fault for entry in listing.definitions if not entry.name]
    assert nameless == ["its name is empty or too long"] * 2


async def test_an_enormous_definition_is_a_fault_of_its_own() -> None:
    page = {"tools": [{"name": "a", "description": "x" * 300_000}, {"name": "b"}]}
    behave = server_with({"tools/list": page}, {"tools": {}})
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    by_name = {entry.name: entry for entry in listing.definitions}
    assert "bytes" in by_name["a"].fault
    assert len(by_name["a"].body) < 100
    assert not by_name["b"].fault


async def test_the_same_name_twice_is_a_fault_unless_it_is_the_same_entry() -> None:
    page = b'{"tools":[{"name":"a"},{"name":"b","v":1},{"name":"a"},{"name":"b","v":2}]}'
    behave = server_with({"tools/list": page}, {"tools": {}})
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
    faults = {entry.name: entry.fault for entry in listing.definitions}
    assert faults["a"] == ""
    assert "more than once" in faults["b"]
    assert len(listing.definitions) == 2


def endless(cursor: str | None) -> dict[str, Any]:
    n = int(cursor or 0)
    return {"tools": [{"name": f"t{n}"}], "nextCursor": str(n + 1)}


def crowded(cursor: str | None) -> dict[str, Any]:
    n = int(cursor or 0)
    tools = [{"name": f"t{n}-{i}"} for i in range(1_000)]
    return {"tools": tools, "nextCursor": str(n + 1)}


INCOMPLETE = {
    "endless pages": (endless, "more than 100 pages"),
    "too many definitions": (crowded, "more than 5000 definitions"),
    "a cursor that repeats": ({"tools": [], "nextCursor": "again"}, "repeats a cursor"),
    "no list": ({"tool": []}, "without tools"),
    "not a list": ({"tools": {"name": "a"}}, "something else"),
    "a cursor that is no text": ({"tools": [], "nextCursor": 5}, "something else"),
    "an error": (-32603, "error -32603"),
}


@pytest.mark.parametrize(("lists", "why"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
async def test_half_a_listing_is_none(lists: Any, why: str) -> None:
    behave = server_with({"tools/list": lists}, {"tools": {}})
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        with pytest.raises(UpstreamFailed, match=why):
            await house.upstreams.list_definitions("fake")


async def test_a_page_that_is_too_large_ends_the_listing() -> None:
    page = {"tools": [{"name": "a", "description": "x" * 50_000}]}
    behave = server_with({"tools/list": page}, {"tools": {}})
    async with FakeUpstream(behave, introduces=True) as server:
        spec = http_spec(server.url, max_result_bytes=20_000)
        async with border(spec) as house:
            with pytest.raises(UpstreamFailed) as failed:
                await house.upstreams.list_definitions("fake")
    assert failed.value.code == "result_too_large"


async def test_all_pages_together_have_one_deadline() -> None:
    async def behave(asked: Asked) -> None:
        if asked.body["method"] == "server/discover":
            await server_with({}, {"tools": {}})(asked)
        else:
            await anyio.sleep(0.03)
            await asked.answer(endless(asked.params.get("cursor")))

    async with FakeUpstream(behave, introduces=True) as server:
        spec = http_spec(server.url, listing_timeout_s=0.2)
        async with border(spec) as house:
            with anyio.fail_after(1), pytest.raises(UpstreamFailed) as failed:
                await house.upstreams.list_definitions("fake")
    assert failed.value.code in {"upstream_timeout", "upstream_unreachable"}


async def test_an_unknown_server_has_no_definitions() -> None:
    async with border() as house:
        with pytest.raises(UpstreamFailed):
            await house.upstreams.list_definitions("nobody")


LISTENING = {"tools": {"listChanged": True}}
CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
ACKNOWLEDGED = {
    "jsonrpc": "2.0",
    "method": "notifications/subscriptions/acknowledged",
    "params": {},
}


async def test_a_lost_subscription_is_opened_again_and_counts_as_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.listen.PAUSE_FIRST_S", 0.01)
    listens = 0
    told: list[str] = []

    async def behave(asked: Asked) -> None:
        nonlocal listens
        if asked.body["method"] != "subscriptions/listen":
            await server_with({"tools/list": {"tools": []}}, LISTENING)(asked)
            return
        assert asked.params["notifications"]["toolsListChanged"] is True
        listens += 1
        await asked.open_stream()
        await asked.event(ACKNOWLEDGED)
        if listens > 1:
            await asked.reader.read()

    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        house.upstreams.on_list_changed(told.append)
        await house.upstreams.list_definitions("fake")
        await eventually(lambda: listens == 1)
        assert told == []
        server.hang_up()
        await eventually(lambda: told == ["fake"])
        assert listens == 2


async def test_a_server_that_cannot_be_listened_to_is_not_asked_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.listen.PAUSE_FIRST_S", 0.001)
    behave = server_with({"tools/list": {"tools": []}}, LISTENING)
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        await house.upstreams.list_definitions("fake")
        await eventually(lambda: len(server.asked) == 3)
        for _ in range(5):
            await house.call()
    methods = [asked.body["method"] for asked in server.asked]
    assert methods.count("subscriptions/listen") == 1


async def test_a_subscription_takes_no_connection_from_the_calls() -> None:
    async def behave(asked: Asked) -> None:
        method = asked.body["method"]
        if method == "subscriptions/listen":
            await asked.open_stream()
            await asked.event(ACKNOWLEDGED)
            await asked.event(CHANGED)
            await asked.reader.read()
        elif method == "tools/call":
            await asked.answer({})
        else:
            await server_with({"tools/list": {"tools": []}}, LISTENING)(asked)

    told: list[str] = []
    async with (
        FakeUpstream(behave, introduces=True) as server,
        border(http_spec(server.url)) as house,
    ):
        house.upstreams.on_list_changed(told.append)
        await house.upstreams.list_definitions("fake")
        await eventually(lambda: told == ["fake"])
        health = house.upstreams.health()["fake"].connector
        assert (health["connections"], health["listening"]) == (1, 1)


@pytest.mark.parametrize("says", [True, False])
async def test_a_server_that_calls_itself_a_model_or_a_peer_is_not_asked_as_one(says: bool) -> None:
    lists: dict[str, Any] = {
        "tools/list": {"tools": [{"name": "a"}]},
        "models/list": {"models": [{"name": "gpt"}]},
        "peers/list": {"skills": [{"name": "quote"}]},
    }
    capabilities = {**ALL, "models": {}, "skills": {}} if says else {}
    fake = FakeUpstream(server_with(lists, capabilities), introduces=True)
    async with fake as server, border(http_spec(server.url)) as house:
        listing = await house.upstreams.list_definitions("fake")
    assert [entry.kind for entry in listing.definitions] == [Kind.TOOL] * says
    assert not {"models/list", "peers/list"} & {asked.body["method"] for asked in server.asked}


@pytest.mark.parametrize(
    ("capability", "method", "member", "kind"),
    [
        ("models", "models/list", "models", Kind.MODEL),
        ("skills", "peers/list", "skills", Kind.PEER),
    ],
)
async def test_a_connector_of_ours_lists_models_or_skills_and_nothing_else(
    capability: str, method: str, member: str, kind: Kind
) -> None:
    asked: list[str] = []

    async def ask(method: str, params: Mapping[str, bytes]) -> Outcome:
        asked.append(method)
        return Outcome(Status.OK, json.dumps({member: [{"name": "x"}]}).encode())

    listing = await list_all(Introduction("2026-07-28", frozenset({capability})), ask)
    assert asked == [method]
    assert listing.definitions == (Listed(kind, "x", b'{"name": "x"}'),)
