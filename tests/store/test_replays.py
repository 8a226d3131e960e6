"""The same call again, under the same idempotency key."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.audit import entry as entries
from gateway.domain.model import (
    Amounts,
    Call,
    Decision,
    Outcome,
    Permit,
    Principal,
    Replayed,
    Status,
    Verdict,
)
from gateway.domain.refusal import Refused
from gateway.domain.run import RunLimits, run_account, run_of_key
from gateway.store import engine, outcomes, replays
from tests.store.world import ANN, RESULT, STATE, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


def keyed(world: World, **changes: Any) -> Call:
    return replace(world.call(arguments={"a": 1}, key="order-7"), **changes)


async def admitted(world: World, call: Call) -> Permit:
    permit = await world.ledger.admit(call, world.allow())
    assert isinstance(permit, Permit)
    return permit


async def replayed(world: World, call: Call) -> Replayed:
    found = await world.ledger.admit(call, world.allow())
    assert isinstance(found, Replayed)
    return found


async def refused(world: World, call: Call) -> Refused:
    with pytest.raises(Refused) as caught:
        await world.ledger.admit(call, world.allow())
    return caught.value


async def made(world: World, call: Call, outcome: Outcome = RESULT) -> Permit:
    permit = await admitted(world, call)
    await world.ledger.settle(permit, outcome)
    return permit


async def test_the_same_call_again_has_the_recorded_result_and_no_second_intent(
    world: World,
) -> None:
    async with world.open():
        first = await made(world, keyed(world))
        again = await replayed(world, keyed(world))
        assert again.outcome.result == RESULT.result
        assert again.call.id == first.call.id
        assert again.settlement.charged == Amounts()
        intents = [e for e in world.stored() if isinstance(e, entries.Intent)]
        single = world.stored()[-1]
    assert len(intents) == 1
    assert isinstance(single, entries.Single)
    assert single.replays == first.leaf
    assert single.call == first.call.id


async def test_it_is_the_same_after_a_restart(world: World) -> None:
    async with world.open():
        first = await made(world, keyed(world))
    async with world.open():
        again = await replayed(world, keyed(world))
    assert (again.call.id, again.outcome.result) == (first.call.id, RESULT.result)


@pytest.mark.parametrize(
    "changes",
    [{"arguments": {"a": 2}}, {"name": "pay"}, {"method": "tools/other"}],
    ids=["arguments", "object", "method"],
)
async def test_another_call_under_the_same_key_is_refused(
    world: World, changes: dict[str, Any]
) -> None:
    async with world.open():
        await made(world, keyed(world))
        no = await refused(world, keyed(world, **changes))
        last = world.stored()[-1]
    assert no.refusal.id == "key_reused"
    assert isinstance(last, entries.Refused)
    assert last.code == "key_reused"


@pytest.mark.parametrize(
    "who",
    [replace(ANN, subject="bob"), replace(ANN, tenant="other"), replace(ANN, actors=("bob",))],
    ids=["another agent", "another tenant", "on behalf"],
)
async def test_a_key_of_somebody_else_is_another_key(world: World, who: Principal) -> None:
    async with world.open():
        mine = await made(world, keyed(world))
        theirs = await admitted(world, keyed(world, principal=who))
        assert theirs.call.id != mine.call.id
        again = await replayed(world, keyed(world))
    assert again.call.id == mine.call.id


async def test_of_concurrent_duplicates_one_is_made_and_the_others_wait_for_it(
    world: World,
) -> None:
    async with world.open():
        with anyio.fail_after(10):
            permit = await admitted(world, keyed(world))
            waiting = [asyncio.create_task(replayed(world, keyed(world))) for _ in range(20)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in waiting)
            await world.ledger.settle(permit, RESULT)
            found = await asyncio.gather(*waiting)
        assert {one.call.id for one in found} == {permit.call.id}
        assert sum(isinstance(e, entries.Intent) for e in world.stored()) == 1


async def test_of_duplicates_that_come_at_once_exactly_one_is_made(world: World) -> None:
    async with world.open():

        async def ask() -> str:
            found = await world.ledger.admit(keyed(world), world.allow())
            if isinstance(found, Permit):
                await world.ledger.settle(found, RESULT)
            return type(found).__name__

        with anyio.fail_after(10):
            came = await asyncio.gather(*(ask() for _ in range(50)))
    assert came.count("Permit") == 1


async def test_what_was_never_sent_may_be_made_under_the_same_key(world: World) -> None:
    async with world.open():
        await made(world, keyed(world), Outcome(Status.FAILED, sent=False))
        await made(world, keyed(world))
        again = await replayed(world, keyed(world))
    assert again.outcome.result == RESULT.result


async def test_a_failure_that_may_have_had_an_effect_is_told_again_and_not_repeated(
    world: World,
) -> None:
    async with world.open():
        await made(world, keyed(world), Outcome(Status.FAILED, code="upstream_timeout"))
        again = await replayed(world, keyed(world))
    assert (again.outcome.status, again.outcome.code) == (Status.FAILED, "upstream_timeout")


async def test_an_orphan_is_unknown_and_never_made_again(world: World) -> None:
    async with world.open():
        await admitted(world, keyed(world))
    async with world.open():
        assert world.orphans == 1
        no = await refused(world, keyed(world))
    assert no.refusal.id == "outcome_unknown"


async def test_a_call_that_its_caller_gave_up_after_it_was_sent_is_unknown(world: World) -> None:
    async with world.open():
        await made(world, keyed(world), Outcome(Status.CANCELLED))
        no = await refused(world, keyed(world))
    assert no.refusal.id == "outcome_unknown"


async def test_a_result_that_is_not_kept_is_said_to_be_gone(world: World) -> None:
    async with world.open():
        await made(world, keyed(world), replace(RESULT, result=b'"' + b"x" * 70_000 + b'"'))
        no = await refused(world, keyed(world))
    assert no.refusal.id == "result_gone"


async def test_a_result_that_was_altered_is_not_given(world: World) -> None:
    async with world.open():
        await made(world, keyed(world))
    with sqlite3.connect(world.path) as connection:
        connection.execute("UPDATE payloads SET sealed = zeroblob(length(sealed))")
    connection.close()
    async with world.open():
        no = await refused(world, keyed(world))
    assert no.refusal.id == "result_gone"


async def test_keys_end_after_a_day(world: World) -> None:
    async with world.open():
        first = await made(world, keyed(world))
        world.clock.advance(86_399)
        assert (await replayed(world, keyed(world))).call.id == first.call.id
        world.clock.advance(2)
        assert (await made(world, keyed(world))).call.id != first.call.id


async def test_whom_policy_denies_it_meanwhile_does_not_get_the_earlier_result(
    world: World,
) -> None:
    async with world.open():
        await made(world, keyed(world))
        denied = Decision(Verdict.DENY, "p1")
        with pytest.raises(Refused) as caught:
            await world.ledger.admit(keyed(world), denied)
    assert caught.value.refusal.id == "forbidden"


async def test_a_later_round_is_no_repetition(world: World) -> None:
    async with world.open():
        first = await made(world, keyed(world), replace(RESULT, status=Status.INPUT_REQUIRED))
        later = await admitted(world, keyed(world, id=first.call.id, round=2))
        await world.ledger.settle(later, replace(RESULT, result=b'{"content":[1]}'))
        again = await replayed(world, keyed(world))
    assert again.outcome.result == b'{"content":[1]}'


async def test_a_commit_that_fails_leaves_nobody_waiting(world: World) -> None:
    async with world.open():
        rescued = world.break_next_commit()
        no = await refused(world, keyed(world))
        assert no.refusal.id == "log_unavailable"
        with anyio.fail_after(10):
            await rescued.wait()
            await made(world, keyed(world))


@pytest.mark.parametrize("query", [replays.OF_CALL, outcomes.OF_CALL], ids=["replays", "outcomes"])
def test_looking_for_a_call_never_goes_through_the_whole_log(world: World, query: str) -> None:
    engine.prepare(world.path)
    with engine.reading(world.path) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",)).fetchall()
    assert any("entries_by_call" in str(row) for row in plan), plan


def begun(world: World) -> str:
    """The run that Ann's key begins now."""
    return run_of_key(STATE, ANN, "order-7", world.clock())


