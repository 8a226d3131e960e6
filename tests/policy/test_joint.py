"""Whoever acts for others may do what all of them may, within what each token says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.model import Call, Decision, Grant, Principal, Verdict
from gateway.policy.snapshot import Snapshot
from tests.policy.made import NOON_US, call_of, defined, snapshot_of
from tests.policy.test_equality import AGENTS, OBJECTS, PATTERNS, ROLES, World, worlds
from tests.policy.test_rights import compiled

ALLOW, DENY, NEEDS = Verdict.ALLOW, Verdict.DENY, Verdict.NEEDS
FREEDOM = (DENY, NEEDS, ALLOW)
CONDITIONS = """
[small]
arguments = [{ at = "/n", lte = 5 }]
[scoped]
scopes = { has_any = ["x"] }
[delegated]
actors = { empty = false }
"""
RULES = """p, bot, default, tool/s/*, call, -, allow
p, boss, default, tool/s/a*, call, small, allow
p, chief, default, *, call, -, allow
p, boss, default, tool/s/wait, call, approval:b1, allow
p, boss, default, tool/s/wait, call, approval:b2, allow
p, wary, default, tool/s/*, call, approval:w1+approval:w2, allow
p, *, *, tool/s/alone, call, delegated, deny
p, *, *, tool/s/never, call, -, deny
p, held, default, tool/s/*, call, -, allow
g, someone, held, default
"""


@pytest.fixture(scope="module")
def policy() -> Snapshot:
    return snapshot_of(RULES, CONDITIONS)


def bot(*actors: str, objects: Iterable[tuple[str, ...]] = ()) -> Principal:
    grants = tuple(Grant(f"j{n}", names) for n, names in enumerate(objects))
    return Principal("default", "bot", actors=actors, grants=grants)


def decided(policy: Snapshot, who: Principal, name: str, n: int = 1) -> Decision:
    return policy.decide(call_of(who, name, arguments={"n": n}), NOON_US)


@pytest.mark.parametrize(
    ("actors", "name", "n", "verdict", "rule"),
    [
        pytest.param((), "tool/s/b", 1, ALLOW, 0, id="for nobody"),
        pytest.param(("boss",), "tool/s/a", 1, ALLOW, 0, id="both may: the subject's rule"),
        pytest.param(("boss",), "tool/s/a", 9, DENY, -1, id="the actor may not: too much"),
        pytest.param(("boss",), "tool/s/b", 1, DENY, -1, id="the actor may not"),
        pytest.param(("chief", "boss"), "tool/s/b", 1, DENY, -1, id="the farther one may not"),
        pytest.param(("chief",), "model/m", 1, DENY, -1, id="only the actor may"),
        pytest.param(("stranger",), "tool/s/a", 1, DENY, -1, id="an actor that nobody knows"),
        pytest.param(("held",), "tool/s/a", 1, DENY, -1, id="an actor with the name of a role"),
        pytest.param(("chief",), "tool/s/alone", 1, DENY, 6, id="a condition on actors holds"),
        pytest.param(("chief",), "tool/s/never", 1, DENY, 7, id="denied to all"),
        pytest.param(("boss",), "tool/s/wait", 1, NEEDS, 4, id="the actor's approval"),
        pytest.param(("wary", "boss"), "tool/s/wait", 1, NEEDS, 5, id="the first that waits"),
    ],
)
def test_one_no_is_a_no_and_the_first_of_them_is_named(
    policy: Snapshot, actors: tuple[str, ...], name: str, n: int, verdict: Verdict, rule: int
) -> None:
    decision = decided(policy, bot(*actors), name, n)
    assert (decision.verdict, decision.rule) == (verdict, rule)


def test_each_that_waits_has_its_first_alternative_demanded(policy: Snapshot) -> None:
    one = decided(policy, bot("boss"), "tool/s/wait")
    assert one.approvals == (("b1",), ("b2",))
    both = decided(policy, bot("boss", "wary"), "tool/s/wait")
    assert both.approvals == (("b1", "w1", "w2"),)


def test_scopes_and_roles_of_a_token_are_its_bearers_alone() -> None:
    policy = snapshot_of(
        "p, *, default, tool/s/a, call, scoped, allow\np, held, default, tool/s/b, call, -, allow",
        CONDITIONS,
    )
    alone = Principal("default", "corp/a", roles=frozenset({"held"}), scopes=frozenset({"x"}))
    both = replace(alone, actors=("corp/b",))
    for name in ("tool/s/a", "tool/s/b"):
        assert decided(policy, alone, name).verdict is ALLOW
        assert decided(policy, both, name).verdict is DENY


@pytest.mark.parametrize(
    ("objects", "name", "verdict"),
    [
        pytest.param([()], "tool/s/a", ALLOW, id="a grant without objects"),
        pytest.param([("tool/s/a",)], "tool/s/a", ALLOW, id="the very name"),
        pytest.param([("tool/s/a",)], "tool/s/ab", DENY, id="a name that begins so"),
        pytest.param([("tool/x/*", "tool/s/*")], "tool/s/a", ALLOW, id="one of its prefixes"),
        pytest.param([("*",)], "tool/s/a", ALLOW, id="everything that policy lets"),
        pytest.param([("*",)], "tool/x/a", DENY, id="not what it does not let"),
        pytest.param(
            [("tool/s/*",), ("tool/s/b",)], "tool/s/a", DENY, id="an earlier one is narrower"
        ),
        pytest.param([("tool/s/b",), ("*",)], "tool/s/a", DENY, id="a later one is narrower"),
    ],
)
def test_every_grant_has_to_cover_the_object(
    policy: Snapshot, objects: list[tuple[str, ...]], name: str, verdict: Verdict
) -> None:
    who = bot(objects=objects)
    decision = decided(policy, who, name)
    assert decision.verdict is verdict
    assert decision.visible is (verdict is ALLOW)
    assert bool(policy.visible(who, [defined(name)])) is (verdict is ALLOW)


def test_asking_for_a_list_is_open_and_it_holds_what_all_may_see(policy: Snapshot) -> None:
    who = bot("boss", objects=[("tool/s/a", "tool/s/b")])
    listing = replace(call_of(who, "tool/s/*", "list", known=False), server="")
    assert policy.decide(listing, NOON_US).verdict is ALLOW
    every = [defined(f"tool/s/{name}") for name in ("a", "ab", "b")]
    assert [d.name for d in policy.visible(who, every)] == ["a"]
    nobody = replace(listing, principal=bot("held"))
    assert policy.decide(nobody, NOON_US).verdict is DENY


def test_people_are_told_whose_right_is_missing(policy: Snapshot) -> None:
    def why(who: Principal, name: str) -> str:
        told = policy.explain(call_of(who, name, arguments={"n": 1}), NOON_US)
        return f"{told.sentence}; {told.fix}"

    assert "acts for 'boss', of whom this is said: default deny" in why(bot("boss"), "tool/s/b")
    assert "acts for 'boss', of whom this is said: policy.csv:5" in why(bot("boss"), "tool/s/wait")
    assert "role 'b1', or 'b2' has to approve" in why(bot("boss"), "tool/s/wait")
    assert why(bot("chief"), "tool/x/a").startswith("default deny")
    beyond = why(bot("chief", objects=[("*",), ("tool/s/a", "tool/s/b*")]), "tool/s/ab")
    assert "does not cover it: tool/s/a tool/s/b*; have a token made" in beyond
    assert why(bot("boss"), "tool/s/a").startswith("policy.csv:1")


_actors = st.lists(
    st.sampled_from([*AGENTS, *ROLES, "ghost"]), min_size=1, max_size=3, unique=True
).map(tuple)
_objects = st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), actors=_actors, objects=st.lists(_objects, max_size=2))
def test_several_together_never_may_more_than_any_of_them(
    world: World, actors: tuple[str, ...], objects: list[tuple[str, ...]]
) -> None:
    snapshot = compiled(world)
    grants = tuple(Grant("j", names) for names in objects)
    for request in world.requests:
        who = replace(request.call.principal, actors=actors, grants=grants)
        together = snapshot.decide(_by(request.call, who), request.now_us)
        each = [replace(who, grants=())] + [Principal(who.tenant, one) for one in actors]
        alone = [snapshot.decide(_by(request.call, one), request.now_us) for one in each[1:]]
        alone.append(snapshot.judge(_by(request.call, each[0]), request.now_us))
        least = min(FREEDOM.index(decision.verdict) for decision in alone)
        assert FREEDOM.index(together.verdict) <= least
        if not all(_names(names, request.call.object) for names in objects if names):
            assert together.verdict is DENY
        for roles in together.approvals:
            for decision in alone:
                sets = [set(one) for one in decision.approvals]
                assert not sets or any(one <= set(roles) for one in sets)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(contexts=1), actors=_actors, objects=st.lists(_objects, max_size=2))
def test_a_list_holds_what_each_of_them_sees_and_all_tokens_name(
    world: World, actors: tuple[str, ...], objects: list[tuple[str, ...]]
) -> None:
    snapshot = compiled(world)
    every = [defined(name) for name in OBJECTS if not name.startswith("admin/")]
    tenant = world.requests[0].call.principal.tenant
    grants = tuple(Grant("j", names) for names in objects)
    who = Principal(tenant, "a1", actors=actors, grants=grants)
    seen = set(snapshot.visible(who, every))
    expected = set(snapshot.visible(Principal(tenant, "a1"), every))
    if "direct" not in world.source.files["policy.csv"].decode():
        for actor in actors:
            expected &= set(snapshot.visible(Principal(tenant, actor), every))
        expected = {d for d in expected if all(_names(n, d.object) for n in objects if n)}
        assert seen == expected
    for definition in every:
        if definition.kind == "resource":
            continue
        decision = snapshot.decide(_by(call_of("x", definition.object), who), NOON_US)
        assert decision.visible is (definition in seen)


def _by(call: Call, who: Principal) -> Call:
    return replace(call, principal=who)


def _names(objects: tuple[str, ...], name: str) -> bool:
    return any(name == one or (one[-1] == "*" and name.startswith(one[:-1])) for one in objects)
