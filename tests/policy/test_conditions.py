"""conditions.toml: what each key means, and what an attacker can do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.model import Principal, Verdict
from gateway.policy.conditions import Facts, line_of, parse
from gateway.policy.predicates import Truth
from tests.policy.made import NOON_US, call_of, snapshot_of

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
FACTS = Facts(
    Principal("acme", "bot", team="red", scopes=frozenset({"tools:call"}), actors=("near", "far")),
    frozenset({"egress", "file_read"}),
    {},
    NOON_US,
)


def _truth(keys: str, facts: Facts) -> Truth:
    conditions, findings = parse(f"[c]\n{keys}\n".encode(), "conditions.toml")
    assert not findings
    return conditions["c"].truth(facts)


@pytest.mark.parametrize(
    ("keys", "truth"),
    [
        ('tags = { has_any = ["egress", "x"] }', True),
        ('tags = { has_all = ["egress", "x"] }', False),
        ('tags = { has_none = ["x"] }', True),
        ('tags = { only = ["egress"] }', False),
        ('tags = { only = ["egress", "file_read"], has_any = ["x"] }', False),
        ("tags = { empty = false }", True),
        ('scopes = { has_all = ["tools:call"] }', True),
        ('actors = { has_any = ["far"] }', True),
        ("actors = { empty = true }", False),
        ('tenants = ["acme"]', True),
        ('tenants = ["other"]', False),
        ('teams = ["blue", "red"]', True),
        ('teams = ["red"]\ntenants = ["other"]', False),
        ('weekdays = ["mon"]', True),
        ('weekdays = ["sun", "tue"]', False),
        ('hours_utc = "12:00-13:00"', True),
        ('hours_utc = "11:00-12:00"', False),
        ('hours_utc = "22:00-12:01"', True),
        ('hours_utc = "22:00-12:00"', False),
        ('hours_utc = "00:00-24:00"', True),
        ("from = 2026-01-05T12:00:00Z", True),
        ("until = 2026-01-05T12:00:00Z", False),
        ("until = 2026-01-05T14:00:00+02:00", False),
        ("until = 2026-01-05T14:00:01+02:00", True),
    ],
)
def test_a_condition_about_the_caller_the_tool_or_the_time(keys: str, truth: Truth) -> None:
    assert _truth(keys, FACTS) is truth


def test_weekdays_follow_the_calendar() -> None:
    names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    for days in range(14):
        facts = FACTS._replace(now_us=NOON_US + days * DAY_US)
        assert _truth(f'weekdays = ["{names[days % 7]}"]', facts) is True


def test_a_tool_without_tags_is_unclassified_rather_than_harmless() -> None:
    untagged = FACTS._replace(tags=frozenset())
    assert _truth('tags = { only = ["file_read"] }', untagged) is False
    assert _truth('tags = { has_any = ["file_read"] }', untagged) is False
    assert _truth('tags = { has_none = ["egress"] }', untagged) is True


def test_tags_of_an_unknown_definition_are_undefined() -> None:
    assert _truth('tags = { has_none = ["egress"] }', FACTS._replace(tags=None)) is None
    assert _truth("tags = { empty = true }", FACTS._replace(tags=None)) is None


def test_facts_never_print_arguments() -> None:
    facts = FACTS._replace(arguments={"password": "hunter2"})
    assert "hunter2" not in f"{facts!r} {facts}"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("", "tests nothing"),
        ('about = "x"', "tests nothing"),
        ('tag = { has_any = ["x"] }', "unknown key 'tag'"),
        ('tags = ["x"]', "is a table"),
        ('tags = { any = ["x"] }', "unknown test 'any'"),
        ("tags = { has_any = [] }", "at least one name"),
        ("tags = { has_any = [1] }", "takes names"),
        ("tags = { empty = 1 }", "unknown test 'empty'"),
        ("tenants = []", "at least one name"),
        ('teams = "red"', "at least one name"),
        ("arguments = []", "is a list"),
        ("arguments = [{ lte = 5 }]", "needs `at`"),
        ('arguments = [{ at = "amount", lte = 5 }]', "not a JSON pointer"),
        ('arguments = [{ at = "/amount" }]', "at least one operator"),
        ('arguments = [{ at = "/amount", max = 5 }]', "unknown operator 'max'"),
        ('hours_utc = "7-19"', "window in UTC"),
        ('hours_utc = "07:00-07:00"', "not a window"),
        ('hours_utc = "07:00-24:30"', "not a window"),
        ('weekdays = ["monday"]', "is not one of"),
        ("until = 2026-01-05T12:00:00", "with its zone"),
        ("until = 2026-01-05", "with its zone"),
        ("about = 1\ntenants = ['a']", "one sentence"),
    ],
)
def test_a_condition_that_makes_no_sense_is_a_finding_with_its_line(keys: str, says: str) -> None:
    conditions, findings = parse(f"# first line\n[c]\n{keys}\n".encode(), "conditions.toml")
    assert not conditions
    assert says in findings[0].what
    assert findings[0].line == 2


@pytest.mark.parametrize(
    "raw", [b"[c", b"\xff", b"a = " + b"[" * 100_000], ids=["cut", "bytes", "deep"]
)
def test_a_file_that_is_not_toml_is_one_finding(raw: bytes) -> None:
    conditions, findings = parse(raw, "conditions.toml")
    assert not conditions
    assert "not a TOML file" in findings[0].what


def test_a_bad_name_is_refused() -> None:
    assert "lower case" in parse(b'["a+b"]\ntenants = ["x"]', "c")[1][0].what
    assert "a table" in parse(b"c = 1", "c")[1][0].what


def test_the_line_of_a_table_is_found() -> None:
    text = "# [a]\n[b]\n x = 1\n[a]\n"
    assert (line_of(text, "a"), line_of(text, "b"), line_of(text, "c")) == (4, 2, 0)


RULES = """
p, r, default, tool/s/allowed, call, small, allow
p, r, default, tool/s/denied, call, -, allow
p, r, default, tool/s/denied, call, big, deny
p, r, default, tool/s/both, call, small+known, allow
p, r, default, tool/s/fenced, call, -, allow
p, r, default, tool/s/fenced, call, given+big, deny
"""
CONDITIONS = """
[small]
arguments = [{ at = "/amount", lte = 50 }]
[big]
arguments = [{ at = "/amount", gt = 50 }]
[known]
arguments = [{ at = "/customer", prefix = "c-" }]
[given]
arguments = [{ at = "/amount", exists = true }]
"""


@pytest.mark.parametrize(
    "arguments",
    [{}, {"amount": None}, {"amount": "1"}, {"amount": [1]}, {"amount": True}, {"Amount": 1}],
    ids=["missing", "null", "text", "list", "truth", "another case"],
)
def test_a_missing_or_retyped_argument_satisfies_no_allow_and_escapes_no_deny(
    arguments: dict[str, object],
) -> None:
    snapshot = snapshot_of(RULES, CONDITIONS, [("bot", "r", "default")])
    allowed = snapshot.decide(call_of("bot", "tool/s/allowed", arguments=arguments), 0)
    assert (allowed.verdict, allowed.rule) == (Verdict.DENY, -1)
    assert allowed.conditions == (("small?", False),)
    denied = snapshot.decide(call_of("bot", "tool/s/denied", arguments=arguments), 0)
    assert (denied.verdict, denied.rule) == (Verdict.DENY, 2)
    assert denied.conditions == (("big?", False),)


def test_a_deny_can_be_limited_to_arguments_that_are_there() -> None:
    snapshot = snapshot_of(RULES, CONDITIONS, [("bot", "r", "default")])
    absent = snapshot.decide(call_of("bot", "tool/s/fenced"), 0)
    assert absent.verdict is Verdict.ALLOW
    assert absent.conditions == (("given", False),)
    retyped = snapshot.decide(call_of("bot", "tool/s/fenced", arguments={"amount": "9"}), 0)
    assert (retyped.verdict, retyped.rule) == (Verdict.DENY, 5)


def test_joined_conditions_must_all_hold_and_each_is_recorded() -> None:
    snapshot = snapshot_of(RULES, CONDITIONS, [("bot", "r", "default")])
    call = call_of("bot", "tool/s/both", arguments={"amount": 5, "customer": "c-1"})
    decision = snapshot.decide(call, 0)
    assert decision.verdict is Verdict.ALLOW
    assert decision.conditions == (("small", True), ("known", True))
    other = snapshot.decide(replace(call, arguments={"amount": 5, "customer": "x"}), 0)
    assert other.verdict is Verdict.DENY
    assert other.conditions == (("small", True), ("known", False))
