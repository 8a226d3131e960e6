"""Two callers with the same rights are decided alike, whatever they ask: they may share a result."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from gateway.domain.model import Grant, Principal
from gateway.policy import lint
from gateway.policy.snapshot import Snapshot
from tests.policy.made import snapshot_of
from tests.policy.test_equality import AGENTS, World, worlds


def compiled(world: World) -> Snapshot:
    reading = lint.read(world.source, None)
    return Snapshot("v", reading.parsed.rules, reading.parsed.links, reading.conditions)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(world=worlds())
def test_equal_rights_mean_equal_decisions(world: World) -> None:
    snapshot = compiled(world)
    for request in world.requests:
        call = request.call
        for agent in (*AGENTS, "stranger"):
            other = replace(call.principal, subject=agent)
            if snapshot.rights(other) != snapshot.rights(call.principal):
                continue
            one = snapshot.judge(call, request.now_us)
            two = snapshot.judge(replace(call, principal=other), request.now_us)
            assert one == two
            one = snapshot.decide(call, request.now_us)
            two = snapshot.decide(replace(call, principal=other), request.now_us)
            named = (agent, call.principal.subject)  # nobody may be called like a role
            assert one == two or any(snapshot.roles.is_role(n, other.tenant) for n in named)


def test_rights_are_shared_by_role_and_not_by_tenant_team_scope_actor_or_grant() -> None:
    rules = "p, clerk, *, tool/*, call, -, allow\ng, ann, clerk, default\ng, bob, clerk, default"
    snapshot = snapshot_of(
        rules + "\ng, ann, clerk, other\np, eve, default, tool/x/y, call, -, allow"
    )
    ann = Principal("default", "ann")
    assert snapshot.rights(ann) == snapshot.rights(Principal("default", "bob"))
    for other in (
        Principal("default", "eve"),
        replace(ann, tenant="other"),
        replace(ann, team="sales"),
        replace(ann, scopes=frozenset({"read"})),
        replace(ann, actors=("boss",)),
        replace(ann, grants=(Grant("j", ("tool/x/*",)),)),
        replace(ann, grants=(Grant("j"), Grant("k", ("tool/x/*",)))),
    ):
        assert snapshot.rights(other) != snapshot.rights(ann), other
    assert snapshot_of(rules).rights(ann) != snapshot.rights(ann)  # another policy
