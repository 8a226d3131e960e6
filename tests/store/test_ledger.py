"""The two commits, on a real database."""

import asyncio
from pathlib import Path

import anyio
import pytest

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.budget import Limits
from gateway.domain.model import Approval, Decision, Status, Verdict
from gateway.domain.rate import Rate
from gateway.domain.refusal import Refused
from gateway.store.ledger import LogUnavailable, StaleDecision
from tests.store.world import RESULT, World, tool

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


async def test_the_intent_is_on_disk_when_admit_returns(world: World) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call(), world.allow())

        [_, intent] = world.stored()
        assert isinstance(intent, entries.Intent)
        assert intent.i == permit.leaf
        assert intent.hold == permit.held
        assert intent.rule == 3


async def test_the_outcome_is_on_disk_when_settle_returns(world: World) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call("pay"), world.allow())
        settlement = await world.ledger.settle(permit, RESULT)

        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert outcome.intent == permit.leaf
        assert outcome.used == settlement.charged
        assert settlement.charged.cost == 500
        assert settlement.charged.tokens == permit.argument_tokens + 4


async def test_a_denied_call_leaves_a_refusal_and_no_intent(world: World) -> None:
    denied = Decision(Verdict.DENY, "p1", rule=7)
    async with world.open():
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), denied)

        assert refused.value.refusal is no.FORBIDDEN
        [_, entry] = world.stored()
        assert isinstance(entry, entries.Refused)
        assert (entry.code, entry.rule) == ("forbidden", 7)


async def test_a_decision_of_an_older_policy_is_made_again(world: World) -> None:
    async with world.open():
        old = world.allow()
        world.policy_version = "p2"
        with pytest.raises(StaleDecision):
            await world.ledger.admit(world.call(), old)
        assert len(world.stored()) == 1


async def test_a_definition_that_changed_since_it_was_decided_on_is_decided_again(
    world: World,
) -> None:
    async with world.open():
        before = world.call(definition=tool("add", digest="e" * 64))
        with pytest.raises(StaleDecision):
            await world.ledger.admit(before, world.allow())


async def test_a_quarantined_definition_reads_like_an_unknown_one(world: World) -> None:
    world.definitions = (tool("add", approval=Approval.QUARANTINED),)
    async with world.open():
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), world.allow())
        assert refused.value.refusal is no.QUARANTINED
        assert refused.value.shown is no.UNKNOWN_OBJECT


async def test_two_hundred_concurrent_calls_on_a_budget_for_one_hundred(world: World) -> None:
    world.limits = (None, None, Limits(budgets={("calls", "day"): 100}), None)
    async with world.open():

        async def one() -> str:
            try:
                permit = await world.ledger.admit(world.call(), world.allow())
            except Refused as refused:
                return refused.refusal.id
            await world.ledger.settle(permit, RESULT)
            return "ok"

        ends = await asyncio.gather(*(one() for _ in range(200)))

    assert sorted(set(ends)) == ["ok", "over_budget"]
    assert ends.count("ok") == 100


async def test_a_rate_is_taken_by_admission_and_says_when_there_is_room_again(world: World) -> None:
    world.limits = (None, None, Limits(rate=Rate.parse("2/min")), None)
    async with world.open():
        for _ in range(2):
            await world.ledger.admit(world.call(), world.allow())
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), world.allow())
        assert refused.value.detail["retry_after_ms"] == 30_000

        world.clock.advance(30)
        await world.ledger.admit(world.call(), world.allow())


async def test_rates_and_balances_survive_a_restart(world: World) -> None:
    world.limits = (
        None,
        None,
        Limits(rate=Rate.parse("2/min"), budgets={("calls", "day"): 3}),
        None,
    )
    async with world.open():
        for _ in range(2):
            permit = await world.ledger.admit(world.call(), world.allow())
            await world.ledger.settle(permit, RESULT)
    async with world.open():
        with pytest.raises(Refused) as too_soon:
            await world.ledger.admit(world.call(), world.allow())
        world.clock.advance(60)
        await world.ledger.admit(world.call(), world.allow())
        with pytest.raises(Refused) as spent:
            await world.ledger.admit(world.call(), world.allow())
    assert too_soon.value.refusal is no.RATE_LIMITED
    assert spent.value.refusal is no.OVER_BUDGET


async def test_an_orphan_is_closed_as_unknown_and_charged_in_full(world: World) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call(), world.allow())
    async with world.open():
        assert world.orphans == 1
        closed = world.stored()[-2]
        assert isinstance(closed, entries.Outcome)
        assert (closed.status, closed.by) == (Status.UNKNOWN, "recovery")
        assert closed.used == permit.held
        assert not world.ledger.counters.purses.open_holds()


