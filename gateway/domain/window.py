"""Points in time as microseconds, and the budget windows they fall in: minutes, days and months, UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

# The last one is in no calendar: see `gateway.domain.lives`.
WINDOWS = ("minute", "day", "month", "life")
CALENDAR = WINDOWS[:3]
LIFE = 3  # the index of the last one

_MINUTE_US = 60_000_000
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spans(t_us: int) -> Iterator[tuple[int, int, int]]:
    """(index in WINDOWS, start, end) of the three calendar windows that *t_us* falls in."""
    minute_us = minute(t_us)
    yield 0, minute_us, minute_us + _MINUTE_US
    day_us = t_us - t_us % _DAY_US
    yield 1, day_us, day_us + _DAY_US
    first = (_EPOCH + timedelta(microseconds=day_us)).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    yield 2, us_of(first), us_of(following)


def minute(t_us: int) -> int:
    """When the minute of *t_us* began."""
    return t_us - t_us % _MINUTE_US


def us_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def when(at_us: int) -> str:
    """2026-11-22T23:24:05.123456Z"""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
