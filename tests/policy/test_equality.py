"""The compiled snapshot answers as Casbin does, whatever the policy, and names the same rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from gateway.domain.model import Call, Decision, Principal, Verdict
from gateway.policy import lint
from gateway.policy.conditions import Condition, Conditions, Facts
from gateway.policy.files import PolicySource
from gateway.policy.finding import Level, PolicyInvalid
from gateway.policy.load import compile
from gateway.policy.oracle import Oracle
from gateway.policy.predicates import Truth
from gateway.policy.roles import MAX_LINKS
from gateway.policy.rules import ANY, Link, Rule
from gateway.policy.snapshot import Snapshot
from gateway.policy.view import View
from tests.policy.made import NOON_US, call_of, source_of

CONDITIONS = """
[small]
arguments = [{ at = "/n", lte = 5 }]
[not_x]
arguments = [{ at = "/s", not = { equals = "x" } }]
[present]
arguments = [{ at = "/n", exists = true }]
[all_src]
arguments = [{ at = "/files", every = { under = "src" } }]
[risky]
tags = { has_any = ["risky"] }
[direct]
actors = { empty = true }
[noon]
hours_utc = "11:00-13:00"
"""
NAMES = ["small", "not_x", "present", "all_src", "risky", "direct", "noon"]
AGENTS, ROLES, TENANTS = ["a1", "a2"], ["r1", "r2", "r3"], ["t1", "t2"]
APPROVALS = ["approval:x", "approval:y"]
OBJECTS = ["tool/s/a", "tool/s/ab", "tool/s/b", "tool/x/a", "resource/s/u://a/b", "admin/metrics"]
OBJECTS += ["model/m", "model/mm", "peer/p/a", "peer/p/b"]
PATTERNS = [*OBJECTS, "*", "tool/*", "tool/s/*", "tool/s/a*", "resource/s/u://*", "admin/*"]
PATTERNS += ["model/*", "model/m*", "peer/*", "peer/p/*"]
ACTS = ["call", "read", "list"]
CONTEXTS = 3


@dataclass(frozen=True)
class Request:
    """One call in one context."""

    call: Call
    now_us: int


@dataclass(frozen=True)
class World:
    """A random policy, with requests that come in several contexts each."""

    source: PolicySource
    requests: tuple[Request, ...]

    def __repr__(self) -> str:
        return self.source.files["policy.csv"].decode()


def _column(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


_joined = st.one_of(
    st.just("-"), st.lists(_column(*NAMES), min_size=1, max_size=3, unique=True).map("+".join)
)
_approved = st.lists(
    _column(*NAMES[:2], *APPROVALS, *APPROVALS), min_size=1, max_size=3, unique=True
).map("+".join)
_guarded = st.one_of(
    st.tuples(_joined, _column("allow", "allow", "deny")),
    st.tuples(_approved, st.just("allow")),
)
_rule = st.tuples(
    _column(*AGENTS, *ROLES, ANY),
    _column(*TENANTS, ANY),
    _column(*PATTERNS),
    _column(*ACTS, ANY),
    _guarded,
).map(lambda cells: (*cells[:4], *cells[4]))
_link = st.tuples(_column(*AGENTS, *ROLES), _column(*ROLES), _column(*TENANTS)).map(
    lambda cells: "g, " + ", ".join(cells)
)
_arguments = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([3, 7, 5, True, "3", None, [3]]),
        "s": st.sampled_from(["x", "y", 1, None]),
        "files": st.sampled_from([["src/a"], ["src/a", "/etc"], [], "src/a", ["src/../b"], [1]]),
    },
)
_context = st.tuples(
    _arguments,
    st.sampled_from([(), ("risky",), ("other", "risky")]),
    st.booleans(),
    st.sampled_from([(), (), ("boss",), ("a2",)]),
    st.sampled_from([NOON_US, NOON_US + 3_600_000_000]),
)


@st.composite
def worlds(draw: st.DrawFn, contexts: int = CONTEXTS) -> World:
    rules = draw(st.lists(_rule, min_size=1, max_size=9))
    links = draw(st.lists(_link, max_size=6))
    lines = ["p, " + ", ".join(rule) for rule in rules] + links
    requests: list[Request] = []
    for _ in range(draw(st.integers(1, 4))):
        cells = draw(_near(rules))
        # The same request in other contexts: only so a wrongly remembered answer shows.
        requests += [draw(_asked(*cells)) for _ in range(contexts)]
    return World(source_of("\n".join(lines), CONDITIONS), tuple(requests))


@st.composite
def _near(draw: st.DrawFn, rules: Sequence[tuple[str, ...]]) -> tuple[str, str, str, str]:
    """Subject, tenant, object and act, most often those of one of the rules."""
    subject, tenant, pattern, act, _, _ = draw(st.sampled_from(rules))
    stray = draw(st.integers(0, 9))
    if stray == 0 or subject == ANY:
        subject = draw(_column(*AGENTS, *ROLES, "ghost"))
    elif stray < 4:
        subject = draw(_column(*AGENTS))  # who may hold the rule's role
    if stray == 4 or tenant == ANY:
        tenant = draw(_column(*TENANTS))
    if stray == 5 or act == ANY:
        act = draw(_column(*ACTS))
    fitting = [name for name in OBJECTS if fnmatchcase(name, pattern) or stray == 6]
    return subject, tenant, draw(_column(*fitting)), act


@st.composite
def _asked(draw: st.DrawFn, subject: str, tenant: str, name: str, act: str) -> Request:
    arguments, tags, known, actors, now_us = draw(_context)
    who = Principal(tenant, subject, actors=actors)
    return Request(call_of(who, name, act, arguments, tags=tags, known=known), now_us)


Maker = Callable[[str, Sequence[Rule], Sequence[Link], Conditions], Snapshot]


def disagrees(world: World, make: Maker = Snapshot) -> bool:
    """Whether a snapshot made by *make* answers any request otherwise than Casbin."""
    reading = lint.read(world.source, None)
    honest = Snapshot("v", reading.parsed.rules, reading.parsed.links, reading.conditions)
    tested = make("v", reading.parsed.rules, reading.parsed.links, reading.conditions)
    oracle = Oracle.whole(world.source, honest)
    every = [frozenset(roles) for n in range(3) for roles in combinations(("x", "y"), n)]
    for request in world.requests:
        decision = tested.judge(request.call, request.now_us)
        expected = oracle.decide(request.call, request.now_us)
        if (decision.verdict, decision.rule) != expected:
            return True
        enough = [frozenset(roles) for roles in decision.approvals]
        for approved in every if decision.verdict is Verdict.NEEDS else ():
            by_casbin, _ = oracle.decide_with(request.call, request.now_us, approved)
            if (by_casbin is Verdict.ALLOW) is not any(roles <= approved for roles in enough):
                return True
    return False


FIND_ONLY = [Phase.generate]
_LENIENT = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=250, deadline=None, suppress_health_check=_LENIENT)
@given(world=worlds())
def test_the_snapshot_gives_the_verdict_and_the_rule_that_casbin_gives(world: World) -> None:
    assert not disagrees(world)


@pytest.mark.slow
@settings(max_examples=1_200, deadline=None, suppress_health_check=_LENIENT)
@given(world=worlds())
def test_the_snapshot_equals_casbin_over_many_more_policies(world: World) -> None:
    assert not disagrees(world)


@settings(max_examples=150, deadline=None, suppress_health_check=_LENIENT)
@given(world=worlds(contexts=1))
def test_a_policy_whose_roles_hold_one_another_is_never_loaded(world: World) -> None:
    errors = [f for f in lint.check(world.source) if f.level is Level.ERROR]
    if errors:
        assert all("circle" in finding.what for finding in errors)
        with pytest.raises(PolicyInvalid):
            compile(world.source, ())
    else:
        assert compile(world.source, ()).rules


@pytest.mark.parametrize("links", [MAX_LINKS, MAX_LINKS + 1])
def test_role_chains_end_where_casbin_ends_them(links: int) -> None:
    chain = [f"g, n{i}, n{i + 1}, t1" for i in range(links)]
    rules = "\n".join([f"p, n{links}, t1, tool/s/a, call, -, allow", *chain])
    world = World(source_of(rules, CONDITIONS), (Request(call_of("n0@t1", "tool/s/a"), 0),))
    assert not disagrees(world)
    reading = lint.read(world.source, None)
    snapshot = Snapshot("v", reading.parsed.rules, reading.parsed.links, {})
    assert (snapshot.judge(world.requests[0].call, 0).rule == 0) is (links == MAX_LINKS)


class Memoising(Snapshot):
    """Wrong: remembers the answer of a request, though conditions look at its context."""

    def judge(self, call: Call, now_us: int) -> Decision:
        kept: dict[object, Decision] = self.__dict__.setdefault("kept", {})
        who = call.principal
        key = (who.subject, who.tenant, call.object, call.act)
        if key not in kept:
            kept[key] = super().judge(call, now_us)
        return kept[key]


class Hasty(Snapshot):
    """Wrong: takes a rule that waits for an approval for one that allows."""

    def judge(self, call: Call, now_us: int) -> Decision:
        decision = super().judge(call, now_us)
        waits = decision.verdict is Verdict.NEEDS
        return replace(decision, verdict=Verdict.ALLOW) if waits else decision


class OneIsEnough(Snapshot):
    """Wrong: where several roles have to approve, asks for one of them."""

    def judge(self, call: Call, now_us: int) -> Decision:
        decision = super().judge(call, now_us)
        return replace(decision, approvals=tuple(roles[:1] for roles in decision.approvals))


class WithoutGuardRails(Snapshot):
    """Wrong: forgets rules of the tenant `*`."""

    def _view_of(self, names: Sequence[str], tenant: str) -> View:
        wanted = {*names, ANY}
        return View([r for r in self.rules if r.tenant == tenant and r.subject in wanted])


class WithoutInheritance(Snapshot):
    """Wrong: an agent has only the rights of its own name."""

    def _view_of(self, names: Sequence[str], tenant: str) -> View:
        return super()._view_of(names[:1], tenant)


class FirstAllow(Snapshot):
    """Wrong: explains an allow by the lowest rule."""

    def judge(self, call: Call, now_us: int) -> Decision:
        decision = super().judge(call, now_us)
        same = [r for r in self.rules if r.effect == decision.verdict and r.object == call.object]
        return replace(decision, rule=same[0].index) if same and decision.rule >= 0 else decision


class Shrugging(Condition):
    """Wrong: takes what cannot be evaluated for false."""

    def truth(self, facts: Facts) -> Truth:
        return super().truth(facts) or False


def _shrugging(
    version: str, rules: Sequence[Rule], links: Sequence[Link], conditions: Conditions
) -> Snapshot:
    lazy = {
        name: Shrugging(c.name, c.about, c.fixed, c.parts, c.is_live, c.table)
        for name, c in conditions.items()
    }
    return Snapshot(version, rules, links, lazy)


@pytest.mark.parametrize(
    "mutant",
    [Memoising, Hasty, OneIsEnough, WithoutGuardRails, WithoutInheritance, FirstAllow, _shrugging],
    ids=lambda mutant: mutant.__name__,
)
def test_a_snapshot_with_a_known_fault_is_caught(mutant: Maker) -> None:
    wanted = settings(
        max_examples=3_000, deadline=None, database=None, phases=FIND_ONLY, derandomize=True
    )
    try:
        find(worlds(), lambda world: disagrees(world, mutant), settings=wanted)
    except NoSuchExample:
        pytest.fail("the comparison with Casbin does not notice this fault")


@pytest.mark.parametrize("contexts", [1, CONTEXTS])
def test_a_remembered_answer_shows_only_when_requests_come_again(contexts: int) -> None:
    wanted = settings(
        max_examples=300, deadline=None, database=None, phases=FIND_ONLY, derandomize=True
    )
    single = worlds(contexts=contexts).filter(lambda world: len(world.requests) == contexts)
    if contexts > 1:
        find(single, lambda world: disagrees(world, Memoising), settings=wanted)
    else:
        with pytest.raises(NoSuchExample):
            find(single, lambda world: disagrees(world, Memoising), settings=wanted)
