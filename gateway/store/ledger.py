"""Commit A and commit B: the only maker of permits, and the only one who settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.budget import digest_of
from gateway.domain.catalogue import Catalogue
from gateway.domain.checks import too_fast
from gateway.domain.meter import ESTIMATOR
from gateway.domain.model import (
    Amounts,
    Call,
    Decision,
    Outcome,
    Permit,
    Principal,
    Replayed,
    Settlement,
    Verdict,
)
from gateway.domain.refusal import Refused
from gateway.domain.run import RunLimits
from gateway.store.admission import Admission, Consents, Gate, LimitsOf
from gateway.store.admission import StaleDecision as StaleDecision  # raised from here
from gateway.store.changes import put_change
from gateway.store.charge import ceiling, is_underreported, result_tokens, used
from gateway.store.conclusion import Conclusions
from gateway.store.conclusion import LogUnavailable as LogUnavailable  # raised from here
from gateway.store.counters import Counters
from gateway.store.log import Log, commit_to
from gateway.store.particulars import Particulars, limits_held, named
from gateway.store.pseudonyms import Pseudonyms
from gateway.store.refusals import Refusals, plain
from gateway.store.replays import Earlier, Replays, outside_its_run
from gateway.store.runs import Runs
from gateway.store.writer import Effect, WriteFailed

COUNTERS_EVERY = 10_000


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
        runs: RunLimits | None = None,
        consents: Consents | None = None,
        replays: Replays | None = None,
    ) -> None:
        """*replays*: None: idempotency keys are refused, for nobody could keep to them."""
        self.log = log
        self.counters = counters
        self.pseudonyms = pseudonyms
        self.refusals = refusals
        self.runs = Runs(runs or RunLimits(), lambda: counters.purses)
        self.replays = replays
        self._particulars = Particulars(pseudonyms)
        self._conclusions = Conclusions(log, counters)
        self._gate = Gate(
            log=log,
            counters=counters,
            particulars=self._particulars,
            refusals=refusals,
            limits_of=limits_of,
            catalogue=catalogue,
            policy_version=policy_version,
            runs=self.runs,
            consents=consents,
        )
        self.closed_by = self._gate.closed_by  # why -> what callers are told; empty: open
        self.in_flight = self._conclusions.in_flight  # by leaf of the intent
        self.unknown = self._conclusions.unknown  # sent, but their outcome did not reach the disk
        self.recovered = self._conclusions.recovered

    # -- the two commits --------------------------------------------------------------------------

    async def admit(self, call: Call, decision: Decision) -> Permit | Replayed:
        """Check *call*, hold its ceiling, and make its intent durable; or find that it was made before.

        Raises: Refused: the refusal is logged. StaleDecision: nothing happened, decide again.
        A crash after return leaves an orphan; recovery closes it.
        """
        if call.round > 1 or not call.key or decision.verdict is Verdict.DENY:
            return await self.hold(call.keyless(), decision)
        await self._gate.stop_when_closed(call)
        try:
            earlier = await self._earlier(call)
        except Refused as refused:
            await self._gate.enter_refusal(call, decision, refused)
            raise
        if earlier.outcome is None:
            return await self.hold(earlier.call, decision)
        again = earlier.call
        await self._enter(self._told_again(again), decision.approved(), replays=earlier.leaf)
        limits, accounts = self._gate.limits(again), self._particulars.accounts(again)
        left = self.counters.purses.left(accounts, limits, self.log.last_us)
        settlement = Settlement(earlier.leaf, Amounts(), left)
        return Replayed(earlier.call, earlier.outcome, settlement)

    async def hold(self, call: Call, decision: Decision) -> Permit:
        """As `admit`, of a call that is not a repetition. Raises: as `admit`."""
        await self._gate.stop_when_closed(call)
        admission = await self._gate.let_in(call, decision, ceiling(call))
        permit, durable = self._intend(admission)
        try:
            await durable
        except WriteFailed as err:
            self._over(permit)
            raise Refused(no.LOG_UNAVAILABLE, call.id) from err
        except asyncio.CancelledError:
            self._over(permit)
            self._conclusions.never_sent(permit)
            raise
        self.in_flight[permit.leaf] = permit
        return permit

    async def enter(self, call: Call, decision: Decision) -> None:
        """Check *call* and make its one entry durable.

        Raises: Refused, StaleDecision: as `admit`.
        """
        await self._gate.stop_when_closed(call)
        await self._enter(call, decision)

    async def settle(self, permit: Permit, outcome: Outcome) -> Settlement:
        """Make the outcome durable, charge what was used, release the rest.

        Raises: LogUnavailable: it is not durable, the final frame must be withheld.
        """
        if is_underreported(permit, outcome):
            outcome = outcome.underreported()
        charged = used(permit, outcome)
        try:
            leaf = await self._conclusions.settle(permit, outcome, charged)
        finally:
            self._over(permit)
        limits = self._gate.limits(permit.call)
        left = self.counters.purses.left(permit.accounts, limits, self.log.last_us)
        return Settlement(leaf, charged, left)

    def close_intent(
        self,
        leaf: int,
        call_id: str,
        charged: Amounts,
        *,
        outcome: Outcome,
        by: Literal["", "recovery", "drain"],
    ) -> asyncio.Future[None]:
        """As `Conclusions.close_intent`: of what nobody comes back for."""
        return self._conclusions.close_intent(leaf, call_id, charged, outcome=outcome, by=by)

    # -- refusals, rates and administration -------------------------------------------------------

    async def refuse(
        self, refused: Refused, principal: Principal | None, address: str, method: str
    ) -> None:
        """Enter a refusal that came before there was a call; strangers are never awaited."""
        if self.log.closed:
            return
        now_us = self.log.stamp()
        written = self.refusals.of_request(refused, principal, address, method, now_us)
        await self._gate.durable(written, refused.call_id)

    def take_rate(self, call: Call) -> None:
        """Rate a call that is never logged singly. Raises: Refused: RATE_LIMITED."""
        now_us = self.log.stamp()
        accounts, limits = self._particulars.accounts(call), self._gate.limits(call)
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
        about: str = "",
        digest: str = "",
        prior: str = "",
        note: str = "",
        effects: Sequence[Effect] = (),
    ) -> None:
        """Make an act of administration durable, with its *effects*, in one commit.

        *about*: an account, where what it is about has no name in the table of names.
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
            about=about,
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
        state = self.counters.purses.canonical(t)
        entry = entries.Counters(i=leaf, t=t, digest=digest_of(state))
        self.counters.last_state_leaf = leaf
        return self.log.put(
            entry, effects=(("INSERT INTO counter_states VALUES (?,?)", (leaf, state)),)
        )

    # -- commit A ---------------------------------------------------------------------------------

    async def _earlier(self, call: Call) -> Earlier:
        if self.replays is None:
            raise Refused(no.BAD_PARAMS, call.id, {"problem": "idempotency keys are not kept here"})
        return await self.replays.earlier(call, self.log.stamp())

    async def _enter(self, call: Call, decision: Decision, replays: int = 0) -> None:
        admission = await self._gate.let_in(call, decision, Amounts())
        self._use(admission)
        self.counters.take_rate(admission.accounts, admission.limits, admission.now_us)
        entry = entries.Single(
            i=self.log.next_leaf,
            t=admission.now_us,
            policy=decision.policy_version,
            acc=admission.accounts,
            actors=self._particulars.actors(call.principal),
            replays=replays,
            **self._particulars.of_call(call),
        )
        await self._gate.durable(self.log.put(entry, call.id), call.id)

    def _told_again(self, call: Call) -> Call:
        """*call*, whose answer is given again: also of a run that has reached its end meanwhile."""
        accounts = self._particulars.accounts(call)
        problem = self.runs.problem(call, accounts, self.log.stamp())
        is_over = problem is not None and problem.refusal is not no.RUN_STOPPED
        return outside_its_run(call) if is_over else call

    def _intend(self, admission: Admission) -> tuple[Permit, asyncio.Future[None]]:
        self._use(admission)
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
            actors=self._particulars.actors(call.principal),
            definition=definition.digest if definition else "",
            trace=plain(call.trace),
            approval=admission.approval,
            key=call.key and Replays.mark(call),
            **self._particulars.of_call(call),
        )
        durable = self.log.put(entry, call.id, kept)
        self.counters.take_rate(admission.accounts, admission.limits, now_us)
        self.counters.purses.hold(leaf, admission.accounts, admission.hold, now_us)
        self.runs.began(call, admission.accounts)
        if call.key and self.replays is not None:
            self.replays.began(call)
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
            approval=admission.approval,
        )
        return permit, durable

    def _use(self, admission: Admission) -> None:
        """Use the approval up. It is put before what it allows: a crash in between wastes it."""
        if admission.approval and self._gate.consents is not None:
            self._gate.consents.use(admission.approval, admission.call, admission.now_us)

    def _over(self, permit: Permit) -> None:
        """Whoever waits for the same call under the same key can look what came of it."""
        if permit.call.key and self.replays is not None:
            self.replays.ended(permit.call)
