"""Rates: what GCRA admits, and when it says to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.rate import Rate, admitted, take

NOW_US = 1_800_000_000_000_000

rates = st.builds(
    Rate,
    count=st.integers(1, 5_000),
    period_us=st.sampled_from([1_000_000, 60_000_000, 3_600_000_000]),
)
steps_us = st.lists(st.integers(0, 5_000_000), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        pytest.param("60/min", Rate(60, 60_000_000), id="per minute"),
        pytest.param("10/s", Rate(10, 1_000_000), id="per second"),
        pytest.param("10/sec", Rate(10, 1_000_000), id="per second, longer"),
        pytest.param("1/h", Rate(1, 3_600_000_000), id="per hour"),
        pytest.param("7/hour", Rate(7, 3_600_000_000), id="per hour, longer"),
    ],
)
def test_a_rate_reads_as_people_write_it(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    "text",
    ["", "60", "60/day", "60 / min", "-1/min", "0/min", "1.5/min", "60/min\n", "\u0666\u0660/min", "1e3/s",
     "60k/min", "9999999999/s"],
)  # fmt: skip
def test_what_is_not_exactly_a_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate.parse(text)


def test_the_whole_count_may_come_at_once_and_one_more_may_not() -> None:
    rate, tat_us = Rate(60, 60_000_000), 0
    for _ in range(60):
        tat_us, wait_us = take(tat_us, rate, NOW_US)
        assert wait_us == 0
    assert take(tat_us, rate, NOW_US) == (tat_us, 1_000_000)


@given(rate=rates, steps=steps_us)
def test_waiting_exactly_as_long_as_told_admits_and_one_microsecond_less_does_not(
    rate: Rate, steps: list[int]
) -> None:
    tat_us, now_us = 0, NOW_US
    for step_us in steps:
        now_us += step_us
        new_tat_us, wait_us = take(tat_us, rate, now_us)
        if wait_us:
            assert new_tat_us == tat_us
            assert take(tat_us, rate, now_us + wait_us)[1] == 0
            assert take(tat_us, rate, now_us + wait_us - 1)[1] == 1
            now_us += wait_us
            new_tat_us, _ = take(tat_us, rate, now_us)
        tat_us = new_tat_us


@given(rate=rates, steps=steps_us)
def test_no_span_of_time_admits_more_than_the_burst_and_the_steady_pace(
    rate: Rate, steps: list[int]
) -> None:
    tat_us, now_us, times = 0, NOW_US, []
    for step_us in steps:
        now_us += step_us
        tat_us, wait_us = take(tat_us, rate, now_us)
        if not wait_us:
            times.append(now_us)
    for first in range(len(times)):
        for last in range(first, len(times)):
            span_us = times[last] - times[first]
            assert last - first + 1 <= rate.count + span_us * rate.count // rate.period_us + 1


@given(rate=rates, steps=steps_us)
def test_rebuilding_from_the_admitted_calls_gives_the_same_bucket(
    rate: Rate, steps: list[int]
) -> None:
    tat_us, rebuilt_us, now_us = 0, 0, NOW_US
    for step_us in steps:
        now_us += step_us
        tat_us, wait_us = take(tat_us, rate, now_us)
        if not wait_us:
            rebuilt_us = admitted(rebuilt_us, rate, now_us)
    assert rebuilt_us == tat_us


def test_a_stricter_rate_finds_an_empty_bucket_not_a_debt() -> None:
    rebuilt_us = 0
    for _ in range(1_000):
        rebuilt_us = admitted(rebuilt_us, Rate(2, 60_000_000), NOW_US)
    assert take(rebuilt_us, Rate(2, 60_000_000), NOW_US)[1] == 30_000_000


def test_a_clock_that_steps_back_admits_nothing_extra() -> None:
    rate, tat_us = Rate(2, 60_000_000), 0
    for _ in range(2):
        tat_us, _ = take(tat_us, rate, NOW_US)
    assert take(tat_us, rate, NOW_US - 10_000_000)[1] == 40_000_000
