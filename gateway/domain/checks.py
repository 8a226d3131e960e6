"""The checks a decided call passes before anything is held: one tuple, in the order that matters.

A call that would fail several is refused by the first. None of them reads a clock or changes
anything; what costs something to know is a thunk in `Standing`, asked for only when its check is
reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.domain import refusal
from gateway.domain.asking import ASKS, Ask, problem_of
from gateway.domain.budget import Shortfall
from gateway.domain.model import Act, Approval, Call, Decision, Definition, Kind, Verdict
from gateway.domain.rate import Wait
from gateway.domain.refusal import Refused

_PINNED_KINDS = frozenset(
    {Kind.TOOL, Kind.RESOURCE, Kind.TEMPLATE, Kind.PROMPT, Kind.MODEL, Kind.PEER}
)
_WITH_ARGUMENTS = frozenset({(Kind.TOOL, Act.CALL), (Kind.PROMPT, Act.GET)})
_FOR_GOOD = frozenset({"run", "grant"})  # levels that are over before their budget comes anew
_BY_TOOL_CALL = "tools/call"  # how also a skill of a peer can be called


class Standing(NamedTuple):
    """Where a call stands at the instant of its admission, as the ledger gathered it."""

    decision: Decision
    definition: Definition | None  # as the registry has it NOW; call.definition is what was decided
    served: bool  # False: the server is suspended or gone
    now_us: int
    wait: Callable[[], Wait | None]  # the first level whose rate has no room
    shortfall: Callable[[], Shortfall | None]  # the first limit that does not cover the hold
    requests: frozenset[str] = frozenset()  # what the server may ask its callers
    run: Callable[[], Refused | None] = lambda: None  # why its run goes no further
    consent: Callable[[], Refused | None] = lambda: None  # whom it waits for, or who said no


Check = Callable[[Call, Standing], Refused | None]


def allowed(call: Call, standing: Standing) -> Refused | None:
    """Policy said allow. The reason is told only of what the caller sees in lists anyway."""
    decision = standing.decision
    if decision.verdict is not Verdict.DENY:
        return None
    if call.definition is None and _needs_definition(call):
        return Refused(refusal.UNKNOWN_OBJECT, call.id)  # for the log: nothing that is forbidden
    if not (decision.visible and pinned(call, standing) is None):
        return Refused(refusal.FORBIDDEN, call.id)
    unmet = "+".join(decision.unmet)
    return Refused(refusal.DENIED, call.id, {"condition": unmet} if unmet else {})


def pinned(call: Call, standing: Standing) -> Refused | None:
    """The definition that was decided on is still the approved one, on a server that serves."""
    if not standing.served:
        return Refused(refusal.SUSPENDED, call.id)
    if not _needs_definition(call):
        return None
    now = standing.definition
    if call.definition is None or now is None:
        return Refused(refusal.UNKNOWN_OBJECT, call.id)
    if now.approval is Approval.QUARANTINED:
        return Refused(refusal.QUARANTINED, call.id)
    if now.approval is not Approval.APPROVED:
        return Refused(refusal.NOT_APPROVED, call.id)
    # Decided on another body (its tags may differ): the caller decides again with the new one.
    changed = now.digest != call.definition.digest
    return Refused(refusal.POLICY_CHANGED, call.id) if changed else None


def _needs_definition(call: Call) -> bool:
    return call.kind in _PINNED_KINDS and call.act is not Act.LIST


def askable(call: Call, standing: Standing) -> Refused | None:
    """A question to the caller is of a kind that its server may ask, and that the client declared."""
    if call.method not in ASKS:
        return None
    ask = Ask(call.method, call.params)
    problem = problem_of(ask, call.client.capabilities, standing.requests)
    detail = {"problem": problem, "parent": call.parent}
    return Refused(refusal.NOT_ASKABLE, call.id, detail) if problem else None


def within_rate(call: Call, standing: Standing) -> Refused | None:
    """Every level's rate has room for one more call."""
    wait = standing.wait()
    return None if wait is None else too_fast(call, wait)


def too_fast(call: Call, wait: Wait) -> Refused:
    """The refusal of a call that has to *wait*."""
    detail: dict[str, str | int] = {
        "scope": wait.level,
        "limit": str(wait.rate),
        "retry_after_ms": -(-wait.retry_after_us // 1000),
    }
    return Refused(refusal.RATE_LIMITED, call.id, detail)


def within_run(_call: Call, standing: Standing) -> Refused | None:
    """The run goes on, not too deep, too wide or in circles."""
    return standing.run()


def approved(_call: Call, standing: Standing) -> Refused | None:
    """Where policy demands it, somebody approved this very call."""
    return standing.consent()


def arguments_valid(call: Call, standing: Standing) -> Refused | None:
    """The arguments fit the pinned schema. A tool without a compiled schema is never called."""
    is_skill = call.kind is Kind.PEER and call.method == _BY_TOOL_CALL
    if not (is_skill or (call.kind, call.act) in _WITH_ARGUMENTS) or standing.definition is None:
        return None
    validate = standing.definition.validate
    if validate is None:
        return None if call.kind is Kind.PROMPT else Refused(refusal.QUARANTINED, call.id)
    problem = validate(call.arguments)
    return Refused(refusal.INVALID_ARGUMENTS, call.id, {"problem": problem}) if problem else None


def within_budget(call: Call, standing: Standing) -> Refused | None:
    """Every level's budget covers the hold."""
    short = standing.shortfall()
    if short is None:
        return None
    detail: dict[str, str | int] = {
        "scope": short.level,
        "meter": short.meter,
        "window": short.window,
        "limit": short.limit,
        "needed": short.needed,
        "remaining": short.remaining,
    }
    if short.level in _FOR_GOOD:
        detail["problem"] = f"the {short.level} has spent it, and gets no more"
    elif short.needed > short.limit:
        detail["problem"] = "the call needs more than the whole limit, so waiting does not help"
    else:
        detail["reset_at_us"] = short.reset_at_us
        detail["retry_after_ms"] = max(0, -(-(short.reset_at_us - standing.now_us) // 1000))
    return Refused(refusal.OVER_BUDGET, call.id, detail)


CHECKS: tuple[Check, ...] = (
    allowed,
    pinned,
    askable,
    within_rate,
    within_run,
    arguments_valid,
    approved,
    within_budget,
)


def first_refusal(call: Call, standing: Standing) -> Refused | None:
    """Run the checks in order; None when the call may be held and logged."""
    for check in CHECKS:
        refused = check(call, standing)
        if refused is not None:
            return refused
    return None