async def test_a_caller_that_leaves_before_commit_a_owes_nothing(world: World) -> None:
    async with world.open():
        task = asyncio.create_task(world.ledger.admit(world.call(), world.allow()))
        await asyncio.sleep(0)  # the intent is queued now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(2):  # the intent is durable; then its outcome is
            await world.ledger.log.carry_out(())
        closed = world.stored()[-1]
        assert isinstance(closed, entries.Outcome)
        assert closed.status is Status.NOT_SENT
        assert closed.used.calls == 0


async def test_a_clock_more_than_five_seconds_behind_admits_nothing(world: World) -> None:
    async with world.open():
        await world.ledger.admit(world.call(), world.allow())
        world.clock.advance(-6)
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), world.allow())
        assert refused.value.refusal is no.CLOCK_BEHIND

        world.clock.advance(2)
        permit = await world.ledger.admit(world.call(), world.allow())
        assert permit.admitted_us == world.ledger.log.last_us


async def test_when_a_commit_fails_its_callers_get_503_and_the_log_comes_back(world: World) -> None:
    async with world.open():
        in_flight = await world.ledger.admit(world.call(), world.allow())
        rescued = world.break_next_commit()
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), world.allow())
        assert refused.value.refusal is no.LOG_UNAVAILABLE
        with anyio.fail_after(5):
            await rescued.wait()

        await world.ledger.settle(in_flight, RESULT)
        await world.ledger.admit(world.call(), world.allow())
        kinds = [type(entry).__name__ for entry in world.stored()]
        assert kinds == ["Open", "Intent", "Recovery", "Outcome", "Intent"]


async def test_while_the_log_is_closed_nothing_is_admitted(world: World) -> None:
    async with world.open():
        world.rescuer.close()
        with pytest.raises(Refused) as refused:
            await world.ledger.admit(world.call(), world.allow())
        assert refused.value.refusal is no.LOG_UNAVAILABLE


async def test_a_settle_whose_commit_fails_is_tried_once_more_on_the_reopened_log(
    world: World,
) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call(), world.allow())
        world.break_next_commit()
        with anyio.fail_after(5):
            settlement = await world.ledger.settle(permit, RESULT)

        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert outcome.i == settlement.leaf
        assert outcome.status is Status.OK


async def test_an_intent_that_reached_the_disk_although_its_caller_got_503_is_not_charged(
    world: World,
) -> None:
    async with world.open():
        rescued = world.break_next_commit(after_the_disk_has_it=True)
        with pytest.raises(Refused):
            await world.ledger.admit(world.call(), world.allow())
        with anyio.fail_after(5):
            await rescued.wait()
        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert (outcome.status, outcome.used.calls) == (Status.NOT_SENT, 0)


async def test_an_outcome_that_reached_the_disk_is_not_written_twice(world: World) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call(), world.allow())
        world.break_next_commit(after_the_disk_has_it=True)
        with anyio.fail_after(5):
            await world.ledger.settle(permit, RESULT)
        outcomes = [e for e in world.stored() if isinstance(e, entries.Outcome)]
        assert len(outcomes) == 1


async def test_a_permit_is_settled_once(world: World) -> None:
    async with world.open():
        permit = await world.ledger.admit(world.call(), world.allow())
        await world.ledger.settle(permit, RESULT)
        with pytest.raises(LogUnavailable):
            await world.ledger.settle(permit, RESULT)


async def test_refusals_beyond_600_a_minute_fold_into_one_entry(world: World) -> None:
    denied = Decision(Verdict.DENY, "p1")
    async with world.open():
        for _ in range(620):
            with pytest.raises(Refused):
                await world.ledger.admit(world.call(), denied)
        world.ledger.refusals.flush(world.ledger.log.stamp())
        await world.ledger.log.carry_out(())
        stored = world.stored()
        assert sum(isinstance(e, entries.Refused) for e in stored) == 600
        folded = stored[-1]
        assert isinstance(folded, entries.Folded)
        assert (folded.count, folded.codes) == (20, {"forbidden": 20})


async def test_the_counters_entry_states_what_a_fold_from_the_beginning_gives(
    world: World,
) -> None:
    async with world.open():
        for _ in range(5):
            permit = await world.ledger.admit(world.call("pay"), world.allow())
            await world.ledger.settle(permit, RESULT)
        await world.ledger.state_entry()
        permit = await world.ledger.admit(world.call(), world.allow())
        at_us = world.ledger.log.last_us
        live = world.ledger.counters.purses.canonical(at_us)
    tail = world.build()
    assert tail.purses.canonical(at_us) == live
    assert tail.state_leaf == 11
