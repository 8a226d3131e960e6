"""The two commits when callers leave, disks fail and houses close."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.budget import Limits
from gateway.domain.model import Decision, Status, Verdict
from gateway.domain.rate import Rate
from gateway.domain.refusal import Refused
from gateway.jobs import recover
from gateway.jobs.recover import settle_in_flight
from gateway.store import conclusion
from gateway.store.ledger import LogUnavailable
from gateway.store.writer import WriteFailed
from tests.store.world import ANN, RESULT, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


async def test_a_denied_call_leaves_a_refusal_and_no_intent(world: World) -> None:
    denied = Decision(Verdict.DENY, "p1", rule=7)
    async with world.open():
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), denied)

        assert refused.value.refusal is no.FORBIDDEN
        [_, entry] = world.stored()
        assert isinstance(entry, entries.Refused)
        assert (entry.code, entry.rule) == ("forbidden", 7)


async def test_an_orphan_is_closed_as_unknown_and_charged_in_full(world: World) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
    async with world.open():
        assert world.orphans == 1
        closed = world.stored()[-2]
        assert isinstance(closed, entries.Outcome)
        assert (closed.status, closed.by) == (Status.UNKNOWN, "recovery")
        assert closed.used == permit.held
        assert not world.ledger.counters.purses.open_holds()


async def test_a_caller_that_leaves_before_commit_a_owes_nothing(world: World) -> None:
    async with world.open():
        task = asyncio.create_task(world.ledger.hold(world.call(), world.allow()))
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


async def test_when_a_commit_fails_its_callers_get_503_and_the_log_comes_back(world: World) -> None:
    async with world.open():
        in_flight = await world.ledger.hold(world.call(), world.allow())
        rescued = world.break_next_commit()
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.LOG_UNAVAILABLE
        with anyio.fail_after(5):
            await rescued.wait()

        await world.ledger.settle(in_flight, RESULT)
        await world.ledger.hold(world.call(), world.allow())
        kinds = [type(entry).__name__ for entry in world.stored()]
        assert kinds == ["Open", "Intent", "Recovery", "Outcome", "Intent"]


async def test_while_the_log_is_closed_nothing_is_admitted(world: World) -> None:
    async with world.open():
        world.rescuer.close()
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.LOG_UNAVAILABLE


async def test_a_settle_whose_commit_fails_is_tried_once_more_on_the_reopened_log(
    world: World,
) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
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
            await world.ledger.hold(world.call(), world.allow())
        with anyio.fail_after(5):
            await rescued.wait()
        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert (outcome.status, outcome.used.calls) == (Status.NOT_SENT, 0)


async def test_an_outcome_that_reached_the_disk_is_not_written_twice(world: World) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        world.break_next_commit(after_the_disk_has_it=True)
        with anyio.fail_after(5):
            await world.ledger.settle(permit, RESULT)
        outcomes = [e for e in world.stored() if isinstance(e, entries.Outcome)]
        assert len(outcomes) == 1


async def test_a_caller_that_leaves_while_its_outcome_is_written_leaves_nothing_open(
    world: World,
) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        settling = asyncio.create_task(world.ledger.settle(permit, RESULT))
        await asyncio.sleep(0)  # the outcome is queued now
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        assert await settle_in_flight(world.ledger) == 0
        await world.ledger.log.carry_out(())
        assert not world.ledger.in_flight
    async with world.open():
        assert world.orphans == 0
        outcomes = [e for e in world.stored() if isinstance(e, entries.Outcome)]
        assert [o.status for o in outcomes] == [Status.OK]


async def test_a_drain_closes_what_is_open_and_nothing_that_is_being_settled(world: World) -> None:
    async with world.open():
        open_still = await world.ledger.hold(world.call(), world.allow())
        permit = await world.ledger.hold(world.call(), world.allow())
        settling = asyncio.create_task(world.ledger.settle(permit, RESULT))
        await asyncio.sleep(0)
        assert await settle_in_flight(world.ledger) == 1
        await settling
        with pytest.raises(LogUnavailable):
            await world.ledger.settle(open_still, RESULT)
    async with world.open():
        outcomes = {e.intent: e for e in world.stored() if isinstance(e, entries.Outcome)}
        assert outcomes[permit.leaf].status is Status.OK
        assert (outcomes[open_still.leaf].status, outcomes[open_still.leaf].by) == (
            Status.UNKNOWN,
            "drain",
        )


async def test_an_outcome_lost_with_its_commit_after_its_caller_left_is_charged_in_full(
    world: World,
) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        rescued = world.break_next_commit()
        settling = asyncio.create_task(world.ledger.settle(permit, RESULT))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        with anyio.fail_after(5):
            await rescued.wait()
        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert (outcome.status, outcome.used) == (Status.UNKNOWN, permit.held)


async def test_between_two_tries_to_reopen_the_log_nothing_is_put(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "FIRST_RETRY_S", 0.0)
    failures = iter([OSError(28, "no space left on device")] * 2)
    closed: list[bool] = []

    async def gather(*waits: Awaitable[None]) -> list[None]:
        """What recovery waits for; twice the disk fails under it, with the log already open."""
        closed.append(world.ledger.log.closed)
        for failure in failures:
            world.writer.broken = True
            raise failure
        return await asyncio.gather(*waits)

    async with world.open():
        rescued = world.break_next_commit()
        waiting = SimpleNamespace(**{**vars(asyncio), "gather": gather})
        monkeypatch.setattr(recover, "asyncio", waiting)
        with pytest.raises(Refused):
            await world.ledger.hold(world.call(), world.allow())
        while not rescued.is_set():
            with suppress(Refused):  # callers keep coming
                await world.ledger.refuse(Refused(no.BAD_HOST, "x"), ANN, "127.0.0.1", "")
            await asyncio.sleep(0)
        await world.ledger.hold(world.call(), world.allow())
        assert closed == [False, False, False]
        assert [entry.i for entry in world.stored()] == list(range(len(world.stored())))


@pytest.mark.parametrize("leaves", [True, False], ids=["the caller leaves", "it takes too long"])
async def test_a_settle_given_up_during_recovery_is_closed_by_it_and_charged_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr(conclusion, "RECOVERY_WAIT_S", 60.0 if leaves else 0.01)
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        mended = world.break_next_commit()
        closed = asyncio.Event()

        def close(_failed: WriteFailed) -> None:  # nobody mends it yet
            world.rescuer.close()
            closed.set()

        world.writer.on_broken = close
        settling = asyncio.create_task(world.ledger.settle(permit, RESULT))
        with anyio.fail_after(5):
            await closed.wait()
            await asyncio.sleep(0)  # the settle hears of it, and waits for the log
            if leaves:
                settling.cancel()
            with pytest.raises(asyncio.CancelledError if leaves else LogUnavailable):
                await settling
            await world.rescuer.after_failed_commit()
        assert not mended.is_set()
        assert not world.ledger.counters.purses.open_holds()
        assert not world.ledger.unknown
        outcome = world.stored()[-1]
        assert isinstance(outcome, entries.Outcome)
        assert (outcome.status, outcome.by) == (Status.UNKNOWN, "recovery")
        assert outcome.used == permit.held


async def test_a_settle_given_up_just_after_recovery_is_closed_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        rescued = world.break_next_commit()

        def open_and_leave(recovery: recover.Recovery) -> None:
            settling.cancel()  # the log is open again, and recovery has passed its hold by
            opened(recovery)

        opened = recover.Recovery._open
        monkeypatch.setattr(recover.Recovery, "_open", open_and_leave)
        settling = asyncio.create_task(world.ledger.settle(permit, RESULT))
        with anyio.fail_after(5):
            with pytest.raises(asyncio.CancelledError):
                await settling
            await rescued.wait()
            await world.ledger.log.carry_out(())
        assert not world.ledger.counters.purses.open_holds()
        assert not world.ledger.in_flight
        assert not world.ledger.unknown
        [outcome] = [e for e in world.stored() if isinstance(e, entries.Outcome)]
        assert (outcome.status, outcome.used) == (Status.UNKNOWN, permit.held)


async def test_after_a_failed_commit_a_rate_counts_each_call_once(world: World) -> None:
    world.limits = (None, None, Limits(rate=Rate(4, 60_000_000)), None)
    async with world.open():
        for _ in range(2):
            await world.ledger.hold(world.call(), world.allow())
        rescued = world.break_next_commit()
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.LOG_UNAVAILABLE
        with anyio.fail_after(5):
            await rescued.wait()
        for _ in range(2):
            await world.ledger.hold(world.call(), world.allow())
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.RATE_LIMITED


async def test_whatever_breaks_the_writer_its_callers_hear_of_it(world: World) -> None:
    async with world.open():
        rescued = world.break_next_commit()
        too_large = (("INSERT INTO counter_states VALUES (?, x'00')", (2**63,)),)
        with anyio.fail_after(5), pytest.raises(WriteFailed):
            await world.ledger.log.carry_out(too_large)
        with anyio.fail_after(5):
            await rescued.wait()
        await world.ledger.hold(world.call(), world.allow())


async def test_a_permit_is_settled_once(world: World) -> None:
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        await world.ledger.settle(permit, RESULT)
        with pytest.raises(LogUnavailable):
            await world.ledger.settle(permit, RESULT)
