"""What has been taken and held so far: a projection of the log, kept in memory, rebuilt from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from gateway.audit import entry as entries
from gateway.domain.budget import METERS, Limits, Purses, level_of
from gateway.domain.rate import Rate, Wait, admitted, take

MAX_BUCKETS = 200_000
LONGEST_PERIOD_US = 3_600_000_000

# As many as there are accounts.
LimitsOfAccounts = Callable[[tuple[str, ...]], tuple[Limits | None, ...]]


class CountersDamaged(Exception):
    """The stored state is not the one whose digest is in the log, or the log does not add up."""


class Counters:
    """Purses (held and charged) and rate buckets of every account."""

    def __init__(self) -> None:
        self.purses = Purses()
        self._tats: dict[str, int] = {}
        self.last_state_leaf = -1

    def resume(self, purses: Purses, state_leaf: int, tats: dict[str, int]) -> None:
        """Go on from what the log says; whatever else was counted is forgotten."""
        self.purses, self.last_state_leaf, self._tats = purses, state_leaf, tats

    def wait(
        self, accounts: Sequence[str], limits: Sequence[Limits | None], now_us: int
    ) -> Wait | None:
        """The first level whose rate has no room now."""
        for level, limit in enumerate(limits):
            if limit is None or limit.rate is None:
                continue
            _, wait_us = take(self._tats.get(accounts[level], 0), limit.rate, now_us)
            if wait_us:
                return Wait(level_of(level), limit.rate, wait_us)
        return None

    def take_rate(
        self, accounts: Sequence[str], limits: Sequence[Limits | None], now_us: int
    ) -> None:
        """Take one from every level that has a rate; `wait` said there is room."""
        for level, limit in enumerate(limits):
            if limit is None or limit.rate is None:
                continue
            account = accounts[level]
            if account not in self._tats and len(self._tats) >= MAX_BUCKETS:
                self._forget(now_us)
            self._tats[account], _ = take(self._tats.get(account, 0), limit.rate, now_us)

    def relimit(self, account: str, rate: Rate, now_us: int) -> None:
        """Go on under another rate: a bucket that is deeper than *rate* lets it be is just empty.

        Else whoever had used up 1/hour would wait out the hour under 60/min as well.
        """
        if account in self._tats:
            self._tats[account] = min(self._tats[account], now_us + rate.depth_us)

    def totals(self, accounts: Sequence[str], now_us: int) -> tuple[dict[str, int], dict[str, int]]:
        """(held, charged) per meter over *accounts*, in the day of *now_us*."""
        purses = [self.purses.purse(account, "day", now_us) for account in accounts]
        held = {meter: sum(getattr(p.held, meter) for p in purses) for meter in METERS}
        charged = {meter: sum(getattr(p.charged, meter) for p in purses) for meter in METERS}
        return held, charged

    def _forget(self, now_us: int) -> None:
        # A bucket whose time has passed is full again: the same as none.
        self._tats = {account: tat for account, tat in self._tats.items() if tat > now_us}


def stored_entries(connection: sqlite3.Connection, first_leaf: int) -> Iterator[entries.Entry]:
    rows = connection.execute("SELECT body FROM entries WHERE idx >= ? ORDER BY idx", (first_leaf,))
    for (body,) in rows:
        yield entries.decode(body)


def rebuild_purses(connection: sqlite3.Connection) -> tuple[Purses, int]:
    """The purses as the log gives them, and the leaf of the state they were folded from (-1: none).

    Raises: CountersDamaged: the newest stored state is not the one in the log.
    """
    row = connection.execute(
        "SELECT s.leaf, s.state, e.body FROM counter_states s JOIN entries e ON e.idx = s.leaf"
        " ORDER BY s.leaf DESC LIMIT 1"
    ).fetchone()
    purses, leaf = Purses(), -1
    if row is not None:
        leaf, state, body = row
        purses = Purses.load(state)
        stated = entries.decode(body)
        if not isinstance(stated, entries.Counters) or stated.digest != purses.digest(stated.t):
            raise CountersDamaged(f"the counters stored with entry {leaf} are not those it states")
    for entry in stored_entries(connection, leaf + 1):
        fold(purses, entry)
    return purses, leaf


def fold(purses: Purses, entry: entries.Entry) -> None:
    """Apply one entry: the same arithmetic as the live path, from what the entry says.

    Raises: CountersDamaged: no house wrote this log; `audit verify` tells more.
    """
    try:
        if isinstance(entry, entries.Intent):
            purses.hold(entry.i, entry.acc, entry.hold, entry.t)
        elif isinstance(entry, entries.Outcome):
            purses.settle(entry.intent, entry.used)
    except ValueError as err:
        raise CountersDamaged(f"entry {entry.i} does not add up: {err}") from err


def rebuild_rates(
    connection: sqlite3.Connection, last_us: int, limits_of: LimitsOfAccounts
) -> dict[str, int]:
    """The rate buckets after every intent and single entry of the longest period up to *last_us*."""
    tats: dict[str, int] = {}
    rows = connection.execute(
        "SELECT body FROM entries WHERE at >= ? AND kind IN ('intent', 'single') ORDER BY idx",
        (max(0, last_us - LONGEST_PERIOD_US),),
    )
    for (body,) in rows:
        entry = entries.decode(body)
        if isinstance(entry, entries.Intent | entries.Single):
            for account, limit in zip(entry.acc, limits_of(entry.acc), strict=True):
                if limit is not None and limit.rate is not None:
                    tats[account] = admitted(tats.get(account, 0), limit.rate, entry.t)
    return tats
