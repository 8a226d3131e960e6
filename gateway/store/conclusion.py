"""Commit B: what is in flight, and how each of it ends. Nobody else settles a permit."""

from __future__ import annotations

import asyncio
from typing import Literal

import anyio

from gateway.audit import entry as entries
from gateway.domain.model import Amounts, Outcome, Permit, Status
from gateway.store.counters import Counters
from gateway.store.log import Log, commit_to
from gateway.store.writer import WriteFailed

RECOVERY_WAIT_S = 10.0


class LogUnavailable(Exception):
    """It is not durable: a final frame must be withheld, a change did not happen."""


class Conclusions:
    """Every permit from the moment its intent is durable to the moment its outcome is."""

    def __init__(self, log: Log, counters: Counters) -> None:
        self._log = log
        self._counters = counters
        self.in_flight: dict[int, Permit] = {}  # by leaf of the intent
        self.unknown: set[int] = set()  # sent, but their outcome did not reach the disk
        self.recovered = asyncio.Event()

    async def settle(self, permit: Permit, outcome: Outcome, charged: Amounts) -> int:
        """Make the outcome durable and charge *charged*; returns the leaf of the outcome.

        Raises: LogUnavailable: it is not durable, the final frame must be withheld.
        """
        if permit.leaf not in self.in_flight:
            raise LogUnavailable(f"call {permit.call.id} was settled before it came back")
        leaf = self._log.next_leaf
        try:
            await self._conclude(permit, outcome, charged)
        except WriteFailed:
            leaf = await self._settle_later(permit, outcome, charged)
        except asyncio.CancelledError:
            self._give_up(permit)
            raise
        self.in_flight.pop(permit.leaf, None)
        return leaf

    def close_intent(
        self,
        leaf: int,
        call_id: str,
        charged: Amounts,
        *,
        outcome: Outcome,
        by: Literal["", "recovery", "drain"],
    ) -> asyncio.Future[None]:
        """Put the outcome of the intent at *leaf* and charge it, in one step of the event loop.

        Raises: ValueError: the log is open and the intent has no open hold; nothing was put.
        """
        if not self._log.closed:
            self._counters.purses.settle(leaf, charged)
        commitment, kept = "", b""
        if outcome.result or outcome.error:
            commitment, kept = commit_to(outcome.result or outcome.error)
        entry = entries.Outcome(
            i=self._log.next_leaf,
            t=self._log.stamp(),
            call=call_id,
            intent=leaf,
            status=outcome.status,
            bytes=outcome.received_bytes,
            used=charged,
            ms=int(outcome.upstream_s * 1000),
            code=outcome.code,
            count=outcome.count,
            result=commitment,
            said=tuple(outcome.usage) if outcome.usage else (),
            by=by,
        )
        return self._log.put(entry, call_id, kept)

    def never_sent(self, permit: Permit) -> None:
        """The caller left while the intent of *permit* was being written: nothing was sent or is owed.

        The intent is queued: leaving does not call it back. What is put behind it is written after
        it, so it is durable when that is.
        """

        def settle(done: asyncio.Future[None]) -> None:
            if done.cancelled() or done.exception() is not None or self._log.closed:
                return  # recovery closes what the disk kept
            self._conclude(permit, Outcome(Status.NOT_SENT), Amounts())

        self._log.carry_out(()).add_done_callback(settle)

    def _conclude(self, permit: Permit, outcome: Outcome, charged: Amounts) -> asyncio.Future[None]:
        return self.close_intent(permit.leaf, permit.call.id, charged, outcome=outcome, by="")

    async def _settle_later(self, permit: Permit, outcome: Outcome, charged: Amounts) -> int:
        """Try the settle once more, on the log as it was re-read."""
        try:
            with anyio.fail_after(RECOVERY_WAIT_S):
                await self.recovered.wait()
            leaf = self._log.next_leaf
            # The failed commit may have reached the disk after all: then the hold is settled.
            if permit.leaf in self._counters.purses.open_holds():
                await self._conclude(permit, outcome, charged)
        except (TimeoutError, WriteFailed) as err:
            self._give_up(permit)
            raise LogUnavailable(f"the outcome of call {permit.call.id} is not durable") from err
        except asyncio.CancelledError:
            self._give_up(permit)
            raise
        return leaf

    def _give_up(self, permit: Permit) -> None:
        """Nobody will settle *permit* any more: an outcome that is queued counts, else it is unknown."""
        leaf = permit.leaf
        self.in_flight.pop(leaf, None)
        self.unknown.add(leaf)  # until the disk has an outcome; recovery closes it, charged in full
        if not self._log.closed and leaf in self._counters.purses.open_holds():
            outcome = Outcome(Status.UNKNOWN)
            ended = self.close_intent(
                leaf, permit.call.id, permit.held, outcome=outcome, by="recovery"
            )
        else:
            ended = self._log.carry_out(())  # behind what is queued: it tells how that ended
        ended.add_done_callback(lambda done: self._ended(leaf, done))

    def _ended(self, leaf: int, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.unknown.discard(leaf)
