"""At the endpoint of a toolset there are the tools of the bundle that the caller may use, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.toolset import Toolset
from tests.edge.fakes import Knocker, Response, Stand
from tests.edge.older import initialize, session

pytestmark = pytest.mark.anyio

TOOLSETS = {
    "office": Toolset.of(["time/now", "docs/s*", "hidden/*", "docs/poisoned", "gone/x"]),
    "role": Toolset.of(["role:docs", "time/zones"]),
    "unseen": Toolset.of(["hidden/*"]),
    "papers": Toolset.of(["docs/*"]),
    "empty": Toolset(),
}


def _stand() -> Stand:
    return Stand(toolsets=TOOLSETS)


def _at(alice: Knocker, toolset: str, key: str = "alice-key") -> Knocker:
    return Knocker(alice.app, key, f"/mcp/t/{toolset}")


async def _names(who: Knocker) -> list[str]:
    return [tool["name"] for tool in (await who.ask("tools/list")).result["tools"]]


def _without_ids(answer: Response) -> Any:
    said = json.dumps(answer.json)
    return answer.status, [part for part in said.split('"') if len(part) != 26]


async def test_it_lists_what_is_in_the_bundle_and_the_caller_may_use() -> None:
    async with _stand().open() as alice:
        assert await _names(_at(alice, "office")) == ["docs_search", "time_now"]
        assert await _names(_at(alice, "office", "bob-key")) == ["time_now"]
        assert await _names(Knocker(alice.app, path="/token/mcp/t/office")) == [
            "docs_search",
            "time_now",
        ]


async def test_a_role_in_it_stands_for_what_that_role_may_use() -> None:
    async with _stand().open() as alice:
        assert await _names(_at(alice, "role")) == ["docs_mirrored", "docs_search", "time_zones"]
        # and gives nobody the rights of the role
        assert await _names(_at(alice, "role", "bob-key")) == ["time_zones"]


@pytest.mark.parametrize("era", ["modern", "older"])
async def test_a_tool_of_the_bundle_is_called_by_its_wire_name(era: str) -> None:
    stand = _stand()
    async with stand.open() as alice:
        who = _at(alice, "office")
        caller = who if era == "modern" else await session(who)
        answer = await caller.call("time_now", {"a": 1})
    assert json.loads(answer.result["content"][0]["text"]) == {"name": "now", "arguments": {"a": 1}}
    assert [call.object for call in stand.pipeline.governed] == ["tool/time/now"]


@pytest.mark.parametrize("era", ["modern", "older"])
@pytest.mark.parametrize(
    "name", ["time_zones", "docs_mirrored", "now", "hidden_secret", "docs_poisoned"]
)
async def test_a_tool_outside_it_is_not_to_be_told_apart_from_none(era: str, name: str) -> None:
    stand = _stand()
    async with stand.open() as alice:
        who = _at(alice, "office")
        caller = who if era == "modern" else await session(who)
        answers = [_without_ids(await caller.call(tool)) for tool in (name, "nope")]
    assert answers[0] == answers[1]
    assert "-32602" in str(answers[0])
    left_out = name in ("time_zones", "docs_mirrored", "now")
    assert (stand.pipeline.governed[0].definition is None) is left_out


async def test_what_a_toolset_leaves_out_cannot_be_read_or_completed_there() -> None:
    stand = _stand()
    async with stand.open() as alice:
        who = _at(alice, "papers")
        asked: dict[str, dict[str, Any]] = {
            "prompts/get": {"name": "docs_summarise"},
            "resources/read": {"uri": "file:///readme"},
            "completion/complete": {"ref": {"type": "ref/prompt", "name": "docs_summarise"}},
        }
        for method, params in asked.items():
            assert (await who.ask(method, params)).error["code"] == -32602
            assert (await alice.ask(method, params)).status == 200
        template = {"ref": {"type": "ref/resource", "uri": "file:///pages/{page}"}}
        assert (await who.ask("completion/complete", template)).error["code"] == -32602
        for method, member in {
            "prompts/list": "prompts",
            "resources/list": "resources",
            "resources/templates/list": "resourceTemplates",
        }.items():
            assert (await who.ask(method)).result[member] == []
            assert (await alice.ask(method)).result[member] != []


async def test_a_toolset_that_is_not_there_and_one_with_nothing_for_the_caller_are_one() -> None:
    stand = _stand()
    async with stand.open() as alice:
        paths = [
            "/mcp/t/nope",
            "/mcp/t/unseen",
            "/mcp/t/empty",
            "/mcp/t/",
            "/mcp/t/time",
            "/mcp/s/nope",
        ]
        refused = [
            _without_ids(await Knocker(alice.app, path=path).ask("tools/list")) for path in paths
        ]
        bob = await Knocker(alice.app, "bob-key", "/mcp/t/papers").ask("tools/list")
        opened = await initialize(_at(alice, "unseen"))
    assert refused == [refused[0]] * len(paths)
    assert refused[0] == _without_ids(bob)
    assert opened.status == bob.status == 404
    assert stand.pipeline.refusals == ["unknown_object"] * (len(paths) + 2)


async def test_a_cursor_of_one_toolset_is_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.edge.lists.PAGE_ENTRIES", 1)
    async with _stand().open() as alice:
        office, papers = _at(alice, "office"), _at(alice, "papers")
        cursor = (await office.ask("tools/list")).result["nextCursor"]
        rest = (await office.ask("tools/list", {"cursor": cursor})).result["tools"]
        assert [tool["name"] for tool in rest] == ["time_now"]
        assert (await papers.ask("tools/list", {"cursor": cursor})).status == 400


async def test_a_session_of_one_toolset_is_none_of_another() -> None:
    async with _stand().open() as alice:
        older = await session(_at(alice, "office"))
        older.who.path = "/mcp/t/papers"
        assert (await older.call("docs_search")).status == 404


def test_an_item_that_names_nothing_is_refused() -> None:
    for item in (
        "",
        "/x",
        "docs/",
        "docs/a*b",
        "docs/**",
        "*",
        "*/x",
        "Docs/x",
        "d*/x",
        "docs_search",
        "role:",
        "role:*",
    ):
        with pytest.raises(ValueError, match="expected"):
            Toolset.of([item])


def test_an_item_holds_what_it_spells() -> None:
    bundle = Toolset.of(["docs/repo/search", "git/git_*", "all/*"])
    assert bundle.names("docs", "repo/search")
    assert bundle.names("git", "git_log")
    assert bundle.names("all", "x")
    assert not bundle.names("docs", "repo/searches")
    assert not bundle.names("git", "log")
    assert not bundle.names("al", "l/x")
    assert bundle.servers == {"docs", "git", "all"}
