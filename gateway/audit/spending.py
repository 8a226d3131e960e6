"""Whether budgets add up: every hold and charge of the log, folded again from the beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from gateway.audit.findings import Code, Findings
from gateway.audit.grammar import Line
from gateway.domain.budget import METERS, Limits, Purses
from gateway.domain.lives import IN_CALENDAR
from gateway.domain.model import Amounts
from gateway.domain.window import LIFE, WINDOWS

_Placed = tuple[tuple[str, ...], tuple[Limits | None, ...]]


class Spending:
    """Takes the lines of one log in order; pairs that do not fit are the business of `Pairing`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._purses = Purses()
        self._complete = True  # nothing is missing from the purses
        self._held: dict[int, tuple[bytes, Amounts]] = {}  # intent -> its call, and the hold
        self._charged = [0, 0, 0]
        self.digests: dict[int, str] = {}  # leaf -> what the counters entry there says

    def take(self, leaf: int, line: Line, at_us: int) -> None:
        """Fold the line at *leaf*; *at_us* is its time, or of the one before if that is later."""
        kind = line.kind
        if kind == "intent":
            self._intent(leaf, line, at_us)
        elif kind == "outcome":
            self._outcome(leaf, line)
        elif kind == "counters":
            self._counters(leaf, line, at_us)

    def leave_out(self, _count: int) -> None:
        """Note that leaves are missing or cannot be read: sums say nothing from here on."""
        self._complete = False

    @property
    def charged(self) -> Mapping[str, int]:
        """What was charged in all, by meter."""
        return dict(zip(METERS, self._charged, strict=True))

    def _intent(self, leaf: int, line: Line, at_us: int) -> None:
        accounts, limits, tokens, calls, cost = line.taken
        amounts = _amounts(tokens, calls, cost)
        try:
            where, limits_of = _placed(accounts, limits)
            short = self._purses.room(where, limits_of, amounts, at_us) if self._complete else None
            self._purses.hold(leaf, where, amounts, at_us)
        except ValueError as err:
            self._findings.add(Code.OVER_LIMIT, f"the hold of intent {leaf} cannot be: {err}", leaf)
            self._complete = False
            return
        self._held[leaf] = (line.call, amounts)
        if short is not None:
            self._findings.add(
                Code.OVER_LIMIT,
                f"intent {leaf} holds {short.needed} {short.meter} of {short.account}, which has "
                f"{short.remaining} of {short.limit} left in its {short.window}",
                leaf,
            )

    def _outcome(self, leaf: int, line: Line) -> None:
        named, tokens, calls, cost = line.taken
        intent = int(named)
        call, held = self._held.get(intent, (b"", None))
        if held is None or call != line.call:
            return
        del self._held[intent]
        used = _amounts(tokens, calls, cost)
        if used.tokens > held.tokens or used.calls > held.calls or used.cost > held.cost:
            self._findings.add(
                Code.OVERCHARGED,
                f"outcome {leaf} charges {_said(used)}; its intent {intent} held {_said(held)}",
                leaf,
            )
            used = held  # the most that the budgets could allow
        self._purses.settle(intent, used)
        self._charged[0] += used.tokens
        self._charged[1] += used.calls
        self._charged[2] += used.cost

    def _counters(self, leaf: int, line: Line, at_us: int) -> None:
        stated = line.taken[0].decode()
        self.digests[leaf] = stated
        if self._complete and self._purses.digest(at_us) != stated:
            self._findings.add(
                Code.COUNTERS_DIFFER,
                f"counters entry {leaf} is not the sum of the entries before it",
                leaf,
            )


def _said(amounts: Amounts) -> str:
    return f"{amounts.tokens} tokens, {amounts.calls} calls, {amounts.cost} cost"


# The same few accounts, limits and amounts come again and again.
@lru_cache(maxsize=16_384)
def _placed(accounts: bytes, limits: bytes) -> _Placed:
    """Return the accounts of a hold and the limits on each. Raises: ValueError: they do not fit."""
    where = tuple(json.loads(accounts))
    if len(where) < IN_CALENDAR:
        raise ValueError(f"it lies on {len(where)} accounts, of {IN_CALENDAR} that every call has")
    budgets: dict[str, dict[tuple[str, str], int]] = {account: {} for account in where if account}
    for account, meter, window, amount in json.loads(limits):
        if account not in budgets:
            raise ValueError(f"it states a limit of {account}, on which it does not lie")
        if (window == WINDOWS[LIFE]) != (account in where[IN_CALENDAR:]):
            raise ValueError(f"it states a limit of {account} in its {window}, which it has not")
        budgets[account][meter, window] = amount
    return where, tuple(Limits(None, budgets[one]) if budgets.get(one) else None for one in where)


@lru_cache(maxsize=16_384)
def _amounts(tokens: bytes, calls: bytes, cost: bytes) -> Amounts:
    return Amounts(int(tokens), int(calls), int(cost))
