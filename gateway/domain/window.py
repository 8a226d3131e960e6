"""Budget windows: minutes, days and months of the UTC calendar, each from its start to the next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

WINDOWS = ("minute", "day", "month")

_MINUTE_US = 60_000_000
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spans(t_us: int) -> Iterator[tuple[int, int, int]]:
    """(index in WINDOWS, start, end) of the three windows that *t_us* falls in."""
    minute_us = t_us - t_us % _MINUTE_US
    yield 0, minute_us, minute_us + _MINUTE_US
    day_us = t_us - t_us % _DAY_US
    yield 1, day_us, day_us + _DAY_US
    first = (_EPOCH + timedelta(microseconds=day_us)).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    yield 2, _us(first), _us(following)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
