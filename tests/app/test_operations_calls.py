"""A call by hand: governed as the agent's own would be, and the log says whose hand it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app.house import House
from gateway.app.operations.administration import Administration
from gateway.audit import entry as entries
from gateway.domain.operator import Exit, OperationRefused
from gateway.store import engine
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio
AUTHOR = "uid:1000 ann"
AMOUNT = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}


@asynccontextmanager
async def desk_with_tools(home: Household) -> AsyncIterator[tuple[House, Administration]]:
    home.policy("p, clerk, default, tool/shelf/*, call, -, allow")
    home.lists(tool("pay", schema=AMOUNT), tool("fail"))
    async with home.open() as (house, desk):
        agent = {"name": "bot", "roles": ["clerk"], "rate": "3/hour", "team": "sales"}
        await desk.operate(AUTHOR, "agent.add", agent)
        await desk.operate(AUTHOR, "agent.add", {"name": "guest"})
        table = {"command": home.shelf, "approve": "first-seen"}
        await desk.operate(AUTHOR, "server.add", {"name": "shelf", "table": table})
        await desk.operate(AUTHOR, "server.test", {"name": "shelf"})
        yield house, desk


async def call(desk: Administration, arguments: str = '{"amount":1}', **other: str) -> Any:
    args = {"agent": "bot", "server": "shelf", "name": "pay", "arguments": arguments} | other
    return await desk.operate(AUTHOR, "tool.call", args)


def stored(house: House) -> list[entries.Entry]:
    with engine.reading(house.database) as connection:
        rows = connection.execute("SELECT body FROM entries ORDER BY idx")
        return [entries.decode(body) for (body,) in rows]


async def test_the_call_is_the_agents_and_the_entry_before_it_names_the_operator(
    home: Household,
) -> None:
    async with desk_with_tools(home) as (house, desk):
        done = await call(desk)
        assert done["status"] == "ok"
        assert 'you said {"amount": 1}' in done["result"]["content"][0]["text"]
        change, intent, outcome = stored(house)[-3:]
        name = house.ledger.pseudonyms.name
        assert isinstance(change, entries.Change)
        assert isinstance(intent, entries.Intent)
        assert isinstance(outcome, entries.Outcome)
        assert (change.what, name(change.author)) == ("tool.call_as", AUTHOR)
        assert name(change.subject) == f"call/{done['call']}"
        assert (name(intent.who), name(intent.cred)) == ("bot", f"operator {AUTHOR}")
        assert intent.call == outcome.call == done["call"]
        assert done["charged"]["calls"] == 1


async def test_the_agents_rate_holds_for_the_operator_too(home: Household) -> None:
    async with desk_with_tools(home) as (_, desk):
        ends = [(await call(desk))["code"] for _ in range(4)]
        assert ends == ["", "", "", "rate_limited"]


async def test_another_rate_is_in_force_at_once_for_what_was_used_up_as_well(
    home: Household,
) -> None:
    """Three an hour are used up; under a million a second nobody waits out that hour."""
    async with desk_with_tools(home) as (house, desk):
        ends = [(await call(desk))["code"] for _ in range(4)]
        assert ends == ["", "", "", "rate_limited"]
        await desk.operate(AUTHOR, "agent.limit", {"name": "bot", "rate": "1000000/s"})
        assert (await call(desk))["code"] == ""
        done = await desk.operate(AUTHOR, "agent.limit", {"name": "bot", "clear": ["rate"]})
        assert done == {"name": "bot", "limits": [], "changed": True, "remarks": []}
        assert [(await call(desk))["code"] for _ in range(4)] == [""] * 4
        assert house.identity.agents["bot"].limits is None


async def test_another_budget_counts_what_was_spent_before_it_and_outlives_the_process(
    home: Household,
) -> None:
    async with desk_with_tools(home) as (house, desk):
        await desk.operate(AUTHOR, "agent.limit", {"name": "bot", "clear": ["rate"]})
        for _ in range(3):
            await call(desk)
        given = {"name": "bot", "budget": {"calls": "4/day"}, "reason": "pilot"}
        done = await desk.operate(AUTHOR, "agent.limit", given)
        assert (done["limits"], done["changed"]) == (["calls 4/day"], True)
        change = stored(house)[-1]
        assert isinstance(change, entries.Change)
        assert change.what == "agent.limit"
        assert house.ledger.pseudonyms.name(change.subject) == "agent/bot"
        assert not (await desk.operate(AUTHOR, "agent.limit", given))["changed"]
        assert [(await call(desk))["code"] for _ in range(2)] == ["", "over_budget"]
        await desk.operate(AUTHOR, "agent.limit", {"name": "bot", "rate": "900/min"})
    async with home.open() as (house, desk):
        held = house.identity.agents["bot"].limits
        assert held is not None
        assert (str(held.rate), held.budgets) == ("900/min", {("calls", "day"): 4})
        assert house.identity.agents["bot"].roles == ("clerk",)
        assert (await call(desk))["code"] == "over_budget"


async def test_a_refusal_tells_the_operator_what_the_agent_would_not_learn(home: Household) -> None:
    async with desk_with_tools(home) as (_, desk):
        done = await call(desk, agent="guest")
        assert (done["status"], done["code"]) == ("refused", "forbidden")
        assert "default deny" in done["decision"]
        assert "clerk" in done["decision"]


async def test_a_tool_that_fails_and_arguments_that_do_not_fit(home: Household) -> None:
    async with desk_with_tools(home) as (_, desk):
        assert (await call(desk, name="fail"))["status"] == "tool_error"
        done = await call(desk, '{"amount":"one"}')
        assert done["code"] == "invalid_arguments"


@pytest.mark.parametrize(
    ("arguments", "other", "code"),
    [
        pytest.param("[1]", {}, Exit.USAGE, id="arguments that are no object"),
        pytest.param('{"a":1}{"b":2}', {}, Exit.USAGE, id="two objects"),
        pytest.param('{"a":1,"a":2}', {}, Exit.USAGE, id="a key twice"),
        pytest.param('{"a":NaN}', {}, Exit.USAGE, id="not a number"),
        pytest.param('{"a":"\\ud800"}', {}, Exit.USAGE, id="half a surrogate pair"),
        pytest.param("{" * 5000, {}, Exit.USAGE, id="deep nonsense"),
        pytest.param("{}", {"agent": "nobody"}, Exit.NO, id="nobody"),
    ],
)
async def test_what_makes_no_sense_is_not_called(
    home: Household, arguments: str, other: dict[str, str], code: Exit
) -> None:
    async with desk_with_tools(home) as (house, desk):
        before = house.ledger.log.next_leaf
        with pytest.raises(OperationRefused) as refused:
            await call(desk, arguments, **other)
        assert refused.value.exit_code is code
        assert house.ledger.log.next_leaf == before


async def test_nothing_is_called_as_a_disabled_agent(home: Household) -> None:
    async with desk_with_tools(home) as (_, desk):
        await desk.operate(AUTHOR, "agent.disable", {"name": "bot"})
        with pytest.raises(OperationRefused, match="disabled"):
            await call(desk)


async def test_reading_payloads_is_an_entry(home: Household) -> None:
    async with home.open() as (house, desk):
        subject = "call/" + "0" * 26
        await desk.operate(AUTHOR, "audit.payload_read", {"subject": subject})
        change = stored(house)[-1]
        assert isinstance(change, entries.Change)
        assert change.what == "audit.payload_read"
        assert house.ledger.pseudonyms.name(change.subject) == subject
        with pytest.raises(OperationRefused):
            await desk.operate(AUTHOR, "audit.payload_read", {"subject": "everything"})
