"""Commit A and commit B: the only maker of permits, and the only one who settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import anyio

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.budget import Limits
from gateway.domain.catalogue import Catalogue
from gateway.domain.checks import Standing, first_refusal, too_fast
from gateway.domain.meter import ESTIMATOR
from gateway.domain.model import (
    Amounts,
    Call,
    Decision,
    Outcome,
    Permit,
    Principal,
    Settlement,
    Status,
)
from gateway.domain.refusal import Refusal, Refused
from gateway.store.changes import put_change
from gateway.store.charge import ceiling, result_tokens, used
from gateway.store.counters import Counters
from gateway.store.log import ClockBehind, Log, commit_to
from gateway.store.particulars import Particulars, limits_held, named
from gateway.store.pseudonyms import SUBJECT, Pseudonyms
from gateway.store.refusals import Refusals, plain
from gateway.store.writer import Effect, WriteFailed

COUNTERS_EVERY = 10_000
RECOVERY_WAIT_S = 10.0

LimitsOf = Callable[[Principal, str], tuple[Limits | None, ...]]  # tenant, team, agent, tool


class StaleDecision(Exception):
    """The policy or the definition changed since the decision was made; decide again."""


class LogUnavailable(Exception):
    """It is not durable: a final frame must be withheld, a change did not happen."""


class Admission(NamedTuple):
    """Everything that is known of a call at the instant it asks to be admitted."""

    call: Call
    decision: Decision
    now_us: int
    accounts: tuple[str, ...]
    limits: tuple[Limits | None, ...]
    hold: Amounts


class Ledger:
    """Checks, holds and index assignment run without an await; the writer persists in that order."""

    def __init__(
        self,
        *,
        log: Log,
        counters: Counters,
        pseudonyms: Pseudonyms,
        refusals: Refusals,
        limits_of: LimitsOf,
        catalogue: Callable[[], Catalogue],
        policy_version: Callable[[], str],
    ) -> None:
        self.log = log
        self.counters = counters
        self.pseudonyms = pseudonyms
        self.refusals = refusals
        self._particulars = Particulars(pseudonyms)
        self._limits_of = limits_of
        self._catalogue = catalogue
        self._policy_version = policy_version
        self.closed_by: dict[str, Refusal] = {}  # why -> what callers are told; empty: open
        self.in_flight: dict[int, Permit] = {}  # by leaf of the intent
        self.unknown: set[int] = set()  # sent, but their outcome did not reach the disk
        self.recovered = asyncio.Event()

    # -- the two commits --------------------------------------------------------------------------

    async def admit(self, call: Call, decision: Decision) -> Permit:
        """Check *call*, hold its ceiling, and make its intent durable.

        Raises: Refused: the refusal is logged. StaleDecision: nothing happened, decide again.
        A crash after return leaves an orphan; recovery closes it.
        """
        await self._stop_when_closed(call)
        admission = self._admission(call, decision, ceiling(call))
        await self._stop_at_a_refusal(admission)
        permit, durable = self._intend(admission)
        try:
            await durable
        except WriteFailed as err:
            raise Refused(no.LOG_UNAVAILABLE, call.id) from err
        except asyncio.CancelledError:
            # The intent is queued: leaving does not call it back. What is put behind it is
            # written after it, so it is durable when that is.
            behind = self.log.carry_out(())
            behind.add_done_callback(lambda done: self._never_sent(permit, done))
            raise
        self.in_flight[permit.leaf] = permit
        return permit

    async def enter(self, call: Call, decision: Decision) -> None:
        """Check *call* and make its one entry durable.

        Raises: Refused, StaleDecision: as `admit`.
        """
        await self._stop_when_closed(call)
        admission = self._admission(call, decision, Amounts())
        await self._stop_at_a_refusal(admission)
        self.counters.take_rate(admission.accounts, admission.limits, admission.now_us)
        entry = entries.Single(
            i=self.log.next_leaf,
            t=admission.now_us,
            policy=decision.policy_version,
            acc=admission.accounts,
            **self._particulars.of_call(call),
        )
        await self._durable(self.log.put(entry, call.id), call.id)

    async def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """Make the outcome durable, charge what was used, release the rest.

        Raises: LogUnavailable: it is not durable, the final frame must be withheld.
        """
        if permit.leaf not in self.in_flight:
            raise LogUnavailable(f"call {permit.call.id} was settled before it came back")
        charged = used(permit, outcome)
        leaf = self.log.next_leaf
        try:
            await self._conclude(permit, outcome, charged)
        except WriteFailed:
            leaf = await self._settle_later(permit, outcome, charged)
        except asyncio.CancelledError:
            self._give_up(permit)
            raise
        self.in_flight.pop(permit.leaf, None)
        limits = self._limits(permit.call)
        left = self.counters.purses.left(permit.accounts, limits, self.log.last_us)
        return Settlement(leaf, charged, left)

    # -- refusals, rates and administration -------------------------------------------------------

    async def refuse(
        self, refused: Refused, principal: Principal | None, address: str, method: str
    ) -> None:
        """Enter a refusal that came before there was a call; strangers are never awaited."""
        if self.log.closed:
            return
        now_us = self.log.stamp()
        written = self.refusals.of_request(refused, principal, address, method, now_us)
        if written is not None:
            await self._durable(written, refused.call_id)

    def take_rate(self, call: Call) -> None:
        """Rate a call that is never logged singly. Raises: Refused: RATE_LIMITED."""
        now_us = self.log.stamp()
        accounts, limits = self._particulars.accounts(call), self._limits(call)
        wait = self.counters.wait(accounts, limits, now_us)
        if wait is not None:
            raise too_fast(call, wait)
        self.counters.take_rate(accounts, limits, now_us)

    async def change(
        self,
        what: str,
        author: str,
        *,
        subject: str = "",
        digest: str = "",
        prior: str = "",
        note: str = "",
        effects: Sequence[Effect] = (),
    ) -> None:
        """Make an act of administration durable, with its *effects*, in one commit.

        Raises: LogUnavailable: nothing changed.
        """
        if self.log.closed:
            raise LogUnavailable(f"the log is closed: {what} was not written, nothing changed")
        written = put_change(
            self.log,
            self.pseudonyms,
            what,
            author,
            subject=subject,
            digest=digest,
            prior=prior,
            note=note,
            effects=effects,
        )
        try:
            await written
        except WriteFailed as err:
            raise LogUnavailable(f"{what} was not written, nothing changed") from err

    def state_entry(self) -> asyncio.Future[None]:
        """Write the digest of all purses, and their state beside it, so that recovery is short."""
        t, leaf = self.log.stamp(), self.log.next_leaf
        entry = entries.Counters(i=leaf, t=t, digest=self.counters.purses.digest(t))
        state = self.counters.purses.canonical(t)
        self.counters.last_state_leaf = leaf
        return self.log.put(
            entry, effects=(("INSERT INTO counter_states VALUES (?,?)", (leaf, state)),)
        )

    # -- checks -----------------------------------------------------------------------------------

    async def _stop_when_closed(self, call: Call) -> None:
        for refusal in self.closed_by.values():
            refused = Refused(refusal, call.id)
            if not self.log.closed:
                await self._enter_refusal(call, None, refused, self.log.stamp())
            raise refused

    def _admission(self, call: Call, decision: Decision, hold: Amounts) -> Admission:
        if decision.policy_version != self._policy_version():
            raise StaleDecision
        try:
            now_us = self.log.now()
        except ClockBehind as err:
            raise Refused(no.CLOCK_BEHIND, call.id) from err
        return Admission(
            call, decision, now_us, self._particulars.accounts(call), self._limits(call), hold
        )

    async def _stop_at_a_refusal(self, admission: Admission) -> None:
        call, now_us = admission.call, admission.now_us
        accounts, limits, purses = admission.accounts, admission.limits, self.counters.purses
        catalogue = self._catalogue()
        refused = first_refusal(
            call,
            Standing(
                decision=admission.decision,
                definition=catalogue.current(call),
                served=catalogue.serves(call.server),
                now_us=now_us,
                wait=lambda: self.counters.wait(accounts, limits, now_us),
                shortfall=lambda: purses.room(accounts, limits, admission.hold, now_us),
                requests=catalogue.requests_of(call.server),
            ),
        )
        if refused is None:
            return
        if refused.refusal is no.POLICY_CHANGED:
            raise StaleDecision
        await self._enter_refusal(call, admission.decision, refused, now_us)
        raise refused

    async def _enter_refusal(
        self, call: Call, decision: Decision | None, refused: Refused, now_us: int
    ) -> None:
        written = self.refusals.of_call(call, decision, refused, now_us)
        if written is not None:  # else it was folded
            await self._durable(written, call.id)

    # -- commit A ---------------------------------------------------------------------------------

    def _intend(self, admission: Admission) -> tuple[Permit, asyncio.Future[None]]:
        call, decision, now_us = admission.call, admission.decision, admission.now_us
        leaf = self.log.next_leaf
        definition = call.definition
        commitment, kept = commit_to(named(call))
        entry = entries.Intent(
            i=leaf,
            t=now_us,
            round=call.round,
            acc=admission.accounts,
            args=commitment,
            rule=decision.rule,
            policy=decision.policy_version,
            conds=dict(decision.conditions),
            hold=admission.hold,
            limits=limits_held(admission.accounts, admission.limits),
            meter=ESTIMATOR,
            parent=call.parent,
            actors=tuple(self.pseudonyms.of(SUBJECT, a) for a in call.principal.actors),
            definition=definition.digest if definition else "",
            trace=plain(call.trace),
            **self._particulars.of_call(call),
        )
        durable = self.log.put(entry, call.id, kept)
        self.counters.take_rate(admission.accounts, admission.limits, now_us)
        self.counters.purses.hold(leaf, admission.accounts, admission.hold, now_us)
        if leaf - self.counters.last_state_leaf >= COUNTERS_EVERY:
            self.state_entry()
        ceiling_tokens = result_tokens(call)
        permit = Permit(
            call=call,
            leaf=leaf,
            held=admission.hold,
            accounts=admission.accounts,
            argument_tokens=admission.hold.tokens - ceiling_tokens,
            ceiling_tokens=ceiling_tokens,
        )
        return permit, durable

    def _limits(self, call: Call) -> tuple[Limits | None, ...]:
        return self._limits_of(call.principal, call.server)

    # -- commit B ---------------------------------------------------------------------------------

    def _conclude(self, permit: Permit, outcome: Outcome, charged: Amounts) -> asyncio.Future[None]:
        return self.close_intent(permit.leaf, permit.call.id, charged, outcome=outcome, by="")

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
        if not self.log.closed:
            self.counters.purses.settle(leaf, charged)
        commitment, kept = "", b""
        if outcome.result or outcome.error:
            commitment, kept = commit_to(outcome.result or outcome.error)
        entry = entries.Outcome(
            i=self.log.next_leaf,
            t=self.log.stamp(),
            call=call_id,
            intent=leaf,
            status=outcome.status,
            bytes=outcome.received_bytes,
            used=charged,
            ms=int(outcome.upstream_s * 1000),
            code=outcome.code,
            count=outcome.count,
            result=commitment,
            by=by,
        )
        return self.log.put(entry, call_id, kept)

    async def _settle_later(self, permit: Permit, outcome: Outcome, charged: Amounts) -> int:
        """Try the settle once more, on the log as it was re-read."""
        try:
            with anyio.fail_after(RECOVERY_WAIT_S):
                await self.recovered.wait()
            leaf = self.log.next_leaf
            # The failed commit may have reached the disk after all: then the hold is settled.
            if permit.leaf in self.counters.purses.open_holds():
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
        if not self.log.closed and leaf in self.counters.purses.open_holds():
            outcome = Outcome(Status.UNKNOWN)
            ended = self.close_intent(
                leaf, permit.call.id, permit.held, outcome=outcome, by="recovery"
            )
        else:
            ended = self.log.carry_out(())  # behind what is queued: it tells how that ended
        ended.add_done_callback(lambda done: self._ended(leaf, done))

    def _ended(self, leaf: int, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.unknown.discard(leaf)

    def _never_sent(self, permit: Permit, done: asyncio.Future[None]) -> None:
        """The caller left while its intent was being written: nothing was sent, nothing is owed."""
        if done.cancelled() or done.exception() is not None or self.log.closed:
            return  # recovery closes what the disk kept
        outcome = Outcome(Status.NOT_SENT)
        self._conclude(permit, outcome, Amounts())

    async def _durable(self, written: asyncio.Future[None], call_id: str) -> None:
        try:
            await written
        except WriteFailed as err:
            raise Refused(no.LOG_UNAVAILABLE, call_id) from err
