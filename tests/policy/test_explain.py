"""Why a call is decided as it is, told to people."""

from __future__ import annotations

import pytest

from gateway.domain.model import Verdict
from gateway.policy.explain import Explanation
from gateway.policy.snapshot import builtin_deny_all
from tests.policy.made import NOON_US, call_of, snapshot_of

RULES = """p, analyst, default, tool/docs/get_*, call, -, allow
p, billing, default, tool/pay/refund, call, small, allow
p, maintainer, default, tool/docs/delete_page, call, -, allow
p, *, *, tool/*, call, risky, deny
p, reader, default, tool/docs/list_pages, call, -, allow
p, analyst2, default, tool/docs/get_page, call, -, allow
p, billing, default, resource/docs/*, list, -, allow
g, analyst, reader, default
"""
CONDITIONS = """
[small]
arguments = [{ at = "/amount", lte = 50 }]
[risky]
tags = { has_any = ["risky"] }
"""
HELD = [
    ("bot", "analyst", "default"),
    ("bot", "billing", "default"),
    ("boss", "maintainer", "default"),
]


def _why(name: str, who: str = "bot", act: str = "call", **more: object) -> Explanation:
    policy = snapshot_of(RULES, CONDITIONS, HELD)
    tags = more.pop("tags", ())
    assert isinstance(tags, tuple)
    return policy.explain(call_of(who, name, act, more, tags=tags), NOON_US)


def test_an_allow_names_the_rule_and_the_roles_that_lead_to_it() -> None:
    why = _why("tool/docs/list_pages")
    assert why.decision.verdict is Verdict.ALLOW
    assert "policy.csv:5" in why.sentence
    assert "bot -> analyst -> reader" in why.sentence
    assert [m.path for m in why.matches if m.counts] == [("bot", "analyst", "reader")]
    assert why.nearest == ()


def test_every_matching_rule_is_told_and_not_only_the_deciding_one() -> None:
    why = _why("tool/docs/get_page", tags=("risky",))
    assert [(m.rule.index, m.counts) for m in why.matches] == [(0, True), (3, True)]
    assert "policy.csv:4" in why.sentence
    assert "a deny overrides every allow" in why.fix
    assert [(m.rule.index, m.counts) for m in _why("tool/docs/get_page").matches] == [
        (0, True),
        (3, False),
    ]


@pytest.mark.parametrize(
    ("name", "who", "part", "says", "fix"),
    [
        ("tool/docs/delete_page", "bot", "subject", "with role 'maintainer'", "grant the role"),
        ("tool/pay/refund", "bot", "condition", "if small (/amount lte 50) held", "so that small"),
        ("tool/docs/getpage", "bot", "object", "all but the object matches", "add a rule"),
        ("tool/docs/get_page", "analyst2@acme", "tenant", "which is not 'acme'", "add a rule"),
        ("resource/docs/a", "bot", "act", "which is not 'read'", "add a rule"),
    ],
)
def test_a_default_deny_names_the_rule_that_nearly_allows(
    name: str, who: str, part: str, says: str, fix: str
) -> None:
    why = _why(name, who, "read" if part == "act" else "call")
    assert why.sentence == "default deny: no rule allows it"
    assert why.nearest[0].part == part
    assert says in why.nearest[0].sentence
    assert fix in why.fix


def test_a_rule_about_another_server_is_not_near() -> None:
    assert _why("tool/mail/send").nearest == ()


def test_what_is_easiest_to_mend_comes_first_and_few_are_told() -> None:
    rules = "".join(f"p, r{i}, default, tool/s/t, call, -, allow\n" for i in range(9))
    rules += "p, bot, default, tool/s/t, call, small, allow\n"
    policy = snapshot_of(rules, CONDITIONS.split("[risky]")[0])
    why = policy.explain(call_of("bot", "tool/s/t"), 0)
    assert [near.part for near in why.nearest] == ["condition", "subject", "subject"]


def test_an_argument_value_is_never_told() -> None:
    assert "777" not in _why("tool/pay/refund", amount=777).say()


def test_what_cannot_be_evaluated_is_told_as_that() -> None:
    assert "small cannot be evaluated [does not count]" in _why("tool/pay/refund").say()


def test_a_name_of_a_role_a_list_and_an_empty_policy_have_their_own_reason() -> None:
    assert "is the name of a role" in _why("tool/docs/get_page", "analyst").sentence
    assert "asking is open" in _why("tool//*", act="list").sentence
    assert "own right to list" in _why("tool/docs/x", "system:discover", "list").sentence
    built_in = builtin_deny_all().explain(call_of("bot", "tool/s/t"), 0)
    assert "denies everything" in built_in.sentence


def test_an_explanation_reads_well_on_a_terminal() -> None:
    assert _why("tool/docs/delete_page").say().splitlines() == [
        "deny  bot -> call tool/docs/delete_page in tenant default",
        "  by: default deny: no rule allows it",
        "  rule: policy.csv:4 (p, *, *, tool/*, call, risky, deny) through bot -> *;"
        " risky is false [does not count]",
        "  near: would be allowed with role 'maintainer':"
        " policy.csv:3 (p, maintainer, default, tool/docs/delete_page, call, -, allow)",
        "  near: all but the object matches, which is not 'tool/docs/delete_page':"
        " policy.csv:1 (p, analyst, default, tool/docs/get_*, call, -, allow)",
        "  near: all but the object matches, which is not 'tool/docs/delete_page':"
        " policy.csv:5 (p, reader, default, tool/docs/list_pages, call, -, allow)",
        "  fix: grant the role 'maintainer', if it should be allowed",
    ]
