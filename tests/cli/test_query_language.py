"""The qualifiers of `audit query`: what they mean, and what is told to somebody who mistypes one."""

import pytest

from gateway.app.operations.query import Term, moment, parse
from gateway.domain.operator import Exit, OperationRefused

NOON_US = 1_795_348_800_000_000  # 2026-11-22T12:00Z
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


@pytest.mark.parametrize(
    ("word", "term"),
    [
        pytest.param("agent:bot", Term("agent", ("bot",)), id="one value"),
        pytest.param("agent:a,b", Term("agent", ("a", "b")), id="either"),
        pytest.param("-agent:a,b", Term("agent", ("a", "b"), True), id="neither"),
        pytest.param("tool:docs/x", Term("object", ("tool/docs/x",)), id="a tool"),
        pytest.param("tool:tool/docs/x", Term("object", ("tool/docs/x",)), id="a whole name"),
        pytest.param("object:prompt/a/b", Term("object", ("prompt/a/b",)), id="any object"),
        pytest.param("kind:intent", Term("kind", ("call",)), id="an intent is shown as its call"),
        pytest.param("author:uid:0", Term("author", ("uid:0",)), id="a value with a colon"),
        pytest.param("actor:bot", Term("actors", ("bot",)), id="who acts for somebody"),
        pytest.param("run:run-0001", Term("run", ("run-0001",)), id="a run by its id"),
        pytest.param("run:r0123*", Term("run", ("r0123*",)), id="runs that begin so in the log"),
    ],
)
def test_a_word_is_a_term(word: str, term: Term) -> None:
    assert parse([word], NOON_US).terms == (term,)


@pytest.mark.parametrize(
    ("text", "first_us", "end_us"),
    [
        pytest.param("2026-11-22", NOON_US - 12 * HOUR_US, NOON_US + 12 * HOUR_US, id="a day"),
        pytest.param("2026-11-22T12:00", NOON_US, NOON_US + 1, id="a moment, UTC"),
        pytest.param("2026-11-22T14:00+02:00", NOON_US, NOON_US + 1, id="a moment elsewhere"),
        pytest.param("2026-11-22T12:00Z", NOON_US, NOON_US + 1, id="a moment in Zulu"),
        pytest.param("90m", NOON_US - 90 * 60_000_000, NOON_US - 90 * 60_000_000, id="minutes ago"),
        pytest.param("7d", NOON_US - 7 * DAY_US, NOON_US - 7 * DAY_US, id="days ago"),
    ],
)
def test_a_time_is_a_span(text: str, first_us: int, end_us: int) -> None:
    assert moment(text, NOON_US) == (first_us, end_us)


def test_until_a_day_includes_the_day() -> None:
    query = parse(["since:2026-11-21", "until:2026-11-22"], NOON_US)
    assert query.until_us - query.since_us == 2 * DAY_US


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        pytest.param("report-bot", "agent:report-bot", id="free text"),
        pytest.param("agnet:bot", "agent:", id="a typing mistake"),
        pytest.param("acter:bot", "actor:", id="a typing mistake in who acts"),
        pytest.param("run:short", "whole id", id="what can be no run"),
        pytest.param("run:run-00*", "whole id", id="the beginning of an id"),
        pytest.param("agent:", "agent:report-bot", id="no value"),
        pytest.param("agent:,", "agent:report-bot", id="nothing between commas"),
        pytest.param("since:yesterday", "2026-11-22", id="not a time"),
        pytest.param("-since:1h", "until:", id="a negated time"),
    ],
)
def test_what_is_no_qualifier_is_a_usage_error_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(OperationRefused) as refused:
        parse([word], NOON_US)
    assert refused.value.exit_code is Exit.USAGE
    assert hint in refused.value.fix


@pytest.mark.parametrize(
    ("term", "found", "holds"),
    [
        pytest.param(Term("f", ("a",)), ("a",), True, id="equal"),
        pytest.param(Term("f", ("a",)), ("ab",), False, id="longer"),
        pytest.param(Term("f", ("a*",)), ("ab",), True, id="begins so"),
        pytest.param(Term("f", ("*",)), ("",), True, id="anything"),
        pytest.param(Term("f", ("a",)), (), False, id="absent"),
        pytest.param(Term("f", ("a",), True), (), True, id="absent is not it"),
        pytest.param(Term("f", ("b",)), ("a", "b"), True, id="one of several"),
        pytest.param(Term("f", ("b",), True), ("a", "b"), False, id="not one of several"),
    ],
)
def test_when_a_term_holds(term: Term, found: tuple[str, ...], holds: bool) -> None:
    assert term.holds(found) is holds
