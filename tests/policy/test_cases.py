"""Golden decisions: read strictly, asked in full, and binding."""

from __future__ import annotations

import pytest

from gateway.domain.model import Verdict
from gateway.policy import cases, lint
from gateway.policy.finding import Level
from tests.policy.made import snapshot_of, source_of

RULES = """
p, r, default, tool/s/t, call, -, allow
p, r, default, tool/s/refund, call, small, allow
p, r, default, tool/s/night, call, night, allow
p, r, default, tool/s/team, call, team, allow
p, *, *, tool/*, call, risky, deny
p, r, acme, resource/s/file:///*, read, -, allow
"""
CONDITIONS = """
[small]
arguments = [{ at = "/amount", lte = 50 }]
[night]
hours_utc = "22:00-06:00"
[team]
teams = ["red"]
scopes = { has_any = ["x"] }
actors = { has_any = ["boss"] }
[risky]
tags = { has_any = ["risky"] }
"""
HEAD = '[[case]]\nname = "c"\n'


def _problem(text: str) -> str:
    """What is wrong with the one case of *text*, "" when it passes."""
    source = source_of(RULES, CONDITIONS, cases__a_toml=HEAD + text)
    snapshot = snapshot_of(RULES, CONDITIONS, [("bot", "r", "default")])
    (result,) = cases.run(snapshot, source)
    assert result.passed is not bool(result.problem)
    return result.problem


@pytest.mark.parametrize(
    "text",
    [
        'role = "r"\nobject = "tool/s/t"\nexpect = "allow"',
        'agent = "bot"\nobject = "tool/s/t"\nexpect = "allow"\nvisible = true',
        'agent = "r"\nobject = "tool/s/t"\nexpect = "deny"\nvisible = false',
        'agent = "bot"\ntenant = "acme"\nobject = "tool/s/t"\nexpect = "deny"\nvisible = false',
        'role = "r"\nobject = "tool/s/refund"\narguments = { amount = 5 }\nexpect = "allow"',
        'role = "r"\nobject = "tool/s/refund"\nexpect = "deny"\nvisible = true',
        'role = "r"\nobject = "tool/s/night"\nexpect = "deny"',
        'role = "r"\nobject = "tool/s/night"\ntime = 2026-01-05T23:30:00Z\nexpect = "allow"',
        'role = "r"\nobject = "tool/s/night"\ntime = 2026-01-05T23:30:00+02:00\nexpect = "deny"',
        'role = "r"\nobject = "tool/s/team"\nexpect = "deny"',
        'role = "r"\nobject = "tool/s/team"\nteam = "red"\nscopes = ["x"]\nactors = ["boss"]\n'
        'expect = "allow"',
        'role = "r"\nobject = "tool/s/t"\ntags = ["risky"]\nexpect = "deny"\nvisible = false',
        'role = "r"\nobject = "tool/s/t"\nexpect = "allow"\n'
        'rule = "p,r , default,tool/s/t, call, -, allow"',
        'role = "r"\ntenant = "acme"\nact = "read"\nobject = "resource/s/file:///a/b"\n'
        'expect = "allow"',
        'role = "r"\nact = "read"\nobject = "admin/metrics"\nexpect = "deny"',
    ],
)
def test_a_case_that_holds_passes(text: str) -> None:
    assert _problem(text) == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'role = "r"\nobject = "tool/s/x"\nexpect = "allow"',
            "expected allow, got deny by default",
        ),
        (
            'role = "r"\nobject = "tool/s/t"\nexpect = "deny"',
            "expected deny, got allow by policy.csv:2 (p, r, default, tool/s/t, call, -, allow)",
        ),
        (
            'role = "r"\nobject = "tool/s/t"\nexpect = "allow"\nrule = "p, x"',
            "allow as expected, but by policy.csv:2",
        ),
        (
            'role = "r"\nobject = "tool/s/x"\nexpect = "deny"\nrule = "p, x"',
            "deny as expected, but by default",
        ),
        (
            'role = "r"\nobject = "tool/s/refund"\nexpect = "deny"\nvisible = false',
            "expected visible = false, got true",
        ),
        (
            'role = "r"\nobject = "admin/x"\nexpect = "deny"\nvisible = false',
            "can only be asked of tools",
        ),
    ],
)
def test_a_case_that_fails_says_what_was_answered_and_by_which_rule(text: str, says: str) -> None:
    assert says in _problem(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD, "`object` is missing"),
        ('[[case]]\nrole = "r"\nobject = "tool/s/t"\nexpect = "deny"', "`name` is missing"),
        (HEAD + 'object = "tool/s/t"\nexpect = "deny"', "either `agent` or `role`"),
        (
            HEAD + 'role = "r"\nagent = "b"\nobject = "tool/s/t"\nexpect = "deny"',
            "either `agent` or `role`",
        ),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\nexpect = "no"', "'allow', 'deny' or 'needs'"),
        (HEAD + 'role = "r"\nobject = "tools/s/t"\nexpect = "deny"', "begins with one of"),
        (HEAD + 'role = "r"\nobject = "tool/t"\nexpect = "deny"', "kind/server/name"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\nact = "go"\nexpect = "deny"', "`act` is one of"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\nact = "list"\nexpect = "deny"', "ask `visible`"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\nexpects = "deny"', "did you mean 'expect'?"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\ntags = "x"\nexpect = "deny"', "a list of names"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\ntags = [1]\nexpect = "deny"', "a list of names"),
        (HEAD + 'role = "r"\nobject = "tool/s/t"\nvisible = 1\nexpect = "deny"', "true or false"),
        (
            HEAD + 'role = "r"\nobject = "tool/s/t"\ntime = 2026-01-01T00:00:00\nexpect = "deny"',
            "with its zone",
        ),
        ("[[cases]]\n", "[[case]] entries and nothing else"),
        ("case = 1\n", "[[case]] entries and nothing else"),
        ("case = [1]\n", "expected a table"),
        ("[[case\n", "not a TOML file"),
    ],
)
def test_a_case_that_cannot_be_understood_is_an_error(text: str, says: str) -> None:
    found = lint.check(source_of(RULES, CONDITIONS, cases__a_toml=text))
    errors = [finding for finding in found if finding.level is Level.ERROR]
    assert [says in finding.what for finding in errors] == [True]
    assert errors[0].file == "cases/a.toml"


def test_a_failing_case_is_found_at_its_line() -> None:
    text = (
        HEAD + 'role = "r"\nobject = "tool/s/t"\nexpect = "allow"\n\n' + HEAD.replace("c", "case")
    )
    text = text.replace("[[casease]]", "[[case]]").replace('"case"', '"second"')
    text += 'role = "r"\nobject = "tool/s/t"\nexpect = "deny"\n'
    source = source_of(RULES, CONDITIONS, cases__a_toml=text)
    results = cases.run(snapshot_of(RULES, CONDITIONS), source)
    found = cases.failures(results)
    assert [(f.file, f.line) for f in found] == [
        ("cases/a.toml", text[: text.rindex("[[")].count("\n") + 1)
    ]
    assert "'second' fails: expected deny, got allow" in found[0].what
    assert results[0].decision.verdict is Verdict.ALLOW


def test_two_cases_of_one_name_are_a_warning() -> None:
    one = HEAD + 'role = "r"\nobject = "tool/s/t"\nexpect = "allow"\n'
    found = lint.check(source_of(RULES, CONDITIONS, cases__a_toml=one + one))
    assert [f.what for f in found] == ["two cases are called 'c'"]
