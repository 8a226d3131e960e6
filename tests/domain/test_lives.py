"""Purses of runs and grants: counted from their first hold until their life is over."""

from __future__ import annotations

import pytest

from gateway.domain import lives
from gateway.domain.budget import Budget, Limits, Purses, Shortfall
from gateway.domain.lives import LIFE_US
from gateway.domain.model import Amounts

STEP_US, MINUTE_US = 3 * 3_600_000_000, 60_000_000
NOON_US = 1_795_435_200_000_000  # a minute begins here
FOUR = ("t1", "m1", "a1", "x1")
RUN = (*FOUR, "r1")
ONE_CALL = Amounts(calls=1)


def only(**of_life: int) -> Limits:
    return Limits(None, {(meter, "life"): amount for meter, amount in of_life.items()})


def limits(*behind: Limits | None) -> tuple[Limits | None, ...]:
    return (None, None, None, None, *behind)


def spent(purses: Purses, leaf: int, accounts: tuple[str, ...], t_us: int) -> None:
    purses.hold(leaf, accounts, ONE_CALL, t_us)
    purses.settle(leaf, ONE_CALL)


# -- what a limit is ------------------------------------------------------------------------------


def test_no_configuration_can_say_a_budget_per_life() -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget.parse("50/life")
    assert only(calls=50).rows == ((3, 1, 50),)


def test_a_run_that_is_limited_per_day_is_a_fault_not_a_run_without_limit() -> None:
    per_day = Limits(None, {("calls", "day"): 1})
    with pytest.raises(ValueError, match="only a life"):
        Purses().room(RUN, limits(per_day), ONE_CALL, NOON_US)


def test_the_last_call_of_a_run_can_be_made_and_not_one_more_on_any_day() -> None:
    purses = Purses()
    for leaf in (1, 2):
        at_us = NOON_US + leaf * STEP_US
        assert purses.room(RUN, limits(only(calls=2)), ONE_CALL, at_us) is None
        spent(purses, leaf, RUN, at_us)
    assert purses.left(RUN, limits(only(calls=3)), NOON_US + 3 * STEP_US) == {"calls/run": 1}
    assert purses.room(RUN, limits(only(calls=2)), ONE_CALL, NOON_US + 3 * STEP_US) == Shortfall(
        level="run",
        account="r1",
        meter="calls",
        window="life",
        limit=2,
        needed=1,
        remaining=0,
        reset_at_us=NOON_US + STEP_US + LIFE_US,
    )


def test_every_account_behind_the_run_is_a_grant_with_a_limit_of_its_own() -> None:
    purses, accounts = Purses(), (*FOUR, "", "j1", "j2", "j3")
    spent(purses, 1, accounts, NOON_US)
    bounds = limits(None, only(calls=9), only(calls=2), only(calls=1))
    short = purses.room(accounts, bounds, ONE_CALL, NOON_US)
    assert short is not None
    assert (short.level, short.account) == ("grant", "j3")
    assert purses.left(accounts, bounds, NOON_US) == {"calls/grant": 0}


def test_a_hold_that_is_more_than_a_fresh_run_may_have_does_not_fit() -> None:
    short = Purses().room(RUN, limits(only(tokens=9)), Amounts(tokens=10), NOON_US)
    assert short is not None
    assert (short.remaining, short.reset_at_us) == (9, NOON_US + LIFE_US)


def test_one_run_twice_in_a_call_would_hold_twice_what_was_looked_at_once() -> None:
    purses = Purses()
    with pytest.raises(ValueError, match="two levels"):
        purses.hold(1, (*RUN, "r1"), ONE_CALL, NOON_US)
    with pytest.raises(ValueError, match="two levels"):
        purses.hold(1, (*FOUR, "t1"), ONE_CALL, NOON_US)
    assert purses.life("r1") is None
    assert b'"purses":[]' in purses.canonical(NOON_US)


# -- how long a life is ---------------------------------------------------------------------------


def test_a_life_tells_when_it_began_and_how_many_holds_are_open() -> None:
    purses = Purses()
    assert purses.life("r1", NOON_US) is None
    purses.hold(1, RUN, ONE_CALL, NOON_US)
    purses.hold(2, (*FOUR[:2], "a2", "x2", "r1"), ONE_CALL, NOON_US + STEP_US)
    purses.hold(3, (*FOUR, "r2"), ONE_CALL, NOON_US + STEP_US)
    assert purses.life("r1") == (NOON_US, 2)
    purses.settle(1, Amounts())
    assert purses.life("r1") == (NOON_US, 1)
    assert purses.life("t1") is None


