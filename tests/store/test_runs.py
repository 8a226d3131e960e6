"""Limits of a run: of all its calls together, whoever makes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import entry as entries
from gateway.domain.model import Amounts, Call, Grant, Outcome, Permit, Principal, Status
from gateway.domain.refusal import Refused
from gateway.domain.run import RunLimits, run_account
from tests.store.world import ANN, RESULT, World

RUN = "run-0001"
BOB = replace(ANN, subject="bob")

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


def in_run(world: World, **changes: Any) -> Call:
    given = {"arguments": {"n": world.calls}, "run": RUN, **changes}
    return replace(world.call(), **given)


async def held(world: World, call: Call) -> Permit:
    return await world.ledger.hold(call, world.allow())


async def made(world: World, call: Call, outcome: Outcome = RESULT) -> None:
    await world.ledger.settle(await held(world, call), outcome)


async def refused(world: World, call: Call) -> Refused:
    with pytest.raises(Refused) as caught:
        await held(world, call)
    return caught.value


async def test_a_hundred_calls_at_once_on_a_run_of_fifty_are_fifty(world: World) -> None:
    world.run_limits = RunLimits(calls=50, fan_out=0)
    async with world.open():
        ends = await asyncio.gather(
            *(made(world, in_run(world, principal=(ANN, BOB)[n % 2])) for n in range(100)),
            return_exceptions=True,
        )
    refusals = [end for end in ends if isinstance(end, Refused)]
    assert len(refusals) == 50
    assert {(no.refusal.id, no.detail["scope"]) for no in refusals} == {("over_budget", "run")}


async def test_what_a_run_has_spent_is_remembered_over_a_restart(world: World) -> None:
    world.run_limits = RunLimits(calls=2)
    async with world.open():
        await made(world, in_run(world))
    async with world.open():
        await made(world, in_run(world))
        no = await refused(world, in_run(world))
    assert no.refusal.id == "over_budget"


async def test_a_run_of_another_tenant_is_another_run(world: World) -> None:
    world.run_limits = RunLimits(calls=1)
    async with world.open():
        await made(world, in_run(world))
        await made(world, in_run(world, principal=replace(ANN, tenant="other")))
        no = await refused(world, in_run(world))
        runs = {e.run for e in world.stored() if isinstance(e, entries.Intent)}
    assert no.detail["scope"] == "run"
    assert runs == {run_account("default", RUN), run_account("other", RUN)}


async def test_the_entries_of_a_run_say_so_and_others_say_nothing(world: World) -> None:
    async with world.open():
        await made(world, in_run(world))
        await made(world, in_run(world, run=""))
        first, second = (e for e in world.stored() if isinstance(e, entries.Intent))
    assert first.run == first.acc[4] == run_account("default", RUN)
    assert (second.run, len(second.acc)) == ("", 4)


async def test_as_many_calls_are_open_at_once_as_the_fan_out(world: World) -> None:
    world.run_limits = RunLimits(fan_out=2)
    async with world.open():
        first = await held(world, in_run(world))
        await held(world, in_run(world, principal=BOB))
        no = await refused(world, in_run(world))
        assert (no.refusal.id, no.detail["scope"]) == ("run_limit", "fan_out")
        await world.ledger.settle(first, RESULT)
        await held(world, in_run(world))


async def test_a_run_ends_when_its_time_is_over(world: World) -> None:
    world.run_limits = RunLimits(wall_s=60)
    async with world.open():
        await made(world, in_run(world))
        world.clock.advance(59)
        await made(world, in_run(world))
        world.clock.advance(1)
        no = await refused(world, in_run(world))
    assert (no.refusal.id, no.detail["scope"]) == ("run_limit", "wall_s")


async def test_the_same_call_again_and_again_is_a_loop(world: World) -> None:
    world.run_limits = RunLimits(repeats=3)
    async with world.open():
        for who in (ANN, BOB, ANN):
            await made(world, in_run(world, principal=who, arguments={"q": "x"}))
        no = await refused(world, in_run(world, arguments={"q": "x"}))
        await made(world, in_run(world, arguments={"q": "y"}))
        await made(world, in_run(world, arguments={"q": "x"}, run="run-0002"))
    assert no.refusal.id == "loop"


async def test_calls_that_cause_one_another_go_only_so_deep(world: World) -> None:
    world.run_limits = RunLimits(depth=2)
    async with world.open():
        parent = ""
        for _ in range(3):
            call = in_run(world, parent=parent)
            assert not parent or world.ledger.runs.caused(call)
            await made(world, call)
            parent = call.id
        no = await refused(world, in_run(world, parent=parent))
    assert (no.refusal.id, no.detail["scope"]) == ("run_limit", "depth")


async def test_agents_that_act_for_one_another_go_only_so_deep_in_no_run_either(
    world: World,
) -> None:
    world.run_limits = RunLimits(depth=1)
    async with world.open():
        deep = replace(ANN, actors=("bob", "carol"))
        no = await refused(world, in_run(world, run="", principal=deep))
    assert (no.refusal.id, no.detail["scope"]) == ("run_limit", "depth")


async def test_a_call_of_another_run_is_no_parent(world: World) -> None:
    async with world.open():
        first = in_run(world)
        await made(world, first)
        other = in_run(world, run="run-0002", parent=first.id)
        assert not world.ledger.runs.caused(other)


async def test_a_stopped_run_makes_no_further_call(world: World) -> None:
    async with world.open():
        await made(world, in_run(world))
        world.ledger.runs.stopped.add(run_account("default", RUN))
        no = await refused(world, in_run(world))
    assert no.refusal.id == "run_stopped"


def granted(*grants: Grant) -> Principal:
    return replace(ANN, grants=grants)


async def test_a_grant_is_spent_by_its_token_and_by_all_that_came_from_it(world: World) -> None:
    parent = Grant("jti-parent", budget=(("calls", 2),))
    child = Grant("jti-child", budget=(("calls", 1),))
    async with world.open():
        await made(world, in_run(world, run="", principal=granted(child, parent)))
        no = await refused(world, in_run(world, run="", principal=granted(child, parent)))
        assert (no.refusal.id, no.detail["scope"]) == ("over_budget", "grant")
        await made(world, in_run(world, run="", principal=granted(parent)))
        no = await refused(world, in_run(world, run="", principal=granted(parent)))
        assert no.refusal.id == "over_budget"
        intents = [e for e in world.stored() if isinstance(e, entries.Intent)]
    assert [len(entry.acc) for entry in intents] == [7, 6]
    assert intents[0].acc[4] == ""
    assert intents[0].chain == intents[0].acc[5:]


async def test_nothing_sent_is_nothing_spent_of_a_run(world: World) -> None:
    world.run_limits = RunLimits(calls=1)
    async with world.open():
        await made(world, in_run(world), Outcome(Status.FAILED, sent=False))
        await made(world, in_run(world))
        purse = world.ledger.counters.purses.purse(
            run_account("default", RUN), "life", world.clock()
        )
    assert purse.charged == Amounts(tokens=purse.charged.tokens, calls=1)
