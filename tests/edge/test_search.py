"""At /search there are two tools; one finds all that the caller may use, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.domain.model import Act, CallClass, Definition, Kind, Principal
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.endpoint import Endpoint, Span, endpoint_of
from gateway.edge.search import MAX_FOUND, MAX_FOUND_BYTES, MAX_QUERY_CHARS
from tests.edge.definitions import BASIC, catalogue, tool
from tests.edge.fakes import FakeSnapshot, Knocker
from tests.edge.older import Older, initialize
from tests.edge.searching import LEGS, PLACES, at, either_way, of_era, searched, told_by

pytestmark = pytest.mark.anyio

QUERY = "now zones search mirrored secret poisoned proposed"


class Nothing(FakeSnapshot):
    def visible(self, principal: Principal, definitions: Iterable[Definition]) -> tuple[()]:
        return ()


async def _found(who: Knocker | Older, query: str = QUERY, **more: Any) -> list[str]:
    answer = await who.call("search_tools", {"query": query, **more})
    return [one["name"] for one in answer.result["structuredContent"]["tools"]]


# -- the endpoint -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/mcp/search", Endpoint(search=True)),
        ("/token/mcp/search", Endpoint(bare=True, search=True)),
        ("/mcp/s/time/search", Endpoint(Span.SERVER, "time", search=True)),
        ("/token/mcp/t/office/search", Endpoint(Span.TOOLSET, "office", bare=True, search=True)),
        ("/mcp/s/search", Endpoint(Span.SERVER, "search")),
        ("/mcp/s/search/search", Endpoint(Span.SERVER, "search", search=True)),
        ("/mcp/s//search", Endpoint(Span.SERVER, "", search=True)),
        ("/mcp/t/a/search/search", Endpoint(Span.TOOLSET, "a/search", search=True)),
    ],
)
async def test_a_path_that_ends_in_search_is_the_same_endpoint_searched(
    path: str, endpoint: Endpoint
) -> None:
    assert endpoint_of(path) == endpoint
    assert endpoint.path == path


@pytest.mark.parametrize("path", ["/mcp/search/", "/mcp/search/search", "/mcp/Search", "/search"])
async def test_nothing_else_is_a_search_endpoint(path: str) -> None:
    assert endpoint_of(path) is None


@either_way
@pytest.mark.parametrize("path", PLACES)
async def test_two_tools_are_listed_to_everybody(leg: str, era: str, path: str) -> None:
    async with searched(leg).open() as alice:
        seen = []
        for key in ("alice-key", "bob-key"):
            who = await of_era(at(alice, path, key), era)
            seen.append((await who.ask("tools/list")).result["tools"])
    assert [one["name"] for one in seen[0]] == ["search_tools", "call_tool"]
    assert seen[0] == seen[1]


async def test_prompts_and_resources_are_there_as_at_the_endpoint_itself() -> None:
    async with searched().open() as alice:
        who = at(alice)
        for method in ("prompts/list", "resources/list", "resources/templates/list"):
            assert told_by(await who.ask(method)) == told_by(await alice.ask(method))
        for method, params in (
            ("prompts/get", {"name": "docs_summarise"}),
            ("resources/read", {"uri": "file:///readme"}),
        ):
            assert told_by(await who.ask(method, params)) == told_by(
                await alice.ask(method, params)
            )


async def test_no_change_of_the_two_tools_is_promised_or_told() -> None:
    async with searched().open() as alice:
        who = at(alice)
        offered = (await who.ask("server/discover")).result["capabilities"]
        assert offered["tools"] == {}
        assert offered["prompts"] == {"listChanged": True}
        greeted = (await initialize(who)).result["capabilities"]
        assert greeted == offered
        wanted = {"notifications": {"toolsListChanged": True}}
        answer = await who.ask("subscriptions/listen", wanted)  # over: there is nothing to wait for
    assert answer.events[0]["params"]["notifications"] == {}
    assert answer.result["resultType"] == "complete"


async def test_a_place_that_the_caller_sees_nothing_of_is_not_there() -> None:
    stand = searched()
    async with stand.open() as alice:
        refused = [
            told_by(await at(alice, path).ask("tools/list"))
            for path in ("/mcp/s/hidden/search", "/mcp/s/nope/search", "/mcp/t/nope/search")
        ]
    assert refused == [refused[0]] * 3
    assert refused[0][0] == 404


# -- search_tools -----------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("path", PLACES)
async def test_what_the_caller_may_use_is_found_and_nothing_else(
    leg: str, era: str, path: str
) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        who = await of_era(at(alice, path), era)
        stand.pipeline.entered.clear()
        assert set(await _found(who, limit=MAX_FOUND)) == PLACES[path][1]
    [call] = stand.pipeline.entered
    assert (call.kind, call.name, call.act, call.weight) == (
        Kind.TOOL, "*", Act.LIST, CallClass.SINGLE,
    )  # fmt: skip
    assert call.server == ("time" if "/s/" in path else "")
    assert stand.pipeline.governed == []


async def test_it_says_how_each_tool_is_called_in_two_ways() -> None:
    stand = searched()
    schema = {"type": "object", "properties": {"zone": {"type": "string", "x-any": 1.10}}}
    said = {"description": "Says where it is noon.", "inputSchema": schema, "vendor": True}
    stand.catalogue = catalogue([tool("time", "noon", **said)])
    async with stand.open() as alice:
        answer = (await at(alice).call("search_tools", {"query": "noon"})).result
    [found] = answer["structuredContent"]["tools"]
    assert found == {
        "name": "time_noon",
        "description": "Says where it is noon.",
        "inputSchema": schema,
    }
    assert json.loads(answer["content"][0]["text"]) == answer["structuredContent"]
    assert "score" not in str(answer)
    assert answer["resultType"] == "complete"


@pytest.mark.parametrize("era", ["modern", "older"])
async def test_both_legs_find_alike_byte_for_byte(era: str) -> None:
    told = []
    for leg in LEGS:
        async with searched(leg).open() as alice:
            who = await of_era(at(alice), era)
            told.append(told_by(await who.call("search_tools", {"query": QUERY})))
    assert told[0] == told[1]
    assert told[0][0] == 200


async def test_no_caller_finds_what_is_found_by_another() -> None:
    async with searched().open() as alice:
        assert set(await _found(at(alice, key="bob-key"))) == {"time_now", "time_zones"}
        assert set(await _found(at(alice))) > {"time_now", "docs_search"}
        assert set(await _found(at(alice, key="bob-key"))) == {"time_now", "time_zones"}


async def test_what_is_hidden_does_not_move_what_is_found() -> None:
    """Were it counted how rare a word is among all tools, the order would tell of the hidden ones."""
    seen = [tool("time", "alpha"), tool("time", "gamma")]
    orders = []
    for secret in ([], [tool("hidden", f"alpha_{n}") for n in range(9)]):
        stand = searched()
        stand.catalogue = catalogue([*seen, *secret])
        async with stand.open() as alice:
            answer = await at(alice).call("search_tools", {"query": "gamma alpha"})
            orders.append(told_by(answer))
    assert orders[0] == orders[1]


async def test_what_changes_is_found_as_it_is_now() -> None:
    stand = searched()
    async with stand.open() as alice:
        who = at(alice)
        assert await _found(who, "moon") == []
        stand.catalogue = catalogue([*BASIC, tool("time", "moon")], 2)
        assert await _found(who, "moon") == ["time_moon"]
        stand.policies.current = Nothing("policy-2")
        assert await _found(who, "moon") == []


async def test_a_limit_holds_and_there_is_one_where_none_is_said() -> None:
    stand = searched()
    stand.catalogue = catalogue([tool("time", f"get_{number}") for number in range(40)])
    async with stand.open() as alice:
        who = at(alice)
        assert len(await _found(who, "get")) == 5
        assert len(await _found(who, "get", limit=MAX_FOUND)) == MAX_FOUND
        assert len(await _found(who, "get", limit=1.0)) == 1


async def test_an_answer_is_not_larger_than_a_tool_may_answer_but_never_without_the_best() -> None:
    stand = searched()
    large = {"type": "object", "description": "x" * (MAX_FOUND_BYTES // 2)}
    huge = {"type": "object", "description": "x" * (MAX_FOUND_BYTES + 1)}
    stand.catalogue = catalogue(
        [tool("time", f"get_{number}", inputSchema=large) for number in range(3)]
        + [tool("docs", "huge", inputSchema=huge)]
    )
    async with stand.open() as alice:
        who = at(alice)
        assert await _found(who, "get") == ["time_get_0"]
        assert await _found(who, "huge get") == ["docs_huge"]


async def test_whoever_sees_very_many_tools_is_answered_as_others_are() -> None:
    stand = searched()
    stand.catalogue = catalogue([tool("time", f"get_{number:04}") for number in range(1_001)])
    async with stand.open() as alice:
        assert await _found(at(alice), "get", limit=2) == ["time_get_0000", "time_get_0001"]


@either_way
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": ""},
        {"query": 7},
        {"query": "x" * (MAX_QUERY_CHARS + 1)},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": MAX_FOUND + 1},
        {"query": "x", "limit": True},
        {"query": "x", "limit": "5"},
        {"query": "x", "more": 1},
    ],
    ids=str,
)
async def test_what_does_not_fit_search_tools_is_said_to_the_model(
    leg: str, era: str, arguments: dict[str, Any]
) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        who = await of_era(at(alice), era)
        answer = (await who.call("search_tools", arguments)).result
    assert answer["isError"] is True
    assert answer["_meta"]["io.customhouse/refusal"]["code"] == "invalid_arguments"
    assert stand.pipeline.refusals == ["invalid_arguments"]


async def test_a_search_that_is_refused_finds_nothing() -> None:
    stand = searched()
    stand.pipeline.refusing = lambda call: Refused(BY_ID["rate_limited"])
    async with stand.open() as alice:
        answer = (await at(alice).call("search_tools", {"query": "now"})).result
    assert answer["isError"] is True
    assert "structuredContent" not in answer