@pytest.mark.parametrize(
    ("began_us", "again_us", "left"),
    [
        pytest.param(NOON_US, NOON_US + LIFE_US - 1, 0, id="the last microsecond of its life"),
        pytest.param(NOON_US, NOON_US + LIFE_US, 1, id="its life, to the minute"),
        pytest.param(NOON_US + 1, NOON_US + LIFE_US + 1, 0, id="its life within a minute"),
        pytest.param(NOON_US + 1, NOON_US + LIFE_US + MINUTE_US, 1, id="the minute behind it"),
    ],
)
def test_a_life_is_over_at_the_first_minute_that_begins_seven_days_later(
    began_us: int, again_us: int, left: int
) -> None:
    purses, bounds = Purses(), limits(only(calls=1))
    spent(purses, 1, RUN, began_us)
    for _ in ("looked at", "turned to by somebody else"):
        assert purses.left(RUN, bounds, again_us) == {"calls/run": left}
        assert (purses.room(RUN, bounds, ONE_CALL, again_us) is None) is bool(left)
        assert (purses.life("r1", again_us) is None) is bool(left)
        spent(purses, 2, FOUR, again_us)
    spent(purses, 3, RUN, again_us)
    assert purses.life("r1") == (again_us if left else began_us, 0)


def test_a_life_does_not_end_while_something_is_held_in_it() -> None:
    purses, bounds = Purses(), limits(only(calls=1))
    purses.hold(1, RUN, ONE_CALL, NOON_US)
    later_us = NOON_US + LIFE_US + 3 * MINUTE_US
    spent(purses, 2, FOUR, later_us)
    assert purses.room(RUN, bounds, ONE_CALL, later_us) is not None
    assert purses.life("r1", later_us) == (NOON_US, 1)
    purses.settle(1, ONE_CALL)
    assert purses.life("r1", later_us) is None
    assert b'"life"' not in purses.canonical(later_us)
    spent(purses, 3, RUN, later_us)
    assert purses.life("r1") == (later_us, 0)


def test_a_state_that_is_stored_between_the_end_and_the_settle_goes_on_the_same() -> None:
    """The one that was stored has turned its minute already, the one that lived has not."""
    lived = Purses()
    lived.hold(1, RUN, ONE_CALL, NOON_US)
    later_us = NOON_US + LIFE_US + MINUTE_US
    stored = Purses.load(lived.canonical(later_us))
    for purses in (lived, stored):
        purses.settle(1, ONE_CALL)
        spent(purses, 2, RUN, later_us + 1)
    assert stored.canonical(later_us + 2) == lived.canonical(later_us + 2)
    assert lived.life("r1") == (later_us + 1, 0)


# -- how many there are ---------------------------------------------------------------------------


@pytest.fixture
def at_most_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "MAX_LIVES", 3)


def crowded() -> Purses:
    purses = Purses()
    for leaf in (1, 2, 3):
        spent(purses, leaf, (*FOUR, f"r{leaf}"), NOON_US + leaf * STEP_US)
    return purses


@pytest.mark.usefixtures("at_most_three")
@pytest.mark.parametrize(
    ("accounts", "fits"),
    [
        pytest.param((*FOUR, "r4"), False, id="a run more"),
        pytest.param((*FOUR, "", "j1"), False, id="a grant more"),
        pytest.param((*FOUR, "r1", "j1"), False, id="a grant more in a run that is known"),
        pytest.param((*FOUR, "r1"), True, id="a run that is known"),
        pytest.param(FOUR, True, id="a call in no run"),
        pytest.param(("t2", "", "a9", "x9", "r4"), True, id="a run of another tenant"),
    ],
)
def test_a_tenant_that_has_as_many_runs_as_there_may_be_begins_no_more(
    accounts: tuple[str, ...], fits: bool
) -> None:
    purses, now_us = crowded(), NOON_US + 3 * STEP_US
    bounds = (None,) * len(accounts)
    for one in (purses, Purses.load(purses.canonical(now_us))):
        short = one.room(accounts, bounds, ONE_CALL, now_us)
        assert (short is None) is fits
        if short is not None:
            assert (short.level, short.account, short.meter, short.limit, short.remaining) == (
                "tenant", "t1", "runs", 3, 0,
            )  # fmt: skip


@pytest.mark.usefixtures("at_most_three")
def test_there_is_room_again_as_soon_as_one_is_over_though_nothing_was_held_since() -> None:
    purses, newcomer, bounds = crowded(), (*FOUR, "r4"), (None,) * 5
    over_us = NOON_US + STEP_US + LIFE_US
    assert purses.room(newcomer, bounds, ONE_CALL, over_us - 1) is not None
    assert purses.room(newcomer, bounds, ONE_CALL, over_us) is None
    spent(purses, 4, newcomer, over_us)
    assert purses.room((*FOUR, "r5"), bounds, ONE_CALL, over_us) is not None


@pytest.mark.usefixtures("at_most_three")
def test_those_that_were_dropped_are_counted_no_more() -> None:
    purses, later_us = crowded(), NOON_US + 3 * LIFE_US
    spent(purses, 4, FOUR, later_us)
    assert purses.room((*FOUR, "r4", "j1", "j2"), (None,) * 7, ONE_CALL, later_us) is None