def runs_of(world: World, kind: type[entries.Intent | entries.Single]) -> list[str]:
    return [one.run for one in world.stored() if isinstance(one, kind)]


async def test_a_run_that_a_key_began_is_told_again_with_what_is_left_of_it(world: World) -> None:
    run = begun(world)
    async with world.open():
        first = await admitted(world, keyed(world, run=run))
        settled = await world.ledger.settle(first, RESULT)
        again = await replayed(world, keyed(world, run=run))
        assert again.call.run == run
        assert again.settlement.left == settled.left
        assert again.settlement.left["calls/run"] == RunLimits().calls - 1
        assert runs_of(world, entries.Single) == runs_of(world, entries.Intent)


async def test_past_midnight_the_run_of_the_day_before_is_told(world: World) -> None:
    yesterdays = begun(world)
    async with world.open():
        await made(world, keyed(world, run=yesterdays))
        world.clock.advance(86_399)
        assert begun(world) != yesterdays
        again = await replayed(world, keyed(world, run=begun(world)))
    assert again.call.run == yesterdays


@pytest.mark.parametrize("run", ["", "run-of-another"], ids=["none", "another"])
async def test_a_call_that_began_no_run_begins_none_when_it_is_repeated(
    world: World, run: str
) -> None:
    async with world.open():
        await made(world, keyed(world, run=run))
        again = await replayed(world, keyed(world, run=begun(world)))
        assert again.call.run == ""
        assert "calls/run" not in again.settlement.left
        assert runs_of(world, entries.Single) == [""]


async def test_an_answer_is_given_again_when_its_run_is_over_but_not_when_it_was_stopped(
    world: World,
) -> None:
    run = begun(world)
    async with world.open():
        await made(world, keyed(world, run=run))
        world.clock.advance(RunLimits().wall_s + 1)
        assert (await replayed(world, keyed(world, run=run))).call.run == run
        world.ledger.runs.stopped.add(run_account(ANN.tenant, run))
        assert (await refused(world, keyed(world, run=run))).refusal.id == "run_stopped"


async def test_nothing_is_answered_again_in_a_stopped_run_that_went_too_deep_as_well(
    world: World,
) -> None:
    world.run_limits = RunLimits(depth=1)
    run = "run-of-mine"
    async with world.open():
        await made(world, keyed(world, run=run))
        first = await made(world, keyed(world, run=run, key="order-8"))
        second = await made(world, keyed(world, run=run, key="order-9", parent=first.call.id))
        too_deep = keyed(world, run=run, parent=second.call.id)
        assert (await replayed(world, too_deep)).outcome.result == RESULT.result
        world.ledger.runs.stopped.add(run_account(ANN.tenant, run))
        assert (await refused(world, too_deep)).refusal.id == "run_stopped"


async def test_the_log_of_replays_verifies(world: World) -> None:
    async with world.open():
        await made(world, keyed(world))
        await replayed(world, keyed(world))
    with engine.reading(world.path) as connection:
        (n_intents,) = connection.execute(
            "SELECT count(*) FROM entries WHERE kind = 'intent'"
        ).fetchone()
    assert n_intents == 1
