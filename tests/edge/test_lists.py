"""Lists hold what the caller may see, and the gateway says of itself what is true."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.domain.model import Kind
from gateway.edge.house import Settings
from tests.edge.definitions import BASIC, catalogue, definition, tool
from tests.edge.fakes import FakeSnapshot, Knocker, Response, Stand

pytestmark = pytest.mark.anyio


def _names(response: Response, member: str, key: str = "name") -> list[str]:
    return [entry[key] for entry in response.result[member]]


async def test_tools_of_all_servers_are_listed_under_their_wire_names() -> None:
    async with Stand().open() as alice:
        listed = await alice.ask("tools/list")
    names = ["docs_mirrored", "docs_search", "time_now", "time_zones"]
    assert _names(listed, "tools") == names
    assert listed.result["cacheScope"] == "private"


async def test_what_is_hidden_quarantined_or_not_approved_is_nowhere() -> None:
    async with Stand().open() as alice:
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            said = (await alice.ask(method)).body
            for word in (b"secret", b"hidden", b"poisoned", b"proposed"):
                assert word not in said


async def test_at_a_servers_endpoint_its_own_names_are_listed_raw() -> None:
    async with Stand().open() as alice:
        alice.path = "/mcp/s/time"
        listed = await alice.ask("tools/list")
    assert _names(listed, "tools") == ["now", "zones"]
    assert b'"vendor":{"kept":1.1}' in listed.body


async def test_each_caller_gets_an_own_list() -> None:
    stand = Stand()
    async with stand.open() as alice:
        first = await alice.ask("tools/list")
        second = await Knocker(stand.border, "bob-key").ask("tools/list")
        third = await alice.ask("tools/list")
    assert _names(second, "tools") == ["time_now", "time_zones"]
    assert _names(first, "tools") == _names(third, "tools") != _names(second, "tools")


async def test_a_list_is_kept_until_the_policy_or_the_catalogue_changes() -> None:
    stand = Stand()
    async with stand.open() as alice:
        await alice.ask("tools/list")
        asked = stand.policies.current.asked
        await alice.ask("tools/list")
        assert stand.policies.current.asked == asked

        stand.catalogue = catalogue([*BASIC, tool("time", "added")], version=2)
        assert "time_added" in _names(await alice.ask("tools/list"), "tools")

        stand.policies.current = _Blind("policy-2")
        assert _names(await alice.ask("tools/list"), "tools") == []


class _Blind(FakeSnapshot):
    def visible(self, principal: Any, definitions: Any) -> Any:
        return ()


async def test_every_list_answer_is_one_entry_with_its_own_call_id() -> None:
    stand = Stand()
    async with stand.open() as alice:
        ids = [
            (await alice.ask("tools/list")).result["_meta"]["io.customhouse/call"]["call_id"]
            for _ in range(2)
        ]
    assert ids == [call.id for call in stand.pipeline.entered]
    assert len(set(ids)) == 2


async def test_resources_and_templates_are_listed_but_not_a_uri_that_two_servers_know() -> None:
    stand = Stand()
    async with stand.open() as alice:
        assert _names(await alice.ask("resources/list"), "resources", "uri") == ["file:///readme"]
        listed = await alice.ask("resources/templates/list")
        assert _names(listed, "resourceTemplates", "uriTemplate") == ["file:///pages/{page}"]
        bob = Knocker(stand.border, "bob-key")
        assert _names(await bob.ask("resources/list"), "resources", "uri") == ["file:///shared"]


async def test_a_long_list_comes_in_pages_that_hold_everything_once() -> None:
    stand = Stand()
    stand.catalogue = catalogue(tool("many", f"t{number:05d}") for number in range(2_500))
    names: list[str] = []
    async with stand.open() as alice:
        page = await alice.ask("tools/list")
        while True:
            names += _names(page, "tools")
            cursor = page.result.get("nextCursor")
            if cursor is None:
                break
            page = await alice.ask("tools/list", {"cursor": cursor})
    assert names == [f"many_t{number:05d}" for number in range(2_500)]


async def test_a_cursor_of_another_list_is_refused() -> None:
    stand = Stand()
    stand.catalogue = catalogue(tool("many", f"t{number:05d}") for number in range(1_001))
    async with stand.open() as alice:
        cursor = (await alice.ask("tools/list")).result["nextCursor"]
        stand.catalogue = catalogue(stand.catalogue.definitions, version=2)
        nested = base64.urlsafe_b64encode(b"[" * 200_000).decode()
        unmarked = ("1000", "1000.", "1000." + "0" * 32, "\u0661000." + "0" * 32, "9" * 300)
        for stale in (cursor, "x", "", 7, "W10=", "bnVsbA==", nested, nested[:200], *unmarked):
            answer = await alice.ask("tools/list", {"cursor": stale})
            assert answer.status == 400
            assert answer.error["code"] == -32602
    assert set(stand.pipeline.refusals) == {"bad_cursor"}


async def test_a_cursor_reveals_no_revision_and_is_good_for_its_caller_and_list_only() -> None:
    stand = Stand()
    many = [tool("many", f"t{number:05d}") for number in range(1_001)]
    async with stand.open() as alice:
        cursors = []
        for version in (41_207, 41_208):
            stand.catalogue = catalogue(many, version=version)
            cursors.append((await alice.ask("tools/list")).result["nextCursor"])
        first, mark = cursors[1].split(".")
        assert first == "1000"
        assert bytes.fromhex(mark)
        assert cursors[0] != cursors[1]
        assert "result" in (await alice.ask("tools/list", {"cursor": cursors[1]})).json
        for who, method in (
            (Knocker(stand.border, "bob-key"), "tools/list"),
            (alice, "prompts/list"),
        ):
            assert (await who.ask(method, {"cursor": cursors[1]})).error["code"] == -32602
    other = Stand(catalogue=stand.catalogue)
    async with other.open() as alice:
        assert (await alice.ask("tools/list")).result["nextCursor"] != cursors[1]


async def test_the_cache_is_bounded() -> None:
    stand = Stand(settings=Settings(max_list_bytes=1))
    async with stand.open() as alice:
        first = await alice.ask("tools/list")
        assert first.result["tools"] == (await alice.ask("tools/list")).result["tools"]


async def test_discover_offers_what_there_is_and_no_more() -> None:
    stand = Stand()
    async with stand.open() as alice:
        said = (await alice.ask("server/discover")).result
    assert said["supportedVersions"] == ["2026-07-28"]
    assert said["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }
    assert "instructions" not in said
    assert [call.kind for call in stand.pipeline.entered] == [Kind.SERVER]


async def test_a_servers_endpoint_says_what_the_server_says_of_itself() -> None:
    async with Stand().open() as alice:
        alice.path = "/mcp/s/time"
        assert (await alice.ask("server/discover")).result["instructions"] == (
            "Ask for the time politely."
        )


async def test_an_endpoint_that_is_not_there_and_one_that_is_not_to_be_seen_are_one() -> None:
    stand = Stand()
    answers = []
    async with stand.open() as alice:
        for path in ("/mcp/s/nope", "/mcp/s/hidden", "/mcp/s/", "/mcp/s/time/x", "/mcp/s/../time"):
            alice.path = path
            answers.append(await alice.ask("tools/list"))
    assert {answer.status for answer in answers} == {404}
    told = [answer.body.replace(b"%019d" % (n + 1), b"") for n, answer in enumerate(answers)]
    assert len(set(told)) == 1
    assert stand.pipeline.refusals == ["unknown_object"] * 5


async def test_a_name_with_characters_that_json_escapes_is_listed_and_called() -> None:
    odd = 'say "hi" \\ ü'
    stand = Stand()
    stand.catalogue = catalogue(
        [definition("time", Kind.TOOL, odd, inputSchema={"type": "object"})]
    )
    async with stand.open() as alice:
        alice.path = "/mcp/s/time"
        assert _names(await alice.ask("tools/list"), "tools") == [odd]