@pytest.mark.usefixtures("at_most_three")
def test_a_stored_state_drops_first_what_began_first_whatever_it_is_called() -> None:
    lived = Purses()
    for leaf, run in enumerate(("r3", "r2", "r1")):
        spent(lived, leaf, (*FOUR, run), NOON_US + leaf * STEP_US)
    stored = Purses.load(lived.canonical(NOON_US + 2 * STEP_US))
    assert stored.room((*FOUR, "r4"), (None,) * 5, ONE_CALL, NOON_US + LIFE_US) is None


# -- as bytes -------------------------------------------------------------------------------------

# Written before there were lives.
OLD = (
    b'{"at":1795392000000000,"holds":[[3,1795132800000000,["t1","m1","a1","x1"],[250,1,7]]],'
    b'"purses":[["a1","day",1795132800000000,[250,1,7],[0,0,0]],'
    b'["a1","minute",1795132800000000,[250,1,7],[0,0,0]],'
    b'["a1","month",1793491200000000,[250,1,7],[0,0,0]],'
    b'["a2","month",1793491200000000,[0,0,0],[40,1,0]],'
    b'["m1","day",1795132800000000,[250,1,7],[0,0,0]],'
    b'["m1","minute",1795132800000000,[250,1,7],[0,0,0]],'
    b'["m1","month",1793491200000000,[250,1,7],[0,0,0]],'
    b'["t1","day",1795132800000000,[250,1,7],[0,0,0]],'
    b'["t1","minute",1795132800000000,[250,1,7],[0,0,0]],'
    b'["t1","month",1793491200000000,[250,1,7],[40,1,0]],'
    b'["x1","day",1795132800000000,[250,1,7],[0,0,0]],'
    b'["x1","minute",1795132800000000,[250,1,7],[0,0,0]],'
    b'["x1","month",1793491200000000,[250,1,7],[40,1,0]]],"v":1}'
)


def test_what_was_stored_before_there_were_runs_has_the_same_bytes() -> None:
    purses, at_us = Purses(), 1_795_392_000_000_000
    purses.hold(3, FOUR, Amounts(250, 1, 7), at_us - 3 * 86_400_000_000)
    purses.hold(4, ("t1", "", "a2", "x1"), Amounts(90, 1, 0), at_us - 1)
    purses.settle(4, Amounts(40, 1, 0))
    assert purses.canonical(at_us) == OLD
    assert Purses.load(OLD).canonical(at_us) == OLD


ROW = b'["r1","life",1795435200000000,[5,1,0],[2,1,0],"t1","a1"]'

OVER = b'["r0","life",1794000000000000,[0,0,0],[2,1,0],"t1","a1"]'


def in_a_run() -> bytes:
    purses = Purses()
    purses.hold(1, RUN, Amounts(2, 1, 0), NOON_US)
    purses.settle(1, Amounts(2, 1, 0))
    purses.hold(2, RUN, Amounts(5, 1, 0), NOON_US)
    return purses.canonical(NOON_US)


def test_a_life_has_one_row_that_says_of_whom_it_is() -> None:
    state = in_a_run()
    assert state.count(b'"r1"') == 2  # in the open hold, and in its row
    assert ROW in state
    assert Purses.load(state).life("r1") == (NOON_US, 1)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(ROW.replace(b',"t1"', b""), id="of nobody"),
        pytest.param(ROW.replace(b'"t1"', b"1"), id="of a number"),
        pytest.param(ROW.replace(b'"t1"', b'"t1","t1"'), id="of two"),
        pytest.param(ROW.replace(b"[5,1,0]", b"[4,1,0]"), id="holding less than is open"),
        pytest.param(ROW.replace(b"1795435200000000", b"1795435200000000.0"), id="a broken start"),
        pytest.param(ROW + b"," + ROW, id="twice"),
        pytest.param(ROW.replace(b'"r1"', b'"r0"'), id="of another run than the hold"),
        pytest.param(OVER + b"," + ROW, id="one that is over"),
        pytest.param(
            b'["r1","day",1795435200000000,[5,1,0],[2,1,0],"t1","a1"]', id="in the calendar"
        ),
    ],
)
def test_a_row_that_no_life_has_is_refused(row: bytes) -> None:
    state = in_a_run().replace(ROW, row)
    assert state != in_a_run()
    with pytest.raises(ValueError, match=r"."):
        Purses.load(state)


def test_an_agent_that_took_its_share_leaves_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lives, "MAX_LIVES_OF_ONE", 2)
    purses = Purses()
    for leaf in (1, 2):
        spent(purses, leaf, (*FOUR, f"r{leaf}"), NOON_US)
    greedy, other = (*FOUR, "r3"), ("t1", "m1", "a2", "x1", "r3")
    for one in (purses, Purses.load(purses.canonical(NOON_US))):
        short = one.room(greedy, (None,) * 5, ONE_CALL, NOON_US)
        assert short is not None
        assert (short.level, short.account, short.remaining) == ("agent", "a1", 0)
        assert one.room((*FOUR, "r1"), (None,) * 5, ONE_CALL, NOON_US) is None
        assert one.room(other, (None,) * 5, ONE_CALL, NOON_US) is None
