"""The order of things: two commits around one network call. Everything else serves these lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import perf_counter
from typing import Protocol, TypeVar

import anyio

from gateway.domain.asking import Ask, as_child
from gateway.domain.model import (
    Act,
    Call,
    Decision,
    Outcome,
    Permit,
    Principal,
    Relay,
    Replayed,
    Reply,
    Settlement,
    Status,
    Stream,
)
from gateway.domain.refusal import OUTCOME_UNWRITTEN, POLICY_CHANGED, Refusal, Refused
from gateway.metrics import Metrics
from gateway.store.ledger import Ledger, LogUnavailable, StaleDecision
from gateway.upstream.exchange import Asker, Interrupted

_T = TypeVar("_T")
POLICY_TRIES = 3
SETTLE_SHIELD_S = 5.0


class Policy(Protocol):
    def decide(self, call: Call) -> Decision:
        """Pure and in memory; stamped with the version it was made under."""
        ...


class Upstreams(Protocol):
    async def invoke(self, permit: Permit, relay: Relay, asker: Asker | None) -> Outcome:
        """The only way to an upstream. Raises only Interrupted, when the caller left."""
        ...


class Caller(Protocol):
    """Whoever made a call, as far as it can be asked something while the call is open."""

    async def ask(self, permit: Permit) -> Outcome:
        """Ask what the permitted call asks: its answer, as an outcome; a failure is one, too."""
        ...


class Pipeline:
    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        upstreams: Upstreams,
        metrics: Metrics,
        new_call_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._upstreams = upstreams
        self._metrics = metrics
        self._new_call_id = new_call_id

    async def govern(
        self,
        call: Call,
        relay: Relay,
        caller: Caller | None = None,
        admitted: Callable[[Call], None] = lambda _call: None,
    ) -> Reply:
        """Take *call* across the border; its outcome is durable when this returns.

        *caller*: whom the upstream may ask; None: nobody. *admitted* is told of the call as the log
        knows it, before anything is sent: under an idempotency key it has an id of its own.
        Raises: Refused: nothing was sent, and the refusal is in the log; or OUTCOME_UNWRITTEN: the
        call was made, and its answer is withheld.
        A crash after admit leaves an orphan; recovery closes it as unknown, charged in full.
        """
        began_s = perf_counter()
        permit = await self._decided(call, self._ledger.admit)
        if isinstance(permit, Replayed):
            return Reply(*permit, is_replay=True)
        admitted(permit.call)
        outcome = await self._invoked(permit, relay, caller)
        settlement = await self._settled(permit, outcome)
        if call.act is Act.SUBSCRIBE:
            self._metrics.ended(call.server, outcome.status)
        else:
            took_s = perf_counter() - began_s
            self._metrics.called(call.server, outcome.status, took_s, outcome.upstream_s)
        return Reply(permit.call, outcome, settlement)

    async def attend(self, call: Call, stream: Stream) -> Settlement:
        """As `govern`, for a stream that no upstream answers: it is open between the two commits.

        Raises: Refused: as `govern`.
        """
        permit = await self._decided(call, self._ledger.hold)
        try:
            await stream.run()
        except BaseException:  # the caller left, may not stay, or a fault: it is over either way
            await self._settled_shielded(permit, stream.outcome())
            raise
        outcome = stream.outcome()
        settlement = await self._settled(permit, outcome)
        self._metrics.ended(call.server, outcome.status)
        return settlement

    async def question(self, call: Call, ask: Ask, caller: Caller) -> Outcome:
        """Bring what the upstream of *call* asks to *caller*: a call of its own, under the first.

        It is durable before the caller sees it, and what the caller says before the upstream does.
        Raises: Refused: as `govern`.
        """
        child = as_child(call, ask, self._new_call_id())
        permit = await self._decided(child, self._ledger.hold)
        try:
            outcome = await caller.ask(permit)
        except BaseException:  # the call has ended without the answer, or the caller left
            await self._settled_shielded(permit, Outcome(Status.CANCELLED))
            raise
        await self._settled(permit, outcome)
        return outcome

    async def enter(self, call: Call) -> None:
        """Enter a call that the gateway answers itself: one entry, durable when this returns.

        Raises: Refused: as `govern`.
        """
        await self._decided(call, self._ledger.enter)

    async def rate(self, call: Call) -> None:
        """Count a call that is never written singly. Raises: Refused: too many."""
        self._ledger.take_rate(call)

    async def refuse(
        self, refusal: Refusal, principal: Principal | None, address: str, method: str
    ) -> str:
        """Enter a refusal for which no call exists; returns the call id it is known by."""
        refused = Refused(refusal, self._new_call_id())
        self._metrics.refused(refusal.id)
        await self._ledger.refuse(refused, principal, address, method)
        return refused.call_id

    async def _decided(self, call: Call, commit: Callable[[Call, Decision], Awaitable[_T]]) -> _T:
        """Decide, and have it committed; again when the rules changed in between."""
        for _ in range(POLICY_TRIES):
            try:
                return await commit(call, self._policy.decide(call))
            except StaleDecision:
                continue
            except Refused as refused:
                self._metrics.refused(refused.refusal.id)
                raise
        raise await self._never_fresh(call)

    async def _settled(self, permit: Permit, outcome: Outcome) -> Settlement:
        try:
            return await self._ledger.settle(permit, outcome)
        except LogUnavailable as err:
            self._metrics.refused(OUTCOME_UNWRITTEN.id)
            raise Refused(OUTCOME_UNWRITTEN, permit.call.id) from err

    async def _never_fresh(self, call: Call) -> Refused:
        """The rules changed faster than the call could be decided: an entry, and a 503."""
        refused = Refused(POLICY_CHANGED, call.id)
        self._metrics.refused(refused.refusal.id)
        await self._ledger.refuse(refused, call.principal, "", call.method)
        return refused

    async def _invoked(self, permit: Permit, relay: Relay, caller: Caller | None) -> Outcome:
        asker = _Asking(self, permit.call, caller) if caller is not None else None
        try:
            return await self._upstreams.invoke(permit, relay, asker)
        except Interrupted as left:
            await self._settled_shielded(permit, left.outcome)
            raise

    async def _settled_shielded(self, permit: Permit, outcome: Outcome) -> None:
        # A settle that fails leaves an orphan; recovery closes it. The caller is gone either way.
        with suppress(LogUnavailable), anyio.move_on_after(SETTLE_SHIELD_S, shield=True):
            await self._ledger.settle(permit, outcome)


class _Asking:
    """The Asker of one call."""

    __slots__ = ("_call", "_caller", "_pipeline")

    def __init__(self, pipeline: Pipeline, call: Call, caller: Caller) -> None:
        self._pipeline = pipeline
        self._call = call
        self._caller = caller

    async def ask(self, ask: Ask) -> Outcome:
        return await self._pipeline.question(self._call, ask, self._caller)
