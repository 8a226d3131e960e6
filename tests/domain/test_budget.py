"""Budgets: what a limit is, what a hold takes, which window it falls in, and the canonical bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.budget import Budget, Limits, Purses, Shortfall
from gateway.domain.model import Amounts
from gateway.domain.rate import Rate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(*moment: int) -> int:
    return (datetime(*moment, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)  # type: ignore[arg-type, misc]  # the argument list is a date


NOON_US = us(2026, 11, 22, 12)
CALLERS = (
    ("t1", "m1", "a1", "x1"),
    ("t1", "m1", "a2", "x2"),
    ("t1", "", "a3", "x1"),
    ("t2", "m2", "a4", "x3"),
)


def only(**per_day: int) -> Limits:
    return Limits(None, {(meter, "day"): amount for meter, amount in per_day.items()})


# -- what a limit is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        pytest.param("200k/day", Budget(200_000, "day"), id="thousands a day"),
        pytest.param("5M/month", Budget(5_000_000, "month"), id="millions a month"),
        pytest.param("1G/day", Budget(10**9, "day"), id="billions"),
        pytest.param("60/min", Budget(60, "minute"), id="min is minute"),
        pytest.param("60/minute", Budget(60, "minute"), id="minute"),
        pytest.param("0/day", Budget(0, "day"), id="nothing at all is a budget, too"),
    ],
)
def test_a_budget_reads_as_people_write_it(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text",
    ["", "200", "k/day", "-1/day", "1.5M/day", "200 k/day", "1/hour", "1/day\n", "\u0661/day", "1K/day",
     "9007199254740993/day", "10000000G/day"],
)  # fmt: skip
def test_what_is_not_exactly_a_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget.parse(text)


def test_a_limit_on_an_unknown_meter_or_window_is_refused() -> None:
    with pytest.raises(ValueError, match="bananas"):
        Limits(None, {("bananas", "day"): 1})
    with pytest.raises(ValueError, match="hour"):
        Limits(Rate(1, 1_000_000), {("calls", "hour"): 1})


# -- looking and taking ---------------------------------------------------------------------------


def test_the_last_unit_can_be_used_and_not_one_more() -> None:
    purses = Purses()
    limits = (only(calls=2), None, None, None)
    for leaf in (1, 2):
        assert purses.room(CALLERS[0], limits, Amounts(calls=1), NOON_US) is None
        purses.hold(leaf, CALLERS[0], Amounts(calls=1), NOON_US)
    assert purses.room(CALLERS[0], limits, Amounts(calls=1), NOON_US) == Shortfall(
        level="tenant",
        account="t1",
        meter="calls",
        window="day",
        limit=2,
        needed=1,
        remaining=0,
        reset_at_us=us(2026, 11, 23),
    )


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        pytest.param(
            (only(calls=0), only(calls=0), only(calls=0), only(calls=0)),
            ("tenant", "calls", "day"),
            id="the outermost level first",
        ),
        pytest.param(
            (None, None, None, only(tokens=9)), ("tool", "tokens", "day"), id="the tool's own limit"
        ),
        pytest.param(
            (None, None, only(cost=1, tokens=9, calls=0), None),
            ("agent", "tokens", "day"),
            id="tokens before calls before cost",
        ),
        pytest.param(
            (Limits(None, {("calls", w): 0 for w in ("month", "day", "minute")}), None, None, None),
            ("tenant", "calls", "minute"),
            id="the shortest window first",
        ),
    ],
)
def test_the_first_limit_that_does_not_cover_is_the_one_reported(
    limits: tuple[Limits | None, ...], found: tuple[str, str, str]
) -> None:
    short = Purses().room(CALLERS[0], limits, Amounts(10, 1, 5), NOON_US)
    assert short is not None
    assert (short.level, short.meter, short.window) == found


def test_looking_changes_nothing_even_far_in_the_future() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(5, 1, 0), NOON_US)
    before = purses.canonical(NOON_US)
    far_us = us(2031, 1, 1)
    assert (
        purses.room(CALLERS[0], (only(calls=1), None, None, None), Amounts(0, 1, 0), far_us) is None
    )
    assert purses.left(CALLERS[0], (only(calls=1), None, None, None), far_us) == {"calls/day": 1}
    assert purses.purse("t1", "day", far_us).held == Amounts()
    purses.hold(2, CALLERS[0], Amounts(), NOON_US)
    purses.settle(2, Amounts())
    assert purses.canonical(NOON_US) == before


def test_a_call_that_needs_nothing_of_a_meter_passes_a_limit_that_is_used_up() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(cost=7), NOON_US)
    limits = (only(cost=0), None, None, None)
    assert purses.room(CALLERS[0], limits, Amounts(10, 1, 0), NOON_US) is None
    assert purses.left(CALLERS[0], limits, NOON_US) == {"cost/day": 0}


def test_what_is_left_is_what_the_tightest_level_has() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[1], Amounts(tokens=30, calls=1), NOON_US)
    purses.hold(2, CALLERS[0], Amounts(tokens=5, calls=1), NOON_US)
    limits = (only(tokens=100, calls=10), only(tokens=1_000), only(tokens=60), None)
    assert purses.left(CALLERS[0], limits, NOON_US) == {"tokens/day": 55, "calls/day": 8}


def test_a_limit_that_shrinks_below_what_was_used_leaves_nothing_rather_than_less() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(tokens=30), NOON_US)
    limits = (only(tokens=10), None, None, None)
    short = purses.room(CALLERS[0], limits, Amounts(tokens=1), NOON_US)
    assert purses.left(CALLERS[0], limits, NOON_US) == {"tokens/day": 0}
    assert short is not None
    assert short.remaining == 0


# -- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "last", "first"),
    [
        pytest.param(
            "minute", (2026, 11, 22, 12, 0, 59, 999_999), (2026, 11, 22, 12, 1), id="minute"
        ),
        pytest.param("day", (2026, 11, 22, 23, 59, 59, 999_999), (2026, 11, 23), id="day"),
        pytest.param("month", (2026, 11, 30, 23, 59, 59, 999_999), (2026, 12, 1), id="month"),
        pytest.param("month", (2028, 2, 29, 23, 59, 59, 999_999), (2028, 3, 1), id="leap February"),
        pytest.param("month", (2026, 12, 31, 23, 59, 59, 999_999), (2027, 1, 1), id="new year"),
    ],
)
def test_windows_are_those_of_the_utc_calendar(
    window: str, last: tuple[int, ...], first: tuple[int, ...]
) -> None:
    purses = Purses()
    limits = (Limits(None, {("calls", window): 1}), None, None, None)
    purses.hold(1, CALLERS[0], Amounts(calls=1), us(*last))
    short = purses.room(CALLERS[0], limits, Amounts(calls=1), us(*last))
    assert short is not None
    assert short.reset_at_us == us(*first)
    assert purses.room(CALLERS[0], limits, Amounts(calls=1), us(*first)) is None


def test_a_charge_lands_in_the_window_of_its_hold_not_in_that_of_its_settle() -> None:
    purses = Purses()
    late_us, next_us = us(2026, 11, 22, 23, 59, 59), us(2026, 11, 23, 0, 0, 1)
    purses.hold(1, CALLERS[0], Amounts(10, 1, 0), late_us)
    purses.hold(2, CALLERS[0], Amounts(20, 1, 0), next_us)
    purses.settle(1, Amounts(7, 1, 0))
    assert purses.purse("a1", "day", next_us) == (us(2026, 11, 23), Amounts(20, 1, 0), Amounts())
    assert purses.purse("a1", "month", next_us).charged == Amounts(7, 1, 0)


def test_a_window_that_is_over_is_kept_only_while_a_hold_in_it_is_open() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(10, 1, 0), us(2026, 11, 22))
    later_us = us(2026, 12, 2)
    assert b'["a1","day",' in purses.canonical(later_us)
    purses.settle(1, Amounts(7, 1, 0))
    assert b'"purses":[]' in purses.canonical(later_us)


def test_time_that_runs_backwards_is_a_fault_not_a_fresh_budget() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(calls=1), NOON_US)
    with pytest.raises(ValueError, match="backwards"):
        purses.hold(2, CALLERS[0], Amounts(calls=1), NOON_US - 60_000_000)
    limits = (Limits(None, {("calls", "minute"): 1}), None, None, None)
    assert purses.room(CALLERS[0], limits, Amounts(calls=1), NOON_US - 60_000_000) is not None


# -- what cannot happen ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "charged"),
    [
        pytest.param(Amounts(10, 1, 0), Amounts(11, 1, 0), id="more tokens than held"),
        pytest.param(Amounts(10, 1, 0), Amounts(10, 2, 0), id="more calls than held"),
        pytest.param(Amounts(10, 1, 0), Amounts(10, 1, 1), id="cost that was not held"),
        pytest.param(Amounts(10, 1, 0), Amounts(-1, 1, 0), id="a negative charge"),
    ],
)
def test_a_charge_outside_its_hold_is_refused_and_changes_nothing(
    held: Amounts, charged: Amounts
) -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], held, NOON_US)
    before = purses.canonical(NOON_US)
    with pytest.raises(ValueError, match="outside its hold"):
        purses.settle(1, charged)
    assert purses.canonical(NOON_US) == before


def test_a_hold_settles_once() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(10, 1, 0), NOON_US)
    purses.settle(1, Amounts(1, 1, 0))
    with pytest.raises(ValueError, match="no open hold"):
        purses.settle(1, Amounts(1, 1, 0))


def test_a_leaf_holds_once() -> None:
    purses = Purses()
    purses.hold(1, CALLERS[0], Amounts(10, 1, 0), NOON_US)
    with pytest.raises(ValueError, match="already"):
        purses.hold(1, CALLERS[1], Amounts(10, 1, 0), NOON_US)


def test_a_negative_hold_would_create_budget_and_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Purses().hold(1, CALLERS[0], Amounts(-1, 1, 0), NOON_US)


def test_one_account_at_two_levels_would_hold_twice_what_was_looked_at_once() -> None:
    purses = Purses()
    before = purses.canonical(NOON_US)
    with pytest.raises(ValueError, match="two levels"):
        purses.hold(1, ("t1", "m1", "t1", "x1"), Amounts(1, 1, 0), NOON_US)
    assert purses.open_holds() == {}
    assert purses.canonical(NOON_US)[-60:] == before[-60:]


# -- as bytes -------------------------------------------------------------------------------------


def test_the_canonical_bytes_are_these() -> None:
    purses = Purses()
    purses.hold(7, ("t1", "", "a1", "x1"), Amounts(250, 1, 0), us(2026, 11, 22))
    purses.hold(8, ("t1", "", "a1", "x1"), Amounts(250, 1, 0), us(2026, 11, 22))
    purses.settle(7, Amounts(90, 1, 0))
    midnight, november = us(2026, 11, 22), us(2026, 11, 1)
    rows = ",".join(
        f'["{account}","{window}",{start},[250,1,0],[90,1,0]]'
        for account in ("a1", "t1", "x1")
        for window, start in (("day", midnight), ("minute", midnight), ("month", november))
    )
    assert purses.canonical(midnight).decode() == (
        f'{{"at":{midnight},"holds":[[8,{midnight},["t1","","a1","x1"],[250,1,0]]],'
        f'"purses":[{rows}],"v":1}}'
    )


GOOD = (
    b'{"at":1763812800000000,"holds":[[8,1763812800000000,["t1"],[5,1,0]]],'
    b'"purses":[["t1","day",1763769600000000,[5,1,0],[0,0,0]],'
    b'["t1","minute",1763812800000000,[5,1,0],[0,0,0]],'
    b'["t1","month",1761955200000000,[5,1,0],[0,0,0]]],"v":1}'
)


def test_the_good_bytes_below_are_good() -> None:
    assert Purses.load(GOOD).canonical(0) == GOOD


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="another shape"),
        pytest.param(b"{}", id="no keys"),
        pytest.param(GOOD[:-1], id="cut"),
        pytest.param(GOOD + b" ", id="a blank more"),
        pytest.param(GOOD.replace(b'"v":1', b'"v":2'), id="another version"),
        pytest.param(GOOD.replace(b"[5,1,0],[0,0,0]]]", b"[4,1,0],[0,0,0]]]"), id="held less than open"),
        pytest.param(GOOD.replace(b"[5,1,0],[0,0,0]]]", b"[5,1,0],[0,-1,0]]]"), id="negative charge"),
        pytest.param(GOOD.replace(b'"day"', b'"week"'), id="an unknown window"),
        pytest.param(GOOD.replace(b"1763769600000000", b"1763769600000001"), id="not a window's start"),
        pytest.param(GOOD.replace(b'"t1","day"', b'"t0","day"'), id="a hold without its purse"),
        pytest.param(GOOD.replace(b"[5,1,0]]]", b'["5",1,0]]]'), id="a string for a number"),
        pytest.param(GOOD.replace(b"[5,1,0]", b"[5.0,1,0]"), id="floats"),
        pytest.param(GOOD.replace(b'["t1"],', b'["t1","t1"],'), id="one account twice in a hold"),
        pytest.param(GOOD.replace(b'"v":1', b'"v":1,"x":1'), id="a key more"),
    ],
)  # fmt: skip
def test_bytes_that_are_not_a_state_to_the_last_one_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Purses.load(state)
