"""Suggested rules allow what was done, nothing else, and say so however names are spelt."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.cli.escape import visible
from gateway.domain.model import Principal, Verdict
from gateway.policy import lint, rules
from gateway.policy.decide import object_of
from gateway.policy.files import POLICY, PolicySource
from gateway.policy.finding import Level, PolicyInvalid
from gateway.policy.load import compile
from gateway.policy.narrow import (
    MAX_LINES,
    OFFERED_FROM,
    TOO_MANY,
    UNFIT,
    UNTOLD,
    Done,
    Narrowed,
    narrowed,
    no_line,
    wider,
)
from gateway.policy.snapshot import Snapshot
from tests.policy.made import NOON_US, call_of, snapshot_of, source_of
from tests.policy.test_equality import CONDITIONS, Request, World, worlds

_LENIENT = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
ALLOW, DENY = Verdict.ALLOW, Verdict.DENY


def done_by(request: Request) -> Done:
    call = request.call
    who = call.principal
    return Done(who.subject, who.tenant, object_of(call), str(call.act))


def compiled(world: World) -> Snapshot:
    try:
        return compile(world.source, ())
    except PolicyInvalid:
        assume(False)  # roles in a circle
        raise


def with_lines(source: PolicySource, lines: Iterable[str], *, instead: bool) -> Snapshot:
    """The policy with *lines*, beside the others or *instead* of the allow rules."""
    old = source.files[POLICY].decode().splitlines()
    kept = [line for line in old if not (instead and line.endswith("allow"))]
    found = source_of("\n".join([*kept, *lines]), CONDITIONS)
    assert not [f for f in lint.check(found, ()) if f.level is Level.ERROR]
    return compile(found, ())


def verdict(snapshot: Snapshot, request: Request) -> Verdict:
    return snapshot.decide(request.call, request.now_us).verdict


def allowed(snapshot: Snapshot, request: Request) -> bool:
    return verdict(snapshot, request) is ALLOW


@settings(max_examples=50, deadline=None, suppress_health_check=_LENIENT)
@given(world=worlds(), recorded=st.sets(st.integers(0, 11)))
def test_what_was_used_stays_allowed_and_nothing_else_becomes_so(
    world: World, recorded: set[int]
) -> None:
    before = compiled(world)
    used: Counter[tuple[int, Done]] = Counter()
    seen: list[Request] = []
    for place, request in enumerate(world.requests):
        if place in recorded and verdict(before, request) is not DENY:
            for call, decision in before.by_party(request.call, request.now_us):
                used[decision.rule, done_by(Request(call, request.now_us))] += 1
            seen.append(request)
    assume(seen)
    lines = [line for one in narrowed(before, used) for line in one.lines]
    after = with_lines(world.source, lines, instead=True)
    assert all(verdict(after, request) is verdict(before, request) for request in seen)
    freedom = (DENY, Verdict.NEEDS, ALLOW)
    for request in world.requests:
        now, then = verdict(after, request), verdict(before, request)
        assert freedom.index(now) <= freedom.index(then)


@settings(max_examples=50, deadline=None, suppress_health_check=_LENIENT)
@given(world=worlds())
def test_a_line_for_what_was_refused_allows_that_and_no_other_thing(world: World) -> None:
    before = compiled(world)
    for request in world.requests:
        decision = before.decide(request.call, request.now_us)
        if decision.verdict is not DENY or no_line(before, request.call, decision):
            continue
        line = done_by(request).line()
        after = with_lines(world.source, [line], instead=False)
        assert allowed(after, request)
        for other in world.requests:
            if done_by(other) != done_by(request):
                assert allowed(after, other) is allowed(before, other)


_odd = st.text(
    st.sampled_from("ab*,#=\"'[(\n\r\t \u202e\u2028\u3164\x1b\udc80é;|-@+%/"), max_size=8
)


@settings(max_examples=300, deadline=None)
@given(subject=_odd, tenant=_odd, name=_odd)
def test_a_name_gets_a_line_that_is_read_as_exactly_that_name_or_none(
    subject: str, tenant: str, name: str
) -> None:
    done = Done(f"corp/{subject}", tenant, f"tool/shelf/{name}", "call")
    line = done.line()
    if not line:
        return
    text = f"p, a, t, tool/x/y, call, -, allow\n{line}\n# end\n"
    parsed = rules.parse(PolicySource({POLICY: text.encode()}))
    assert not parsed.findings
    (_, rule) = parsed.rules
    assert (rule.subject, rule.tenant, rule.object) == done[:3]
    assert not rule.object.endswith("*")
    assert visible(line) == line  # what is printed is what was checked
    (cells,) = csv.reader([line], skipinitialspace=True)
    assert tuple(cells[1:5]) == done
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("tool/shelf/pay", id="a plain one"),
        pytest.param("resource/docs/file:///a%20b?x=1&y", id="a URI"),
        pytest.param("tool/shelf/größe", id="a letter of another language"),
    ],
)
def test_an_ordinary_name_gets_a_line(name: str) -> None:
    done = Done("corp/alice", "default", name, "call")
    assert (
        done.line(["small", "noon"]) == f"p, corp/alice, default, {name}, call, small+noon, allow"
    )


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("tool/shelf/pay*", id="would mean all that begin so"),
        pytest.param("tool/shelf/pay, call, -, allow", id="has columns of its own"),
        pytest.param("tool/shelf/pay\np, bot, default, tool/x", id="has a line of its own"),
        pytest.param("tool/shelf/pay ", id="would lose its blank"),
        pytest.param("tool/shelf/pa\u202ey", id="is shown otherwise than it is"),
        pytest.param("tool/shelf/pa\u3164y", id="has a letter that is not drawn"),
        pytest.param('tool/shelf/"pay"', id="has quotes"),
        pytest.param("shelf/pay", id="has no kind"),
    ],
)
def test_a_name_that_a_rule_could_mistake_gets_no_line(cell: str) -> None:
    assert Done("bot", "default", cell, "call").line() == ""


def test_a_name_that_a_spreadsheet_would_compute_gets_no_line() -> None:
    assert Done("=1+1", "default", "tool/shelf/pay", "call").line() == ""


def used_of(snapshot: Snapshot, who: str, *names: str) -> Counter[tuple[int, Done]]:
    used: Counter[tuple[int, Done]] = Counter()
    for name in names:
        call = call_of(who, name)
        decision = snapshot.decide(call, NOON_US)
        assert decision.verdict is ALLOW, name
        used[decision.rule, done_by(Request(call, NOON_US))] += 1
    return used


def only(found: list[Narrowed]) -> Narrowed:
    (one,) = [one for one in found if one.calls]
    return one


def test_a_rule_keeps_its_role_its_conditions_and_what_was_called() -> None:
    snapshot = snapshot_of(
        "p, clerk, default, tool/*, *, direct, allow\np, clerk, default, tool/s/no, call, -, deny\n"
        "p, other, default, tool/s/a, call, -, allow\ng, bot, clerk, default",
        "[direct]\nactors = { empty = true }\n",
    )
    found = narrowed(snapshot, used_of(snapshot, "bot", "tool/s/a", "tool/t/b", "tool/s/a"))
    assert [(one.rule.subject, one.calls) for one in found] == [("clerk", 3), ("other", 0)]
    assert found[0].lines == (
        "p, clerk, default, tool/s/a, call, direct, allow",
        "p, clerk, default, tool/t/b, call, direct, allow",
    )
    assert found[1].lines == ()


def test_a_rule_for_everybody_becomes_one_for_whoever_used_it() -> None:
    snapshot = snapshot_of("p, *, *, tool/s/a, call, -, allow")
    found = narrowed(snapshot, used_of(snapshot, "bot@acme", "tool/s/a"))
    assert only(found).lines == ("p, bot, acme, tool/s/a, call, -, allow",)


def test_a_rule_whose_use_cannot_be_named_stays_as_it_is() -> None:
    snapshot = snapshot_of("p, bot, default, tool/s/*, call, -, allow")
    found = only(narrowed(snapshot, used_of(snapshot, "bot", "tool/s/a", "tool/s/b*")))
    assert (found.lines, found.why) == ((snapshot.rules[0].text,), UNFIT)


def test_a_rule_that_very_many_names_used_stays_as_it_is() -> None:
    snapshot = snapshot_of("p, bot, default, tool/s/*, call, -, allow")
    names = [f"tool/s/t{number}" for number in range(MAX_LINES + 1)]
    assert only(narrowed(snapshot, used_of(snapshot, "bot", *names))).why == TOO_MANY
    fewer = only(narrowed(snapshot, used_of(snapshot, "bot", *names[1:])))
    assert (len(fewer.lines), fewer.why) == (MAX_LINES, "")
    assert fewer.wider == ("p, bot, default, tool/s/t*, call, -, allow",)


def test_rules_that_count_without_an_entry_stay() -> None:
    snapshot = snapshot_of(
        "p, bot, default, tool/s/*, list, -, allow\np, bot, default, admin/metrics, read, -, allow"
    )
    assert [one.why for one in narrowed(snapshot, {})] == [UNTOLD, UNTOLD]


def test_a_rule_for_everything_keeps_what_the_log_would_not_tell() -> None:
    snapshot = snapshot_of("p, bot, default, *, *, -, allow\np, bot, default, *, call, -, allow")
    found = narrowed(snapshot, used_of(snapshot, "bot", "tool/s/a"))
    assert [one.lines for one in found] == [
        ("p, bot, default, admin/*, *, -, allow",),
        ("p, bot, default, tool/s/a, call, -, allow",),
    ]


def test_a_prefix_is_offered_for_many_names_of_one_server_only() -> None:
    def offered(*names: str, but: str = "") -> list[str]:
        return wider({Done("b", "t", name, "call"): "" for name in names}, (), but)

    many = [f"tool/git/git_{number}" for number in range(OFFERED_FROM)]
    assert offered(*many) == ["p, b, t, tool/git/git_*, call, -, allow"]
    assert offered(*many, but="tool/git/git_*") == []
    assert offered(*many[1:]) == []
    assert offered(*(name.replace("/git/", f"/s{place}/") for place, name in enumerate(many))) == []


@pytest.mark.parametrize(
    ("who", "name", "why"),
    [
        pytest.param("bot", "tool/s/free", "", id="nothing speaks of it"),
        pytest.param("bot", "tool/s/never", "a deny stands above it: policy.csv:1", id="denied"),
        pytest.param("bot", "tool/s/pay", "allowed under conditions", id="a condition is unmet"),
        pytest.param("clerk", "tool/s/free", "name of a role", id="a role itself"),
        pytest.param("bot", "resource/s/u://a/../b", "may name another", id="a doubtful URI"),
    ],
)
def test_a_line_that_would_not_help_or_help_too_much_is_not_made(
    who: str, name: str, why: str
) -> None:
    snapshot = snapshot_of(
        "p, *, *, tool/s/never, call, -, deny\np, clerk, default, tool/s/pay, call, small, allow\n"
        "g, bot, clerk, default",
        '[small]\narguments = [{ at = "/n", lte = 5 }]\n',
    )
    call = call_of(Principal("default", who), name, "read" if name.startswith("r") else "call")
    decision = snapshot.decide(call, NOON_US)
    assert decision.verdict is DENY
    said = no_line(snapshot, call, decision)
    assert why in said
    assert bool(said) is bool(why)
