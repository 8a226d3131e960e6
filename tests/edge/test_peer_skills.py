"""A skill of a peer is listed, found and called like a tool, in both eras and on both legs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.definition import canonical, digest
from gateway.domain.model import Act, Approval, Definition, Kind
from gateway.domain.toolset import Toolset
from tests.edge.definitions import definition, tool
from tests.edge.fakes import Knocker, Stand
from tests.edge.older import initialize
from tests.edge.searching import LEGS, either_way, of_era

pytestmark = pytest.mark.anyio

CARD = {"name": "Billing", "supportedInterfaces": [{"url": "http://10.0.0.9/a2a"}]}
SCHEMA = {"type": "object", "properties": {"message": {"type": "string"}}}


def skill(name: str, peer: str = "billing", approval: Approval = Approval.APPROVED) -> Definition:
    body = canonical({"name": name, "description": f"to {name}", "inputSchema": SCHEMA})
    wired = f"a2a_{peer}_{name}"
    return Definition(peer, Kind.PEER, name, wired, body, digest(body), approval)


def _card(peer: str) -> Definition:
    body = canonical({"instructions": json.dumps(CARD)})
    return Definition(peer, Kind.SERVER, "", "", body, digest(body), Approval.APPROVED)


def _stand(leg: str = "own") -> Stand:
    definitions = (
        tool("time", "now"),
        skill("quote"),
        skill("pay", approval=Approval.QUARANTINED),
        skill("spy", peer="hidden"),
        definition("gpt", Kind.MODEL, "gpt"),
    )
    servers = {
        "time": ServerView(),
        "gpt": ServerView(kind=Kind.MODEL),
        **{
            name: ServerView(instructions=_card(name), kind=Kind.PEER)
            for name in ("billing", "hidden")
        },
    }
    toolsets = {"office": Toolset.of(["billing/quo*"]), "other": Toolset.of(["time/now"])}
    return Stand(
        settings=LEGS[leg], catalogue=Catalogue(1, definitions, servers), toolsets=toolsets
    )


async def _listed(who: Any) -> list[str]:
    return [one["name"] for one in (await who.ask("tools/list")).result["tools"]]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/mcp", ["a2a_billing_quote", "time_now"]),
        ("/mcp/s/billing", ["quote"]),
        ("/mcp/t/office", ["a2a_billing_quote"]),
        ("/mcp/t/other", ["time_now"]),
    ],
)
@either_way
async def test_what_the_caller_may_ask_is_listed_with_the_tools(
    leg: str, era: str, path: str, names: list[str]
) -> None:
    async with _stand(leg).open() as alice:
        assert await _listed(await of_era(Knocker(alice.app, path=path), era)) == names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mcp", "a2a_billing_quote"),
        ("/mcp/s/billing", "quote"),
        ("/mcp/t/office", "a2a_billing_quote"),
    ],
)
@either_way
async def test_a_skill_is_called_as_what_it_is(leg: str, era: str, path: str, name: str) -> None:
    stand = _stand(leg)
    async with stand.open() as alice:
        caller = await of_era(Knocker(alice.app, path=path), era)
        answer = await caller.call(name, {"message": "how much?"})
    said = {"name": "quote", "arguments": {"message": "how much?"}}
    assert json.loads(answer.result["content"][0]["text"]) == said
    [call] = stand.pipeline.governed
    assert (call.object, call.act, call.method) == ("peer/billing/quote", Act.CALL, "tools/call")
    assert call.definition == stand.catalogue.find("billing", Kind.PEER, "quote")


@either_way
async def test_a_skill_is_found_by_words_and_called_where_it_was_found(leg: str, era: str) -> None:
    stand = _stand(leg)
    async with stand.open() as alice:
        caller = await of_era(Knocker(alice.app, path="/mcp/search"), era)
        found = (await caller.call("search_tools", {"query": "quote"})).result["structuredContent"]
        [one] = found["tools"]
        assert (one["name"], one["inputSchema"]) == ("a2a_billing_quote", SCHEMA)
        await caller.call("call_tool", {"name": one["name"], "arguments": {"message": "x"}})
    assert stand.pipeline.governed[-1].object == "peer/billing/quote"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/mcp", "a2a_billing_pay"),
        ("/mcp", "a2a_hidden_spy"),
        ("/mcp", "quote"),
        ("/mcp", "gpt"),
        ("/mcp/s/billing", "pay"),
        ("/mcp/s/billing", "a2a_billing_quote"),
        ("/mcp/t/other", "a2a_billing_quote"),
    ],
)
@either_way
async def test_what_is_not_for_the_caller_reads_like_nothing(
    leg: str, era: str, path: str, name: str
) -> None:
    async with _stand(leg).open() as alice:
        caller = await of_era(Knocker(alice.app, path=path), era)
        answers = [await caller.call(one) for one in (name, "nope")]
    errors = [{**answer.error, "data": None} for answer in answers]
    assert errors[0] == errors[1]
    assert errors[0]["code"] == -32602


@either_way
async def test_a_card_is_no_instruction_for_users_of_the_skills(leg: str, era: str) -> None:
    async with _stand(leg).open() as alice:
        who = Knocker(alice.app, path="/mcp/s/billing")
        if era == "modern":
            said = (await who.ask("server/discover")).body
        else:
            said = (await initialize(who)).body
    assert b"10.0.0.9" not in said
    assert b"instructions" not in said


async def test_a_model_is_no_place_for_tools() -> None:
    async with _stand().open() as alice:
        models = await Knocker(alice.app, path="/mcp/s/gpt").ask("tools/list")
        nowhere = await Knocker(alice.app, path="/mcp/s/nowhere").ask("tools/list")
    assert (models.status, models.error["code"]) == (nowhere.status, nowhere.error["code"])
