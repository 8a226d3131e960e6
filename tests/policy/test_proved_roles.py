"""Roles that a token proves are worth what links would be, for that one call."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.policy import lint
from gateway.policy.oracle import Oracle
from gateway.policy.rules import BINDINGS_FILE, Link
from gateway.policy.snapshot import Snapshot
from tests.policy.test_equality import ROLES, World, worlds


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(world=worlds(), proved=st.frozensets(st.sampled_from(ROLES), min_size=1))
def test_a_proved_role_decides_as_casbin_does_with_a_link_to_it(
    world: World, proved: frozenset[str]
) -> None:
    reading = lint.read(world.source, None)
    rules, links, conditions = reading.parsed.rules, reading.parsed.links, reading.conditions
    tested = Snapshot("v", rules, links, conditions)
    for request in world.requests:
        who = request.call.principal
        own = tuple(Link(BINDINGS_FILE, 0, who.subject, role, who.tenant) for role in proved)
        oracle = Oracle.whole(world.source, Snapshot("v", rules, (*links, *own), conditions))
        call = replace(request.call, principal=replace(who, roles=proved))
        decision = tested.judge(call, request.now_us)
        assert (decision.verdict, decision.rule) == oracle.decide(call, request.now_us)
        # What was proved once is not remembered for those who prove nothing.
        plain = Oracle.whole(world.source, tested)
        after = tested.judge(request.call, request.now_us)
        assert (after.verdict, after.rule) == plain.decide(request.call, request.now_us)
