"""Rules that allow something once somebody approves it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.domain.model import Act, Decision, Principal, Verdict
from gateway.policy import lint, load
from gateway.policy.compare import standing
from gateway.policy.finding import Level, PolicyInvalid
from gateway.policy.load import compile
from gateway.policy.snapshot import Snapshot
from tests.policy.made import NOON_US, call_of, defined, snapshot_of, source_of
from tests.policy.test_equality import ACTS, AGENTS, APPROVALS, CONDITIONS, PATTERNS, World, worlds

ALLOW, DENY, NEEDS = Verdict.ALLOW, Verdict.DENY, Verdict.NEEDS
SMALL = """
[small]
arguments = [{ at = "/n", lte = 5 }]
[risky]
tags = { has_any = ["risky"] }
"""
HELD = [("bot", "r", "default"), ("ann", "boss", "default"), ("bob", "cfo", "default")]
WAITS = "p, r, default, tool/s/pay, call, approval:boss, allow"


def asked(rules: Iterable[str], n: int = 9, *, tags: Iterable[str] = ()) -> Decision:
    snapshot = snapshot_of("\n".join(rules), SMALL, HELD)
    return snapshot.decide(call_of("bot", "tool/s/pay", arguments={"n": n}, tags=tags), NOON_US)


def said(decision: Decision) -> tuple[Verdict, int, tuple[tuple[str, ...], ...]]:
    return decision.verdict, decision.rule, decision.approvals


@pytest.mark.parametrize(
    ("more", "n", "expected"),
    [
        pytest.param([], 9, (NEEDS, 0, (("boss",),)), id="the only rule waits"),
        pytest.param(
            ["p, r, default, tool/s/*, call, -, allow"], 9, (ALLOW, 1, ()), id="another does not"
        ),
        pytest.param(
            ["p, bot, default, tool/s/*, call, small, allow"], 5, (ALLOW, 1, ()), id="a small one"
        ),
        pytest.param(
            ["p, bot, default, tool/s/*, call, small, allow"],
            9,
            (NEEDS, 0, (("boss",),)),
            id="a large one",
        ),
        pytest.param(
            ["p, r, default, tool/*, call, approval:cfo+small+approval:boss, allow"],
            5,
            (NEEDS, 1, (("boss",), ("cfo", "boss"))),
            id="one role, or two",
        ),
        pytest.param(
            ["p, r, default, tool/*, call, approval:boss, allow"],
            9,
            (NEEDS, 1, (("boss",),)),
            id="the same role twice",
        ),
        pytest.param(["p, *, *, tool/*, call, -, deny"], 9, (DENY, 1, ()), id="a deny overrides"),
        pytest.param(
            ["p, *, *, tool/*, call, risky, deny"],
            9,
            (NEEDS, 0, (("boss",),)),
            id="one that is false",
        ),
    ],
)
def test_an_approval_is_needed_where_every_allow_that_counts_demands_one(
    more: list[str], n: int, expected: tuple[object, ...]
) -> None:
    assert said(asked([WAITS, *more], n)) == expected


def test_conditions_come_before_people() -> None:
    decision = asked(["p, r, default, tool/s/pay, call, small+approval:boss, allow"], 9)
    assert said(decision) == (DENY, -1, ())
    assert (decision.visible, decision.unmet) == (True, ("small",))


def test_what_waits_for_an_approval_is_listed() -> None:
    snapshot = snapshot_of(f"{WAITS}\np, *, *, tool/*, call, risky, deny", SMALL, HELD)
    bot = Principal("default", "bot")
    assert snapshot.visible(bot, [defined("tool/s/pay"), defined("tool/s/other")]) == (
        defined("tool/s/pay"),
    )
    assert snapshot.visible(bot, [defined("tool/s/pay", ["risky"])]) == ()
    assert asked([WAITS]).visible


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    subject=st.sampled_from([*AGENTS, "r1", "*"]),
    pattern=st.sampled_from(PATTERNS),
    act=st.sampled_from([*ACTS, "*"]),
    approval=st.sampled_from(APPROVALS),
)
def test_a_rule_with_an_approval_never_makes_anything_allowed(
    world: World, subject: str, pattern: str, act: str, approval: str
) -> None:
    line = f"p, {subject}, *, {pattern}, {act}, {approval}, allow"
    before = _compiled(world.source.files["policy.csv"].decode())
    after = _compiled(f"{world.source.files['policy.csv'].decode()}\n{line}")
    for request in world.requests:
        then = before.decide(request.call, request.now_us)
        now = after.decide(request.call, request.now_us)
        assert (now.verdict is ALLOW) is (then.verdict is ALLOW)
        assert now.verdict is not DENY or then.verdict is DENY
        if then.verdict is ALLOW:
            assert now.rule == then.rule


def _compiled(rules: str) -> Snapshot:
    try:
        return compile(source_of(rules, CONDITIONS), ())
    except PolicyInvalid:
        assume(False)  # roles in a circle
        raise


def test_people_are_told_who_has_to_approve() -> None:
    rules = f"{WAITS}\np, r, default, tool/s/*, call, small+approval:cfo+approval:boss, allow"
    snapshot = snapshot_of(rules, SMALL, HELD)
    why = snapshot.explain(call_of("bot", "tool/s/pay", arguments={"n": 1}), NOON_US)
    assert "policy.csv:2" in why.sentence
    assert "the role 'boss', or 'cfo' and 'boss' has to approve it" in why.sentence
    assert "approved" in why.fix
    assert why.nearest == ()
    assert "small is true, 'cfo' approves, 'boss' approves" in why.say()
    thing = defined("tool/s/pay")
    answer = standing(snapshot, Principal("default", "bot"), Act.CALL, thing).answer
    assert answer == "if approval:boss or small+approval:cfo+approval:boss"


@pytest.mark.parametrize(("expect", "passes"), [("needs", True), ("allow", False), ("deny", False)])
def test_a_case_can_expect_that_an_approval_is_needed(expect: str, passes: bool) -> None:
    case = f'[[case]]\nname = "c"\nrole = "r"\nobject = "tool/s/pay"\nexpect = "{expect}"\n'
    source = source_of(WAITS, SMALL, cases__a_toml=f'{case}rule = "{WAITS}"\nvisible = true\n')
    if passes:
        assert load.tested(source, HELD).cases[0].passed
    else:
        with pytest.raises(PolicyInvalid, match=f"expected {expect}, got needs"):
            load.tested(source, HELD)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        pytest.param(WAITS, None, id="somebody has the role"),
        pytest.param(WAITS.replace("boss", "bos"), "nobody could give 'approval:bos'", id="a slip"),
        pytest.param(WAITS.replace("boss", "pope"), "nobody could give", id="nobody"),
        pytest.param(
            WAITS.replace("default", "acme"), "nobody could give", id="nobody of that tenant"
        ),
        pytest.param(WAITS.replace("default", "*"), None, id="somebody of some tenant"),
        pytest.param(
            "p, r, default, admin/keys, admin, approval:boss, allow",
            "is asked of nobody",
            id="administration",
        ),
        pytest.param(
            f"p, r, default, tool/*, call, -, allow\n{WAITS}", "changes nothing", id="never asked"
        ),
    ],
)
def test_approvals_that_cannot_be_given_or_are_never_asked_for_are_warned_of(
    rule: str, says: str | None
) -> None:
    rules = (
        f"{rule}\np, boss, default, tool/s/x, call, -, allow\np, cfo, *, tool/s/x, list, -, allow"
    )
    found = [f for f in lint.check(source_of(rules), HELD) if f.file == "policy.csv"]
    about = [f for f in found if f.line <= 2 and "approval" in f.what + f.what + rule and says]
    assert not [f for f in found if f.level is Level.ERROR]
    if says is None:
        assert not [f for f in found if "approval" in f.what]
    else:
        assert any(says in f.what for f in about)


def test_a_message_that_names_no_skill_may_be_about_a_denied_one() -> None:
    allow = "p, bot, default, peer/billing/*, call, -, allow\n"
    whole = call_of("bot", "peer/billing/*")

    def verdict(*more: str) -> Verdict:
        return snapshot_of(allow + "\n".join(more), SMALL).decide(whole, NOON_US).verdict

    assert verdict() is ALLOW
    assert verdict("p, *, *, peer/other/quote, call, -, deny") is ALLOW
    assert verdict("p, *, *, peer/billing/quote, list, -, deny") is ALLOW
    assert verdict("p, *, *, peer/billing/quote, call, -, deny") is DENY
    assert verdict("p, bot, default, peer/billing/pay*, *, small, deny") is DENY
    barred = snapshot_of(f"{allow}p, *, *, peer/billing/quote, call, -, deny")
    assert "names no skill" in barred.explain(whole, NOON_US).sentence
    one = snapshot_of("p, bot, default, peer/billing/quote, call, -, allow")
    assert one.decide(whole, NOON_US).verdict is DENY
    assert one.decide(call_of("bot", "peer/billing/quote"), NOON_US).verdict is ALLOW


@pytest.mark.parametrize("name", ["model/gpt", "peer/billing/quote"])
def test_models_and_skills_are_ruled_like_tools(name: str) -> None:
    kind = name.partition("/")[0]
    snapshot = snapshot_of(
        f"p, bot, default, {kind}/*, call, -, allow\np, *, *, {kind}/*, call, risky, deny", SMALL
    )
    bot = Principal("default", "bot")
    assert snapshot.decide(call_of("bot", name), NOON_US).verdict is ALLOW
    assert snapshot.decide(call_of("bot", name, tags=["risky"]), NOON_US).rule == 1
    # Without a definition its tags are unknown, and a guard rail on tags holds.
    assert snapshot.decide(call_of("bot", name, known=False), NOON_US).rule == 1
    assert snapshot.visible(bot, [defined(name)]) == (defined(name),)
    assert snapshot.visible(bot, [defined(name, ["risky"])]) == ()
    case = f'[[case]]\nname = "c"\nagent = "bot"\nobject = "{name}"\nexpect = "allow"\n'
    exact = source_of(f"p, bot, default, {name}, call, -, allow", cases__a_toml=case)
    assert load.tested(exact, ()).cases[0].passed
