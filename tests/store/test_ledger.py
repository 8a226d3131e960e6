"""The two commits, on a real database."""

import asyncio
from pathlib import Path

import pytest

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.budget import Limits
from gateway.domain.model import Act, Amounts, Approval, Decision, Outcome, Status, Verdict
from gateway.domain.rate import Rate
from gateway.domain.refusal import Refused
from gateway.store import engine
from gateway.store.ledger import StaleDecision
from gateway.store.particulars import named
from tests.store.world import RESULT, World, tool

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


async def test_the_intent_is_on_disk_when_admit_returns(world: World) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())

        [_, intent] = world.stored()
        assert isinstance(intent, entries.Intent)
        assert intent.i == permit.leaf
        assert intent.hold == permit.held
        assert intent.rule == 3


async def test_the_outcome_is_on_disk_when_settle_returns(world: World) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call("pay"), world.allow())
        settlement = await world.ledger.settle(permit, RESULT)

        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert outcome.intent == permit.leaf
        assert outcome.used == settlement.charged
        assert settlement.charged.cost == 500
        assert settlement.charged.tokens == permit.argument_tokens + 4


async def test_a_decision_of_an_older_policy_is_made_again(world: World) -> None:
    async with world.open():
        old = world.allow()
        world.policy_version = "p2"
        with pytest.raises(StaleDecision):
            await world.ledger.hold(world.call(), old)
        assert len(world.stored()) == 1


async def test_a_definition_that_changed_since_it_was_decided_on_is_decided_again(
    world: World,
) -> None:
    async with world.open():
        before = world.call(definition=tool("add", digest="e" * 64))
        with pytest.raises(StaleDecision):
            await world.ledger.hold(before, world.allow())


async def test_a_quarantined_definition_reads_like_an_unknown_one(world: World) -> None:
    world.definitions = (tool("add", approval=Approval.QUARANTINED),)
    async with world.open():
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.QUARANTINED
        assert refused.value.shown is no.UNKNOWN_OBJECT


async def test_two_hundred_concurrent_calls_on_a_budget_for_one_hundred(world: World) -> None:
    world.limits = (None, None, Limits(budgets={("calls", "day"): 100}), None)
    async with world.open():

        async def one() -> str:
            try:
                permit = await world.ledger.hold(world.call(), world.allow())
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
            await world.ledger.hold(world.call(), world.allow())
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.detail["retry_after_ms"] == 30_000

        world.clock.advance(30)
        await world.ledger.hold(world.call(), world.allow())


async def test_rates_and_balances_survive_a_restart(world: World) -> None:
    world.limits = (
        None,
        None,
        Limits(rate=Rate.parse("2/min"), budgets={("calls", "day"): 3}),
        None,
    )
    async with world.open():
        for _ in range(2):
            permit = await world.ledger.hold(world.call(), world.allow())
            await world.ledger.settle(permit, RESULT)
    async with world.open():
        with pytest.raises(Refused) as too_soon:
            await world.ledger.hold(world.call(), world.allow())
        world.clock.advance(60)
        await world.ledger.hold(world.call(), world.allow())
        with pytest.raises(Refused) as spent:
            await world.ledger.hold(world.call(), world.allow())
    assert too_soon.value.refusal is no.RATE_LIMITED
    assert spent.value.refusal is no.OVER_BUDGET


async def test_a_clock_more_than_five_seconds_behind_admits_nothing(world: World) -> None:
    async with world.open():
        await world.ledger.hold(world.call(), world.allow())
        world.clock.advance(-6)
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.CLOCK_BEHIND

        world.clock.advance(2)
        at_us = world.ledger.log.last_us
        await world.ledger.hold(world.call(), world.allow())
        assert world.ledger.log.last_us >= at_us


