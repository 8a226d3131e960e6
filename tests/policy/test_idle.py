"""Rules that change nothing are found, and what is said of them is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from gateway.policy import files, lint
from gateway.policy.files import PolicySource
from gateway.policy.idle import idle
from gateway.policy.rules import Parsed
from gateway.policy.snapshot import Snapshot
from tests.policy.made import source_of
from tests.policy.test_equality import World, worlds

CONDITIONS = """
[small]
arguments = [{ at = "/n", lte = 5 }]
[large]
arguments = [{ at = "/n", gt = 5 }]
[tagged]
tags = { has_any = ["x"] }
[untagged]
tags = { has_none = ["x", "y"] }
[weekend]
weekdays = ["sat", "sun"]
[monday]
weekdays = ["mon"]
[acme]
tenants = ["acme"]
[early]
until = 2026-01-01T00:00:00Z
[late]
from = 2026-06-01T00:00:00Z
[five]
arguments = [{ at = "/n", equals = 5.0 }]
[seven]
arguments = [{ at = "/n", equals = 7 }]
"""
NARROW = "p, r, default, tool/s/a, call, small, allow"


def found(rules: str) -> list[tuple[int, str]]:
    source = source_of(rules, CONDITIONS)
    reading = lint.read(source, None)
    assert not [f for f in reading.findings if f.level == "error"], reading.findings
    return [(finding.line, finding.what) for finding in idle(reading.parsed, reading.conditions)]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param("p, *, *, tool/*, call, -, deny", "never counts", id="a deny of everything"),
        pytest.param("p, r, default, tool/s/*, *, small, deny", "never counts", id="the same when"),
        pytest.param(
            "p, r, default, tool/s/*, call, -, allow", "changes nothing", id="a wider allow"
        ),
        pytest.param("p, r, default, tool/s/a, call, -, allow", "changes nothing", id="whenever"),
        pytest.param(
            "p, up, default, tool/s/a, call, -, allow\ng, r, up, default",
            "changes nothing",
            id="through a role that it holds",
        ),
    ],
)
def test_a_rule_under_another_is_told(other: str, said: str) -> None:
    [(line, what)] = found(f"{NARROW}\n{other}")
    assert line == 1
    assert said in what


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("p, r, default, tool/s/a, call, large, allow", id="under another condition"),
        pytest.param("p, r, default, tool/s/ab, call, -, deny", id="another object"),
        pytest.param("p, r, other, tool/*, call, -, deny", id="another tenant"),
        pytest.param("p, r, default, tool/*, list, -, deny", id="another act"),
        pytest.param(
            "p, down, default, tool/s/*, call, -, deny\ng, down, r, default",
            id="who holds the role",
        ),
    ],
)
def test_a_rule_beside_another_is_not(other: str) -> None:
    assert found(f"{NARROW}\n{other}") == []


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ("small+large", "/n would have to be above 5 and below 5"),
        ("tagged+untagged", "tags"),
        ("weekend+monday", "weekdays"),
        ("early+late", "`from`"),
        ("acme", "tenants"),
        ("five+large", "equal 5.0 and be above 5"),
        ("small+seven", "equal 7 and be below 5"),
        ("five+seven", "something else"),
    ],
)
def test_conditions_that_exclude_each_other_are_told(conditions: str, said: str) -> None:
    rules = f"p, r, default, tool/s/a, call, {conditions}, allow"
    whats = [what for _, what in found(rules)]
    assert len(whats) == 1
    assert said in whats[0]


def test_conditions_that_can_hold_together_are_not() -> None:
    assert found("p, r, default, tool/s/a, call, small+five+tagged+monday+late, allow") == []


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(world=worlds())
def test_without_a_rule_that_is_said_to_change_nothing_every_verdict_is_the_same(
    world: World,
) -> None:
    reading = lint.read(world.source, None)
    whole = Snapshot("v", reading.parsed.rules, reading.parsed.links, reading.conditions)
    said = {(f.file, f.line) for f in idle(reading.parsed, reading.conditions)}
    for rule in reading.parsed.rules:
        if (rule.file, rule.line) not in said:
            continue
        rest = tuple(other for other in reading.parsed.rules if other is not rule)
        without = Snapshot("v", rest, reading.parsed.links, reading.conditions)
        for request in world.requests:
            before = whole.judge(request.call, request.now_us)
            after = without.judge(request.call, request.now_us)
            assert before.verdict is after.verdict, rule.text


def test_twenty_thousand_rules_are_looked_through() -> None:
    rules = "\n".join(f"p, r{n % 500}, default, tool/s/t{n}, call, -, allow" for n in range(20_000))
    reading = lint.read(source_of(rules), None)
    assert list(idle(reading.parsed, reading.conditions)) == []


def test_the_example_policy_has_no_idle_rule() -> None:
    source = files.read(Path(__file__).resolve().parents[2] / "policies")
    assert isinstance(source, PolicySource)
    reading = lint.read(source, None)
    assert isinstance(reading.parsed, Parsed)
    assert list(idle(replace(reading.parsed), reading.conditions)) == []
