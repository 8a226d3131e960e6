"""How often: GCRA arithmetic. A bucket is one integer, its theoretical arrival time (TAT)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SECOND_US = 1_000_000
_PERIODS_US = {
    "s": SECOND_US,
    "sec": SECOND_US,
    "min": 60 * SECOND_US,
    "hour": 3600 * SECOND_US,
    "h": 3600 * SECOND_US,
}
_SPELLINGS = {SECOND_US: "s", 60 * SECOND_US: "min", 3600 * SECOND_US: "hour"}
_MAX_PER_SECOND = 1_000_000  # one step per microsecond is the finest the clock can tell
_GRAMMAR = re.compile(r"([0-9]{1,10})/(s|sec|min|hour|h)")


@dataclass(frozen=True, slots=True)
class Rate:
    """*count* calls per *period_us*; all of them may come at once (the burst is *count*)."""

    count: int
    period_us: int
    # Between two calls at the steady pace; rounded up, so that the rate is never exceeded.
    interval_us: int = field(init=False, compare=False)
    # How far ahead of now a bucket may be: the burst, as time.
    depth_us: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MAX_PER_SECOND * self.period_us // SECOND_US:
            raise ValueError(
                f"a rate needs a count from 1 to {_MAX_PER_SECOND} per second, not {self.count}"
            )
        object.__setattr__(self, "interval_us", -(-self.period_us // self.count))
        object.__setattr__(self, "depth_us", self.interval_us * self.count)

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read "60/min" (units: s, sec, min, hour, h). Raises: ValueError, in one sentence."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise ValueError(f'expected a rate such as "60/min" (s, min or hour), not {text!r:.60}')
        return cls(int(match[1]), _PERIODS_US[match[2]])

    def __str__(self) -> str:
        return f"{self.count}/{_SPELLINGS.get(self.period_us, f'{self.period_us}us')}"


@dataclass(frozen=True, slots=True)
class Wait:
    """The first level whose rate has no room now."""

    level: str  # of budget.LEVELS
    rate: Rate
    retry_after_us: int


def take(tat_us: int, rate: Rate, now_us: int) -> tuple[int, int]:
    """The bucket after one call at *now_us*, and how long to wait: 0 when the call is admitted.

    A bucket begins at 0. When the wait is not 0, the bucket is unchanged, and a call exactly that
    much later is admitted if no other came first.
    """
    new_tat_us = max(tat_us, now_us) + rate.interval_us
    wait_us = new_tat_us - rate.depth_us - now_us
    return (tat_us, wait_us) if wait_us > 0 else (new_tat_us, 0)


def admitted(tat_us: int, rate: Rate, at_us: int) -> int:
    """The bucket after a call that was admitted at *at_us* under whatever rate held then.

    For rebuilding from the log: equal to `take` while the rate is the same; under a rate that
    became stricter the bucket is empty, never deeper than empty.
    """
    return min(max(tat_us, at_us) + rate.interval_us, at_us + rate.depth_us)