@pytest.mark.parametrize(
    ("outcome", "calls"),
    [
        (Outcome(Status.FAILED, code="upstream_refused"), 1),
        (Outcome(Status.FAILED, code="upstream_timeout"), 1),
        (Outcome(Status.CANCELLED), 1),
        (Outcome(Status.NOT_SENT), 0),
        (Outcome(Status.FAILED, code="upstream_unreachable", sent=False), 0),
        (Outcome(Status.FAILED, code="breaker_open", sent=False), 0),
    ],
    ids=["refused", "late", "left", "left before", "unreachable", "left alone"],
)
async def test_what_reached_the_upstream_is_charged_and_nothing_else(
    world: World, outcome: Outcome, calls: int
) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call("pay"), world.allow())
        settlement = await world.ledger.settle(permit, outcome)
    assert settlement.charged.calls == calls
    assert bool(settlement.charged.cost) is bool(calls)


async def test_what_is_passed_on_beside_the_arguments_is_metered_and_committed_to(
    world: World,
) -> None:
    meta = {"com.example/notes": b'"' + b"x" * 4000 + b'"'}
    async with world.open():
        plain = await world.ledger.hold(world.call(), world.allow())
        laden = await world.ledger.hold(world.call(meta=meta), world.allow())
    assert laden.argument_tokens - plain.argument_tokens > 1000
    assert b"x" * 4000 in named(laden.call)


async def test_a_refused_call_does_not_fill_the_disk(world: World) -> None:
    denied = Decision(Verdict.DENY, "p1")
    async with world.open():
        big = world.call(params={"arguments": b'{"a":"' + b"x" * 60_000 + b'"}'})
        with pytest.raises(Refused):
            await world.ledger.hold(big, denied)
    with engine.reading(world.path) as connection:
        assert connection.execute("SELECT count(*) FROM payloads").fetchone() == (0,)


async def test_a_flood_of_strangers_is_a_few_entries_and_no_memory(world: World) -> None:
    refused = Refused(no.NOT_AUTHENTICATED, "c")
    async with world.open():
        for number in range(5000):
            address = f"127.{number // 250}.{number % 250}.1"
            await world.ledger.refuse(refused, None, address, "tools/call")
            await world.ledger.refuse(refused, None, f"fd00:0:0:1::{number:x}", "tools/call")
        world.ledger.refusals.flush_all(world.ledger.log.stamp())
        await world.ledger.log.carry_out(())
        folded = [e for e in world.stored() if isinstance(e, entries.Folded)]
        assert len(folded) <= 65
        assert sum(e.count for e in folded) == 10_000
        assert not world.ledger.pseudonyms.all("a")


async def test_refusals_beyond_600_a_minute_fold_into_one_entry(world: World) -> None:
    denied = Decision(Verdict.DENY, "p1")
    async with world.open():
        for _ in range(620):
            with pytest.raises(Refused):
                await world.ledger.hold(world.call(), denied)
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
            permit = await world.ledger.hold(world.call("pay"), world.allow())
            await world.ledger.settle(permit, RESULT)
        await world.ledger.state_entry()
        permit = await world.ledger.hold(world.call(), world.allow())
        at_us = world.ledger.log.last_us
        live = world.ledger.counters.purses.canonical(at_us)
    tail = world.build()
    assert tail.purses.canonical(at_us) == live
    assert tail.state_leaf == 11


async def test_a_subscription_is_held_to_its_rate_and_to_no_budget(world: World) -> None:
    one = {("calls", "day"): 1, ("tokens", "day"): 1}
    world.limits = (None, None, Limits(rate=Rate.parse("2/hour"), budgets=one), None)
    async with world.open():
        for _ in range(2):
            call = world.call(act=Act.SUBSCRIBE, params={"uri": b'"' + b"x" * 100 + b'"'})
            permit = await world.ledger.hold(call, world.allow())
            outcome = Outcome(Status.CANCELLED, received_bytes=1_000_000, count=7)
            settlement = await world.ledger.settle(permit, outcome)
            assert (permit.held, settlement.charged) == (Amounts(), Amounts())
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(act=Act.SUBSCRIBE), world.allow())
    assert refused.value.refusal is no.RATE_LIMITED
    outcomes = [entry for entry in world.stored() if isinstance(entry, entries.Outcome)]
    assert [entry.count for entry in outcomes] == [7, 7]
