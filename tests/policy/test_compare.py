"""What is said of a policy without a call is what it decides when the call comes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from gateway.domain.model import Act, Principal, Verdict
from gateway.policy.compare import NO, YES, changes, standing
from tests.policy.made import defined, snapshot_of
from tests.policy.test_equality import World, worlds
from tests.policy.test_rights import compiled

TAGGED = '[risky]\ntags = { has_any = ["x"] }\n[small]\narguments = [{ at = "/n", lte = 5 }]\n'
ANN = Principal("default", "ann")


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(world=worlds())
def test_yes_is_always_allowed_and_no_is_always_denied(world: World) -> None:
    snapshot = compiled(world)
    for request in world.requests:
        call = request.call
        if call.definition is None or snapshot.roles.is_role(
            call.principal.subject, call.principal.tenant
        ):
            continue
        found = standing(snapshot, call.principal, call.act, call.definition)
        decision = snapshot.judge(call, request.now_us)
        if found.answer == YES:
            assert decision.verdict is Verdict.ALLOW
        if found.answer == NO:
            assert decision.verdict is Verdict.DENY


def test_conditions_on_tags_are_answered_and_those_on_arguments_named() -> None:
    rules = "p, ann, default, tool/s/*, call, small, allow\np, *, *, tool/*, call, risky, deny"
    snapshot = snapshot_of(rules, TAGGED)
    assert standing(snapshot, ANN, Act.CALL, defined("tool/s/a")) == ("if small", 0)
    assert standing(snapshot, ANN, Act.CALL, defined("tool/s/a", ["x"])) == (NO, 1)
    assert (
        standing(snapshot, replace(ANN, subject="bob"), Act.CALL, defined("tool/s/a")).answer == NO
    )


def test_a_deny_on_arguments_is_an_unless() -> None:
    rules = "p, ann, default, tool/s/*, call, -, allow\np, *, *, tool/*, call, small, deny"
    assert standing(snapshot_of(rules, TAGGED), ANN, Act.CALL, defined("tool/s/a")) == (
        "unless small",
        0,
    )


def test_changes_are_those_that_an_agent_would_notice() -> None:
    before = snapshot_of("p, ann, default, tool/s/*, call, -, allow")
    after = snapshot_of("p, r, default, tool/s/a, call, -, allow\ng, ann, r, default")
    things = [(Act.CALL, defined("tool/s/a")), (Act.CALL, defined("tool/s/b"))]
    [change] = changes(before, after, [ANN], things)
    assert (change.object, change.before, change.after, change.gains) == (
        "tool/s/b",
        YES,
        NO,
        False,
    )
