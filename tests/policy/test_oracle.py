"""The self-test at start-up: cheap, on policies of any size, and not to be talked round."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.domain.model import Verdict
from gateway.policy.files import PolicySource
from gateway.policy.load import compile
from gateway.policy.oracle import Disagreement, Oracle, Part, self_test
from gateway.policy.rules import ANY
from gateway.policy.snapshot import Snapshot, builtin_deny_all
from gateway.policy.view import View
from tests.policy.made import call_of, source_of

CONDITIONS = """
[small]
arguments = [{ at = "/amount", gt = 0, lte = 50 }]
[inside]
arguments = [{ at = "/path/name", under = "src" }, { at = "/tags", every = { in = ["a", "b"] } }]
[risky]
tags = { has_any = ["risky"] }
"""


def _large(tenants: int) -> PolicySource:
    """A policy of 100 rules and 10 role links in each tenant, with guard rails over all."""
    lines = ["p, *, *, tool/*, call, risky, deny", "p, *, *, tool/s1/*, call, inside, deny"]
    for t in range(tenants):
        for i in range(100):
            name = f"tool/s{i % 7}/t{i}" if i % 3 else f"tool/s{i % 7}/t{i}*"
            condition = "small" if i % 10 == 9 else "-"
            effect = "deny" if i % 11 == 0 else "allow"
            lines.append(f"p, role{i % 10}, t{t}, {name}, call, {condition}, {effect}")
        for a in range(5):
            lines += [f"g, agent{a}, role{a}, t{t}", f"g, role{a}, role{a + 5}, t{t}"]
    return source_of("\n".join(lines), CONDITIONS)


@pytest.mark.parametrize(("tenants", "least"), [(1, 20), (2, 20), (30, 50)])
def test_a_sound_snapshot_passes_and_enough_is_asked(tenants: int, least: int) -> None:
    source = _large(tenants)
    snapshot = compile(source, [("bot", "role1", "t0")])
    for seed in range(3):
        assert self_test(snapshot, source, seed=seed) >= least


@pytest.mark.parametrize("tenants", [1, 30])
def test_a_snapshot_that_forgets_guard_rails_fails_its_self_test(tenants: int) -> None:
    class Forgetful(Snapshot):
        def _view_of(self, names: Sequence[str], tenant: str) -> View:
            wanted = {*names, ANY}
            return View([r for r in self.rules if r.tenant == tenant and r.subject in wanted])

    source = _large(tenants)
    sound = compile(source, ())
    broken = Forgetful(sound.version, sound.rules, sound.links, sound.conditions)
    with pytest.raises(Disagreement, match="compiled policy says"):
        self_test(broken, source)


def test_no_policy_needs_no_test() -> None:
    assert self_test(builtin_deny_all(), PolicySource({})) == 0


def test_rules_too_many_to_ask_casbin_about_are_left_out_rather_than_waited_for() -> None:
    crowd = "p, r, default, tool/s/t*, call, small, allow\n" * 4_000
    source = source_of(crowd, CONDITIONS)
    # Some 30 ms an answer: a third of the sample's time allows for none of them.
    assert self_test(compile(source, ()), source) == 0


def test_casbin_prints_nothing_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    source = source_of("p, r, default, tool/s/t, call, small, allow", CONDITIONS)
    snapshot = compile(source, ())
    with caplog.at_level(logging.DEBUG):
        oracle = Oracle.whole(source, snapshot)
        call = call_of("r", "tool/s/t", arguments={"amount": 777_777})
        assert oracle.decide(call, 0) == (Verdict.DENY, -1)
    assert caplog.text == ""


def test_casbin_sees_a_narrowed_policy_with_its_own_numbering() -> None:
    source = _large(2)
    snapshot = compile(source, ())
    call = call_of("agent1@t1", "tool/s6/t6x")
    calls = [replace(call, name="t6x"), call_of("role6@t1", "tool/s6/t6x")]
    oracle = Oracle.narrow(source, snapshot, Part.concerning(snapshot, calls))
    for each in calls:
        decision = snapshot.judge(each, 0)
        assert oracle.decide(each, 0) == (decision.verdict, decision.rule)
        assert decision.verdict is Verdict.ALLOW
