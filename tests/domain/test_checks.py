"""The checks of admission: each row of each, and their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pytest

from gateway.domain import refusal
from gateway.domain.asking import Ask, as_child
from gateway.domain.budget import Shortfall
from gateway.domain.checks import (
    CHECKS,
    Check,
    Standing,
    allowed,
    approved,
    arguments_valid,
    askable,
    first_refusal,
    pinned,
    within_budget,
    within_rate,
    within_run,
)
from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Client,
    Decision,
    Definition,
    Kind,
    Principal,
    Verdict,
)
from gateway.domain.rate import Rate, Wait
from gateway.domain.refusal import Refusal, Refused

NOW_US = 1_800_000_000_000_000
WAIT = Wait("team", Rate(60, 60_000_000), 1_500)
SHORT = Shortfall("agent", "a1", "tokens", "day", 100, 30, 20, NOW_US + 2_000_001)


def valid(_: Any) -> str | None:
    return None


def invalid(_: Any) -> str | None:
    return "at /path: the property is required"


REFUND = Definition("pay", Kind.TOOL, "refund", "pay_refund", b"{}", "d1", Approval.APPROVED)
REFUND = replace(REFUND, validate=valid)
ALLOW = Decision(Verdict.ALLOW, "v1", visible=True)
CALL = Call(
    id="C1",
    principal=Principal("default", "bot"),
    method="tools/call",
    kind=Kind.TOOL,
    server="pay",
    name="refund",
    act=Act.CALL,
    weight=CallClass.FULL,
    definition=REFUND,
)
GOOD = Standing(
    ALLOW,
    REFUND,
    True,
    NOW_US,
    wait=lambda: None,
    shortfall=lambda: None,
    requests=frozenset({"elicitation"}),
)
# What the server asks the caller in the middle of that call.
ASKED = replace(CALL, client=Client(capabilities=b'{"elicitation":{}}'))
QUESTION = as_child(ASKED, Ask("elicitation/create", {}), "C2")


@dataclass(frozen=True)
class Row:
    check: Check
    refusal: Refusal | None
    standing: Standing = GOOD
    call: Call = CALL


def denied(**fields: Any) -> Standing:
    return GOOD._replace(decision=Decision(Verdict.DENY, "v1", **fields))


def now(**fields: Any) -> Standing:
    return GOOD._replace(definition=replace(REFUND, **fields))


LIST = replace(CALL, act=Act.LIST, name="*", definition=None)
DISCOVER = replace(CALL, kind=Kind.SERVER, act=Act.GET, definition=None)
ADMIN = replace(CALL, kind=Kind.ADMIN, act=Act.ADMIN, server="", definition=None)
READ = replace(CALL, kind=Kind.RESOURCE, act=Act.READ, name="file:///x")
PROMPT = replace(CALL, kind=Kind.PROMPT, act=Act.GET)
COMPLETE = replace(CALL, kind=Kind.PROMPT, act=Act.COMPLETE)

ROWS = {
    "an allowed call passes the verdict": Row(allowed, None),
    "a denied call that is not visible is hidden": Row(allowed, refusal.FORBIDDEN, denied()),
    "a denied call that is listed is told so": Row(allowed, refusal.DENIED, denied(visible=True)),
    "a denied call to a quarantined tool stays hidden": Row(
        allowed,
        refusal.FORBIDDEN,
        denied(visible=True)._replace(definition=replace(REFUND, approval=Approval.QUARANTINED)),
    ),
    "a denied call to what does not exist stays hidden": Row(
        allowed, refusal.FORBIDDEN, denied(visible=True)._replace(definition=None)
    ),
    "a denied call to a suspended server stays hidden": Row(
        allowed, refusal.FORBIDDEN, denied(visible=True)._replace(served=False)
    ),
    "an approved definition is pinned": Row(pinned, None),
    "a tool nobody knows": Row(pinned, refusal.UNKNOWN_OBJECT, call=replace(CALL, definition=None)),
    "a tool that vanished after the decision": Row(
        pinned, refusal.UNKNOWN_OBJECT, GOOD._replace(definition=None)
    ),
    "a resource nobody lists": Row(
        pinned, refusal.UNKNOWN_OBJECT, call=replace(READ, definition=None)
    ),
    "a tool nobody approved": Row(pinned, refusal.NOT_APPROVED, now(approval=Approval.PROPOSED)),
    "a tool in quarantine": Row(pinned, refusal.QUARANTINED, now(approval=Approval.QUARANTINED)),
    "a tool whose body changed after the decision": Row(
        pinned, refusal.POLICY_CHANGED, now(digest="d2")
    ),
    "a tool of a suspended server": Row(pinned, refusal.SUSPENDED, GOOD._replace(served=False)),
    "a list of a suspended server": Row(pinned, refusal.SUSPENDED, GOOD._replace(served=False), LIST),
    "a list needs no definition": Row(pinned, None, GOOD._replace(definition=None), LIST),
    "discovery needs no definition": Row(pinned, None, GOOD._replace(definition=None), DISCOVER),
    "administration needs no definition": Row(pinned, None, GOOD._replace(definition=None), ADMIN),
    "calling a tool named * is not a list": Row(
        pinned, refusal.UNKNOWN_OBJECT, call=replace(CALL, name="*", definition=None)
    ),
    "subscribing to a resource needs its definition": Row(
        pinned,
        refusal.UNKNOWN_OBJECT,
        call=replace(READ, act=Act.SUBSCRIBE, name="*", definition=None),
    ),
    "room in every rate": Row(within_rate, None),
    "a rate without room": Row(
        within_rate, refusal.RATE_LIMITED, GOOD._replace(wait=lambda: WAIT)
    ),
    "a run that goes on": Row(within_run, None),
    "a run in circles": Row(
        within_run, refusal.LOOP, GOOD._replace(run=lambda: Refused(refusal.LOOP, CALL.id))
    ),
    "nobody needs to approve": Row(approved, None),
    "a decision that needs approval passes the verdict": Row(
        allowed, None, GOOD._replace(decision=Decision(Verdict.NEEDS, "v1", visible=True))
    ),
    "somebody was asked": Row(
        approved,
        refusal.APPROVAL_NEEDED,
        GOOD._replace(consent=lambda: Refused(refusal.APPROVAL_NEEDED, CALL.id)),
    ),
    "valid arguments": Row(arguments_valid, None),
    "arguments that do not fit": Row(
        arguments_valid, refusal.INVALID_ARGUMENTS, now(validate=invalid)
    ),
    "a tool without a compiled schema is not called": Row(
        arguments_valid, refusal.QUARANTINED, now(validate=None)
    ),
    "a resource has no arguments": Row(arguments_valid, None, now(validate=None), READ),
    "a prompt that checks its arguments": Row(
        arguments_valid, refusal.INVALID_ARGUMENTS, now(validate=invalid), PROMPT
    ),
    "a prompt without a schema": Row(arguments_valid, None, now(validate=None), PROMPT),
    "completing is not calling: nothing is complete yet": Row(
        arguments_valid, None, now(validate=invalid), COMPLETE
    ),
    "a budget that covers": Row(within_budget, None),
    "a budget that does not": Row(
        within_budget, refusal.OVER_BUDGET, GOOD._replace(shortfall=lambda: SHORT)
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_each_check_refuses_exactly_its_own(row: Row) -> None:
    refused = row.check(row.call, row.standing)
    assert (refused.refusal if refused else None) is row.refusal
    assert refused is None or refused.call_id == "C1"


def detail(refused: Refused | None) -> dict[str, str | int]:
    assert refused is not None
    return dict(refused.detail)


def test_a_denial_names_the_conditions_that_did_not_hold() -> None:
    looked_at = (("small_refund", False), ("office_hours", True), ("destructive", False))
    standing = denied(visible=True, conditions=looked_at, unmet=("small_refund",))
    assert detail(allowed(CALL, standing)) == {"condition": "small_refund"}


def test_a_name_in_no_catalogue_is_unknown_and_not_forbidden() -> None:
    unknown = replace(CALL, definition=None)
    refused = allowed(unknown, denied()._replace(definition=None))
    assert refused is not None
    assert refused.refusal is refusal.UNKNOWN_OBJECT


def test_a_rate_refusal_gives_level_limit_and_a_wait_that_is_rounded_up() -> None:
    assert detail(within_rate(CALL, GOOD._replace(wait=lambda: WAIT))) == {
        "scope": "team",
        "limit": "60/min",
        "retry_after_ms": 2,
    }


def test_a_schema_refusal_says_where() -> None:
    assert detail(arguments_valid(CALL, now(validate=invalid))) == {
        "problem": "at /path: the property is required"
    }


def test_a_budget_refusal_gives_everything_needed_to_wait_or_to_ask_for_more() -> None:
    assert detail(within_budget(CALL, GOOD._replace(shortfall=lambda: SHORT))) == {
        "scope": "agent",
        "meter": "tokens",
        "window": "day",
        "limit": 100,
        "needed": 30,
        "remaining": 20,
        "reset_at_us": NOW_US + 2_000_001,
        "retry_after_ms": 2_001,
    }


def test_a_call_that_can_never_fit_is_not_told_to_wait() -> None:
    never_fits = replace(SHORT, needed=101)
    told = detail(within_budget(CALL, GOOD._replace(shortfall=lambda: never_fits)))
    assert "retry_after_ms" not in told
    assert "waiting does not help" in str(told["problem"])


# -- the order ------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_design() -> None:
    order = [check.__name__ for check in CHECKS]
    assert order == [
        "allowed",
        "pinned",
        "askable",
        "within_rate",
        "within_run",
        "arguments_valid",
        "approved",
        "within_budget",
    ]


def spoil(standing: Standing, check: Check) -> Standing:
    """*standing*, made to fail *check* (and those that look at the same thing, no others)."""
    definition = standing.definition
    assert definition is not None
    spoilt: dict[Check, Callable[[], Standing]] = {
        allowed: lambda: standing._replace(decision=Decision(Verdict.DENY, "v1", visible=True)),
        pinned: lambda: standing._replace(
            definition=replace(definition, approval=Approval.QUARANTINED)
        ),
        askable: lambda: standing._replace(requests=frozenset()),
        within_rate: lambda: standing._replace(wait=lambda: WAIT),
        within_run: lambda: standing._replace(run=lambda: Refused(refusal.LOOP, CALL.id)),
        approved: lambda: standing._replace(
            consent=lambda: Refused(refusal.APPROVAL_NEEDED, CALL.id)
        ),
        arguments_valid: lambda: standing._replace(
            definition=replace(definition, validate=invalid)
        ),
        within_budget: lambda: standing._replace(shortfall=lambda: SHORT),
    }
    return spoilt[check]()


FAILS: dict[Check, set[Refusal]] = {
    allowed: {refusal.DENIED, refusal.FORBIDDEN},
    pinned: {refusal.QUARANTINED},
    askable: {refusal.NOT_ASKABLE},
    within_rate: {refusal.RATE_LIMITED},
    within_run: {refusal.LOOP},
    approved: {refusal.APPROVAL_NEEDED},
    arguments_valid: {refusal.INVALID_ARGUMENTS},
    within_budget: {refusal.OVER_BUDGET},
}


@pytest.mark.parametrize("failing", range(1, 2 ** len(CHECKS)))
def test_a_call_that_fails_several_is_refused_by_the_first(failing: int) -> None:
    chosen = [check for bit, check in enumerate(CHECKS) if failing >> bit & 1]
    standing = GOOD
    for check in chosen:
        standing = spoil(standing, check)
    refused = first_refusal(QUESTION, standing)
    assert refused is not None
    assert refused.refusal in FAILS[chosen[0]]


def test_a_call_that_fails_none_is_admitted() -> None:
    assert first_refusal(CALL, GOOD) is None
    assert first_refusal(QUESTION, GOOD) is None


def never(*_: Any) -> NoReturn:
    raise AssertionError("looked at, though an earlier check had refused")


def test_a_denied_call_costs_no_look_at_rates_schema_or_budget() -> None:
    standing = Standing(
        Decision(Verdict.DENY, "v1"),
        replace(REFUND, validate=never),
        True,
        NOW_US,
        wait=never,
        shortfall=never,
        run=never,
        consent=never,
    )
    assert first_refusal(CALL, standing) is not None


def test_a_rate_limited_call_is_not_validated_because_that_is_work() -> None:
    standing = GOOD._replace(
        definition=replace(REFUND, validate=never), wait=lambda: WAIT, shortfall=never
    )
    refused = first_refusal(CALL, standing)
    assert refused is not None
    assert refused.refusal is refusal.RATE_LIMITED
