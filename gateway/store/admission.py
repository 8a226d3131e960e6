"""The gate before commit A: where a call stands at this instant, and the entry of every no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.domain import refusal as no
from gateway.domain.a2a import PUSHED
from gateway.domain.approval import Denied, Granted, Waiting
from gateway.domain.budget import Limits
from gateway.domain.catalogue import Catalogue
from gateway.domain.checks import Standing, first_refusal
from gateway.domain.model import Amounts, Call, Decision, Kind, Principal, Verdict
from gateway.domain.refusal import Refusal, Refused
from gateway.store.counters import Counters
from gateway.store.log import ClockBehind, Log
from gateway.store.particulars import Particulars
from gateway.store.refusals import Refusals
from gateway.store.runs import Runs, grant_limits
from gateway.store.writer import WriteFailed

LimitsOf = Callable[[Principal, str], tuple[Limits | None, ...]]  # tenant, team, agent, tool


class StaleDecision(Exception):
    """The policy or the definition changed since the decision was made; decide again."""


class Consents(Protocol):
    """Who was asked to approve what, and what they said. Nothing here awaits anything."""

    def standing(self, call: Call, decision: Decision, now_us: int) -> Granted | Waiting | Denied:
        """Where *call* stands, whose decision needs approval."""
        ...

    def ask(
        self, call: Call, decision: Decision, waiting: Waiting, now_us: int
    ) -> asyncio.Future[None]:
        """Queue the entry that asks for what `standing` found nobody was asked for."""
        ...

    def use(self, granted_id: str, call: Call, now_us: int) -> asyncio.Future[None]:
        """Queue the entry that uses it up: put directly before the intent, in the same step."""
        ...


class Admission(NamedTuple):
    """Everything that is known of a call at the instant it asks to be admitted."""

    call: Call
    decision: Decision
    now_us: int
    accounts: tuple[str, ...]
    limits: tuple[Limits | None, ...]
    hold: Amounts
    approval: str = ""  # the one that lets it pass


class Gate:
    def __init__(
        self,
        *,
        log: Log,
        counters: Counters,
        particulars: Particulars,
        refusals: Refusals,
        limits_of: LimitsOf,
        catalogue: Callable[[], Catalogue],
        policy_version: Callable[[], str],
        runs: Runs,
        consents: Consents | None,
    ) -> None:
        """*consents*: None: nobody can approve anything."""
        self._log = log
        self._counters = counters
        self._particulars = particulars
        self._refusals = refusals
        self._limits_of = limits_of
        self._catalogue = catalogue
        self._policy_version = policy_version
        self._runs = runs
        self.consents = consents
        self.closed_by: dict[str, Refusal] = {}  # why -> what callers are told; empty: open

    async def stop_when_closed(self, call: Call) -> None:
        for refusal in self.closed_by.values():
            refused = Refused(refusal, call.id)
            if not self._log.closed:
                await self._enter(call, None, refused, self._log.stamp())
            raise refused

    async def let_in(self, call: Call, decision: Decision, hold: Amounts) -> Admission:
        """The admission of *call*; what is done with it is done without an await in between.

        Raises: Refused: it is in the log. StaleDecision: nothing happened.
        """
        admission = self._admission(call, decision, hold)
        catalogue, now_us = self._catalogue(), admission.now_us
        # What is asked of a task is no message: whoever approved that, has approved this.
        follows = call.kind is Kind.PEER and call.round > 1
        needs = decision.verdict is Verdict.NEEDS and not follows
        consent = _Consent(self.consents, call, decision, now_us) if needs else None
        refused = first_refusal(
            call,
            Standing(
                decision=decision,
                definition=catalogue.current(call),
                served=catalogue.serves(call.server),
                now_us=now_us,
                wait=lambda: self._counters.wait(admission.accounts, admission.limits, now_us),
                shortfall=lambda: self._counters.purses.room(
                    admission.accounts, admission.limits, hold, now_us
                ),
                requests=catalogue.requests_of(call.server),
                run=lambda: self._runs.problem(call, admission.accounts, now_us),
                consent=consent.refused if consent is not None else _unasked,
            ),
        )
        if refused is None:
            return admission._replace(approval=consent.id) if consent is not None else admission
        if refused.refusal is no.POLICY_CHANGED:
            raise StaleDecision
        if consent is not None:
            await self.durable(consent.asked(), call.id)
        await self._enter(call, decision, refused, self._log.stamp())
        raise refused

    def limits(self, call: Call) -> tuple[Limits | None, ...]:
        """Of each account of *call*, in their order."""
        if call.method == PUSHED:  # what its peer says, and how often, is none of its owner's doing
            return (None,) * len(self._particulars.accounts(call))
        limits = self._limits_of(call.principal, call.server)
        if not call.run and not call.principal.grants:
            return limits
        run = self._runs.limits if call.run else None
        return (*limits, run, *grant_limits(call.principal))

    def _admission(self, call: Call, decision: Decision, hold: Amounts) -> Admission:
        if decision.policy_version != self._policy_version():
            raise StaleDecision
        try:
            now_us = self._log.now()
        except ClockBehind as err:
            raise Refused(no.CLOCK_BEHIND, call.id) from err
        accounts = self._particulars.accounts(call)
        return Admission(call, decision, now_us, accounts, self.limits(call), hold)

    async def enter_refusal(self, call: Call, decision: Decision, refused: Refused) -> None:
        await self._enter(call, decision, refused, self._log.stamp())

    async def _enter(
        self, call: Call, decision: Decision | None, refused: Refused, now_us: int
    ) -> None:
        await self.durable(self._refusals.of_call(call, decision, refused, now_us), call.id)

    async def durable(self, written: asyncio.Future[None] | None, call_id: str) -> None:
        """Raises: Refused: LOG_UNAVAILABLE."""
        if written is None:  # there was nothing to write, or it was folded
            return
        try:
            await written
        except WriteFailed as err:
            raise Refused(no.LOG_UNAVAILABLE, call_id) from err


def _unasked() -> None:
    """Nobody has to approve the call."""


class _Consent:
    """Whether somebody approved one call, looked up when its check is reached."""

    def __init__(
        self, consents: Consents | None, call: Call, decision: Decision, now_us: int
    ) -> None:
        self._consents = consents
        self._call = call
        self._decision = decision
        self._now_us = now_us
        self._waiting: Waiting | None = None
        self.id = ""

    def refused(self) -> Refused | None:
        if self._consents is None:
            return Refused(no.APPROVAL_NEEDED, self._call.id)
        standing = self._consents.standing(self._call, self._decision, self._now_us)
        if isinstance(standing, Granted):
            self.id = standing.id
            return None
        if isinstance(standing, Denied):
            return Refused(no.APPROVAL_DENIED, self._call.id, standing.detail)
        self._waiting = standing
        return Refused(no.APPROVAL_NEEDED, self._call.id, standing.detail)

    def asked(self) -> asyncio.Future[None] | None:
        """The entry that asks, where nobody was asked yet."""
        waiting = self._waiting
        if waiting is None or not waiting.is_new or self._consents is None:
            return None
        return self._consents.ask(self._call, self._decision, waiting, self._now_us)
