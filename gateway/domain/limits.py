"""What is allowed of how much: an amount of a meter in a window, and what does not fit in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.domain.rate import Rate
from gateway.domain.window import WINDOWS

# Of the accounts, outermost first; there may be any number of grants.
LEVELS = ("tenant", "team", "agent", "tool", "run", "grant")
METERS = ("tokens", "calls", "cost")
MAX_AMOUNT = 2**53 - 1  # every JSON reader of the log keeps integers up to here exact

_GRAMMAR = re.compile(r"([0-9]{1,16})([kMG]?)/(min|minute|day|month)")
_SCALES = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


class Budget(NamedTuple):
    """One limit: *amount* of a meter per *window*."""

    amount: int
    window: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "200k/day" (k, M, G; per min, day or month). Raises: ValueError, in one sentence."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise ValueError(
                f'expected a budget such as "200k/day" (k, M, G; min, day, month), not {text!r:.60}'
            )
        amount = int(match[1]) * _SCALES[match[2]]
        if amount > MAX_AMOUNT:
            raise ValueError(f"a budget is at most {MAX_AMOUNT}, not {text!r:.60}")
        return cls(amount, "minute" if match[3] == "min" else match[3])

    def __str__(self) -> str:
        for suffix in "GMk":
            if self.amount and self.amount % _SCALES[suffix] == 0:
                return f"{self.amount // _SCALES[suffix]}{suffix}/{self.window}"
        return f"{self.amount}/{self.window}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may use: a rate, and an amount per (meter, window).

    An amount per life is of a run or a grant, and theirs are no other; no configuration says it.
    """

    rate: Rate | None = None
    budgets: Mapping[tuple[str, str], int] = field(default_factory=dict)
    # The same as (window index, meter index, amount), in the order they are looked at.
    rows: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for meter, window in self.budgets:
            if meter not in METERS or window not in WINDOWS:
                raise ValueError(f"there is no limit of {meter!r:.40} per {window!r:.40}")
        rows = sorted(
            (METERS.index(meter), WINDOWS.index(window), amount)
            for (meter, window), amount in self.budgets.items()
        )
        object.__setattr__(self, "rows", tuple((w, m, amount) for m, w, amount in rows))


@dataclass(frozen=True, slots=True)
class Shortfall:
    """The first limit that does not cover a call."""

    level: str
    account: str
    meter: str
    window: str
    limit: int
    needed: int
    remaining: int
    reset_at_us: int


def level_of(index: int) -> str:
    """The level of the account that stands at *index* among those of a call."""
    return LEVELS[min(index, len(LEVELS) - 1)]


def shortfall(
    place: tuple[int, str], row: tuple[int, int, int], used: int, needed: int, reset_at_us: int
) -> Shortfall:
    """What is said of a *row* of limits when *needed* does not fit beside *used*.

    *place*: the account, and where it stands among those of the call.
    """
    (index, account), (window, meter, limit) = place, row
    return Shortfall(
        level=level_of(index),
        account=account,
        meter=METERS[meter],
        window=WINDOWS[window],
        limit=limit,
        needed=needed,
        remaining=max(0, limit - used),
        reset_at_us=reset_at_us,
    )
