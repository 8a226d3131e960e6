"""Decisions and lists: who may, who sees, who is barred, and that no cache grows or lies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.model import Approval, Decision, Kind, Principal, Verdict, object_name
from gateway.policy import snapshot as snapshots
from gateway.policy.decide import object_of
from gateway.policy.files import PolicySource
from gateway.policy.snapshot import Policies, Snapshot, builtin_deny_all
from tests.policy.made import NOON_US, call_of, defined, snapshot_of

ALLOW, DENY = Verdict.ALLOW, Verdict.DENY
HELD = [("bot", "r", "default"), ("twin", "r", "default"), ("bot", "other", "acme")]
RULES = """
p, r, default, tool/s/get_*, call, -, allow
p, r, default, tool/s/get_secret, call, -, deny
p, r, default, tool/s/refund, call, small, allow
p, r, default, tool/s/scoped, call, scoped, allow
p, r, default, tool/s/direct, call, -, allow
p, *, *, tool/s/direct, call, delegated, deny
p, *, *, tool/*, call, risky, deny
p, r, default, tool/s/shown, list, -, allow
p, r, default, tool/s/night, call, night, allow
p, r, default, tool/s/capped, call, -, allow
p, r, default, tool/s/capped, call, big, deny
p, r, default, resource/s/file:///*, read, -, allow
p, r, default, resource/s/file:///quiet, subscribe, -, deny
p, r, default, prompt/s/*, complete, -, allow
p, r, default, prompt/s/shut, get, -, deny
p, r, default, admin/metrics, read, -, allow
p, other, acme, tool/s/*, call, -, allow
"""
CONDITIONS = """
[small]
arguments = [{ at = "/amount", lte = 50 }]
[big]
arguments = [{ at = "/amount", gt = 50 }]
[scoped]
scopes = { has_any = ["tools:call"] }
[delegated]
actors = { empty = false }
[risky]
tags = { has_any = ["risky"] }
[night]
hours_utc = "22:00-06:00"
"""


@pytest.fixture(scope="module")
def policy() -> Snapshot:
    return snapshot_of(RULES, CONDITIONS, HELD)


def _said(decision: Decision) -> tuple[Verdict, int, bool]:
    return decision.verdict, decision.rule, decision.visible


@pytest.mark.parametrize(
    ("name", "act", "expected"),
    [
        pytest.param("tool/s/get_a", "call", (ALLOW, 0, True), id="a prefix allows"),
        pytest.param("tool/s/get_", "call", (ALLOW, 0, True), id="nothing after the prefix"),
        pytest.param("tool/s/get", "call", (DENY, -1, False), id="shorter than the prefix"),
        pytest.param("tool/s/get_secret", "call", (DENY, 1, False), id="a deny overrides"),
        pytest.param("tool/s/unknown", "call", (DENY, -1, False), id="default deny"),
        pytest.param("tool/s/shown", "call", (DENY, -1, True), id="shown is not allowed"),
        pytest.param("tool/s/refund", "call", (DENY, -1, True), id="a condition does not hide"),
        pytest.param("tool/s/night", "call", (DENY, -1, True), id="the hour does not hide"),
        pytest.param("tool/s/scoped", "call", (DENY, -1, False), id="a missing scope hides"),
        pytest.param("tool/s/capped", "call", (DENY, 10, True), id="a deny on arguments"),
        pytest.param("resource/s/file:///a/b", "read", (ALLOW, 11, True), id="a resource"),
        pytest.param("resource/s/file:///quiet", "subscribe", (DENY, 12, True), id="read only"),
        pytest.param("prompt/s/p", "complete", (ALLOW, 13, True), id="completion"),
        pytest.param("prompt/s/p", "get", (DENY, -1, True), id="completion shows the prompt"),
        pytest.param("prompt/s/shut", "get", (DENY, 14, False), id="a deny of get hides"),
        pytest.param("admin/metrics", "read", (ALLOW, 15, True), id="administration"),
        pytest.param("admin/keys", "read", (DENY, -1, False), id="other administration"),
    ],
)
def test_a_call_is_decided(
    policy: Snapshot, name: str, act: str, expected: tuple[Verdict, int, bool]
) -> None:
    assert _said(policy.decide(call_of("bot", name, act), NOON_US)) == expected


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        pytest.param("bot", ALLOW, id="a holder of the role"),
        pytest.param("stranger", DENY, id="somebody else"),
        pytest.param("bot@acme", ALLOW, id="the same name with another role elsewhere"),
        pytest.param("twin@acme", DENY, id="a holder of the role in another tenant"),
        pytest.param("bot@*", DENY, id="the tenant of guard rails is nobody's"),
        pytest.param("*", DENY, id="the name for everybody is nobody's"),
        pytest.param("", DENY, id="no name"),
        pytest.param("r", DENY, id="whoever is called like a role"),
        pytest.param("system:discover", DENY, id="the gateway's own discoverer calls nothing"),
    ],
)
def test_who_may_call(policy: Snapshot, who: str, expected: Verdict) -> None:
    call = call_of(who, "tool/s/get_a")
    assert policy.decide(call, NOON_US).verdict is expected
    seen = policy.visible(call.principal, (defined("tool/s/get_a"),))
    assert bool(seen) is (expected is ALLOW or who == "system:discover")


def test_a_principal_without_tenant_may_nothing(policy: Snapshot) -> None:
    call = call_of(Principal("", "bot"), "tool/s/get_a")
    assert policy.decide(call, NOON_US).verdict is DENY
    assert policy.decide(replace(call, name="*"), NOON_US).verdict is DENY


def test_asking_for_a_list_is_open_since_it_is_filtered(policy: Snapshot) -> None:
    for name, act in (("tool//*", "list"), ("server/s/", "list"), ("server//*", "subscribe")):
        decision = policy.decide(call_of("stranger", name, act), NOON_US)
        assert (decision.verdict, decision.rule) == (ALLOW, -1)
    assert policy.decide(call_of("stranger", "tool/s/*", "call"), NOON_US).verdict is DENY


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///a/b.txt", ALLOW),
        ("file:///a/...", ALLOW),
        ("file:///a/..b?range=v1..v2", ALLOW),
        ("file:///100%25", ALLOW),
        ("file:///a/../../etc/passwd", DENY),
        ("file:///a/./b", DENY),
        ("file:///..", DENY),
        ("file:///a/..?x=1", DENY),
        ("file:///a/..#x", DENY),
        ("file:///a/%2e%2E/etc", DENY),
        ("file:///a/.%2e/etc", DENY),
        ("file:///a%2f..%2fetc", DENY),
        ("file:///a\\..\\etc", DENY),
        ("file:///a%5C..%5cetc", DENY),
        ("file:///a/%252e%252e/etc", DENY),
        ("file:///a%25252f..%25252fetc", DENY),
        ("file:///%73ecret", DENY),
        ("file:///a%5Fb", DENY),
        ("file:///a%20b%C3%A9%3F", ALLOW),
    ],
)
def test_a_uri_that_its_server_may_read_otherwise_is_denied(
    policy: Snapshot, uri: str, expected: Verdict
) -> None:
    decision = policy.decide(call_of("bot", f"resource/s/{uri}", "read"), NOON_US)
    assert decision.verdict is expected
    assert decision.visible is (expected is ALLOW)


def test_a_role_that_a_credential_proves_counts_for_it_alone() -> None:
    policy = snapshot_of("p, r, default, tool/s/*, call, -, allow\ng, other, s, default")
    definition = defined("tool/s/get_a")
    bare = Principal("default", "corp/alice")
    proved = Principal("default", "corp/alice", roles=frozenset({"r"}))
    for who, verdict, seen in ((bare, DENY, ()), (proved, ALLOW, (definition,)), (bare, DENY, ())):
        assert policy.decide(call_of(who, "tool/s/get_a"), NOON_US).verdict is verdict
        assert policy.visible(who, (definition,)) == seen
    elsewhere = replace(proved, tenant="acme")
    assert policy.decide(call_of(elsewhere, "tool/s/get_a"), NOON_US).verdict is DENY
    assert policy.rights(bare) != policy.rights(proved)


def test_a_role_that_a_credential_proves_does_not_show_what_another_role_sees() -> None:
    policy = snapshot_of("p, r, default, tool/s/*, call, -, allow")
    as_other = Principal("default", "other", roles=frozenset({"r"}))
    assert policy.visible_to_role(as_other, (defined("tool/s/get_a"),)) == ()


def test_nobody_who_is_called_like_a_role_has_rights_by_what_a_token_says() -> None:
    policy = snapshot_of("p, r, default, tool/s/*, call, -, allow\ng, bot, corp/r, default")
    who = Principal("default", "corp/r", roles=frozenset({"r"}))
    assert policy.decide(call_of(who, "tool/s/t"), NOON_US).verdict is DENY


def test_the_discoverer_lists_everything_whatever_the_rules_say() -> None:
    closed = snapshot_of("p, *, *, *, *, -, deny")
    who = Principal("default", "system:discover")
    for policy in (closed, builtin_deny_all()):
        assert policy.decide(call_of(who, "server/s/", "list"), 0).verdict is ALLOW
        assert policy.decide(call_of(who, "tool/s/t"), 0).verdict is DENY
        assert policy.visible(who, (defined("tool/s/t"),))


def test_without_a_policy_folder_everything_is_denied() -> None:
    policy = builtin_deny_all()
    assert len(policy.version) == 64
    assert policy.rules == ()
    decision = policy.decide(call_of("bot", "tool/s/get_a"), NOON_US)
    assert _said(decision) == (DENY, -1, False)
    assert policy.visible(Principal("default", "bot"), (defined("tool/s/get_a"),)) == ()


def test_a_tool_with_a_dangerous_tag_is_denied_and_hidden(policy: Snapshot) -> None:
    call = call_of("bot", "tool/s/get_a", tags=["risky"])
    decision = policy.decide(call, NOON_US)
    assert _said(decision) == (DENY, 6, False)
    assert decision.conditions == (("risky", True),)


def test_a_tool_whose_tags_nobody_knows_meets_the_guard_rail(policy: Snapshot) -> None:
    decision = policy.decide(call_of("bot", "tool/s/get_a", known=False), NOON_US)
    assert _said(decision) == (DENY, 6, False)
    assert decision.conditions == (("risky?", False),)


def test_a_call_passes_at_the_right_hour(policy: Snapshot) -> None:
    call = call_of("bot", "tool/s/night")
    assert policy.decide(call, NOON_US).verdict is DENY
    assert policy.decide(call, NOON_US + 11 * 3_600_000_000).verdict is ALLOW


def test_the_same_call_is_judged_anew_in_each_context(policy: Snapshot) -> None:
    def verdict(amount: object) -> Verdict:
        call = call_of("bot", "tool/s/refund", arguments={"amount": amount})
        return policy.decide(call, NOON_US).verdict

    assert [verdict(n) for n in (1, 51, 1, "1", 50)] == [ALLOW, DENY, ALLOW, DENY, ALLOW]


@pytest.mark.parametrize(
    ("name", "arguments", "unmet"),
    [
        ("refund", {"amount": 51}, ("small",)),
        ("refund", {}, ("small",)),
        ("night", {}, ("night",)),
        ("capped", {"amount": 51}, ("not big",)),
        ("shown", {}, ()),
        ("scoped", {}, ()),
        ("get_secret", {}, ()),
        ("get_a", {}, ()),
    ],
)
def test_a_denied_caller_learns_the_condition_in_its_way_and_no_other(
    policy: Snapshot, name: str, arguments: dict[str, object], unmet: tuple[str, ...]
) -> None:
    # Guard rails were looked at as well; that they do not apply is no news to the caller.
    decision = policy.decide(call_of("bot", f"tool/s/{name}", arguments=arguments), NOON_US)
    assert decision.unmet == unmet


def test_lists_hold_what_may_be_called_or_is_only_conditionally_denied(policy: Snapshot) -> None:
    names = [
        "tool/s/get_a",
        "tool/s/get_secret",
        "tool/s/refund",
        "tool/s/scoped",
        "tool/s/direct",
        "tool/s/shown",
        "tool/s/night",
        "tool/s/capped",
        "tool/s/unknown",
        "resource/s/file:///quiet",
        "resource/t/file:///a",
        "prompt/s/p",
        "prompt/s/shut",
    ]
    definitions = [defined(name) for name in names]
    plain = Principal("default", "bot")
    seen = [d.object for d in policy.visible(plain, definitions)]
    assert seen == [names[i] for i in (0, 2, 4, 5, 6, 7, 9, 11)]
    scoped = replace(plain, scopes=frozenset({"tools:call"}), actors=("twin",))
    seen = [d.object for d in policy.visible(scoped, definitions)]
    assert seen == [names[i] for i in (0, 2, 5, 6, 7, 9, 11)]  # twin has no scope of its own


def test_what_is_listed_could_be_called_in_some_context(policy: Snapshot) -> None:
    who = Principal("default", "bot")
    for name in ("get_a", "refund", "direct", "night", "capped"):
        assert policy.visible(who, (defined(f"tool/s/{name}"),))
        verdicts = {
            policy.decide(call_of(who, f"tool/s/{name}", arguments={"amount": n}), us).verdict
            for n in (1, 99)
            for us in (NOON_US, NOON_US + 11 * 3_600_000_000)
        }
        assert ALLOW in verdicts


def test_lists_never_hold_what_is_not_approved(policy: Snapshot) -> None:
    for approval in (Approval.PROPOSED, Approval.QUARANTINED):
        definition = defined("tool/s/get_a", approval=approval)
        assert policy.visible(Principal("default", "bot"), (definition,)) == ()
        assert policy.visible(Principal("default", "system:discover"), (definition,)) == ()


def test_a_denied_call_of_something_in_no_list_says_nothing_of_it(policy: Snapshot) -> None:
    call = call_of("bot", "tool/s/refund")
    assert policy.decide(call, NOON_US).visible
    assert not policy.decide(replace(call, definition=None), NOON_US).visible
    quarantined = defined("tool/s/refund", approval=Approval.QUARANTINED)
    assert not policy.decide(replace(call, definition=quarantined), NOON_US).visible


def test_a_list_entry_and_a_decision_agree_on_what_is_visible(policy: Snapshot) -> None:
    who = Principal("default", "bot")
    for name in ("get_a", "get_secret", "refund", "scoped", "direct", "shown", "night", "capped"):
        for tags in ((), ("risky",)):
            call = call_of(who, f"tool/s/{name}", arguments={"amount": 51}, tags=tags)
            assert call.definition is not None
            decision = policy.decide(call, NOON_US)
            assert decision.visible is bool(policy.visible(who, (call.definition,)))


def test_resource_names_chosen_by_callers_fill_no_memory() -> None:
    policy = snapshot_of(RULES, CONDITIONS, HELD)
    for i in range(snapshots.MAX_RULINGS + 100):
        call = call_of("bot", f"resource/s/file:///{i}", "read")
        assert policy.decide(call, 0).verdict is ALLOW
        policy.decide(call_of("bot", f"tool/s/nothing_{i}"), 0)
    policy.decide(call_of("bot", "tool/s/" + "x" * 10_000), 0)
    assert len(policy._rulings) <= snapshots.MAX_RULINGS
    assert max(len(name) for _, _, name in policy._rulings) <= snapshots.MAX_KEPT_NAME
    assert policy._sights == {}
    assert len(policy._decisions) < 20


def test_views_of_ever_new_subjects_are_bounded_and_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "MAX_SUBJECTS", 50)
    monkeypatch.setattr(snapshots, "MAX_VIEWED_RULES", 40)
    policy = snapshot_of(RULES, CONDITIONS, HELD)
    for i in range(200):
        policy.decide(call_of(f"ghost{i}@tenant{i}", "tool/s/get_a"), 0)
        assert policy.decide(call_of("bot", "tool/s/get_a"), 0).rule == 0
        assert policy.decide(call_of("bot@acme", "tool/s/get_a"), 0).rule == 16
        assert policy.decide(call_of("twin", "tool/s/refund"), 0).verdict is DENY
    assert len(policy._subjects) <= 50
    assert len(policy._callers) <= 50
    assert len(policy._views) <= 3
    assert policy._viewed_rules <= 40 + len(RULES.splitlines())


def test_agents_with_the_same_roles_share_one_view() -> None:
    policy = snapshot_of(RULES, CONDITIONS, HELD)
    nothing = frozenset[str]()
    assert policy._view("bot", "default", nothing) is policy._view("twin", "default", nothing)


def test_a_swap_changes_the_next_decision_and_gives_back_the_old_policy() -> None:
    first, second = snapshot_of("p, bot, default, tool/s/t, call, -, allow"), builtin_deny_all()
    policies = Policies(first, lambda: NOON_US)
    call, definition = call_of("bot", "tool/s/t"), defined("tool/s/t")
    assert policies.decide(call).policy_version == first.version
    assert policies.current.visible(call.principal, (definition,)) == (definition,)
    policies.swap(second)
    assert policies.current is second
    assert policies.decide(call) == Decision(DENY, second.version)
    assert policies.current.visible(call.principal, (definition,)) == ()


def test_the_policy_in_force_asks_the_clock_for_each_decision() -> None:
    policy = snapshot_of(RULES, CONDITIONS, HELD)
    times = iter([NOON_US, NOON_US + 11 * 3_600_000_000])
    policies = Policies(policy, lambda: next(times))
    call = call_of("bot", "tool/s/night")
    assert [policies.decide(call).verdict for _ in range(2)] == [DENY, ALLOW]


def test_an_empty_source_is_no_policy_but_has_a_version() -> None:
    assert builtin_deny_all().version == builtin_deny_all().version
    assert PolicySource({}).rule_files() == ()


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.ADMIN])
def test_rules_name_an_object_as_entries_do(kind: Kind) -> None:
    call = call_of("bot", f"{kind}/m" if kind is Kind.MODEL else f"{kind}/s/a")
    assert object_of(call) == object_name(kind, call.server, call.name) == call.object
