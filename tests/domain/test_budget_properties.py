"""Budgets as properties: random holds, settles, waits and limits, against the plainest bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.budget import METERS, WINDOWS, Limits, Purses
from gateway.domain.model import Amounts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON_US = (datetime(2026, 11, 22, 12, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
CALLERS = (
    ("t1", "m1", "a1", "x1"),
    ("t1", "m1", "a2", "x2"),
    ("t1", "", "a3", "x1"),
    ("t2", "m2", "a4", "x3"),
)
EVERYONE = sorted({account for caller in CALLERS for account in caller if account})


@dataclass
class Ledger:
    """The plainest possible bookkeeping: every hold and charge in one list, sums by looking."""

    rows: dict[int, tuple[tuple[str, ...], int, Amounts, Amounts | None]] = field(
        default_factory=dict
    )

    def sums(self, account: str, window: str, t_us: int) -> tuple[Amounts, Amounts]:
        held, charged = [0, 0, 0], [0, 0, 0]
        for accounts, at_us, amounts, settled in self.rows.values():
            if account in accounts and label(window, at_us) == label(window, t_us):
                target, amount = (held, amounts) if settled is None else (charged, settled)
                for meter, name in enumerate(METERS):
                    target[meter] += getattr(amount, name)
        return Amounts(*held), Amounts(*charged)


def label(window: str, t_us: int) -> str:
    shape = {"minute": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}[window]
    return (EPOCH + timedelta(microseconds=t_us)).strftime(shape)


amounts = st.builds(Amounts, st.integers(0, 50), st.integers(0, 2), st.integers(0, 20))
limit_tables = st.dictionaries(
    st.tuples(st.sampled_from(METERS), st.sampled_from(WINDOWS)), st.integers(0, 200), max_size=4
)
limits_by_account = st.fixed_dictionaries(
    {account: st.none() | st.builds(Limits, st.none(), limit_tables) for account in EVERYONE}
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from(CALLERS), amounts),
        st.tuples(st.just("settle"), st.integers(0, 10**6), st.tuples(*[st.floats(0, 1)] * 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 999, 61, 3_600, 86_400, 40 * 86_400]), st.none()),
    ),
    max_size=60,
)  # fmt: skip


def limits_of(
    caller: tuple[str, ...], table: Mapping[str, Limits | None]
) -> tuple[Limits | None, ...]:
    return tuple(table.get(account) for account in caller)


def play(
    purses: Purses, script: list[tuple[str, object, object]], table: Mapping[str, Limits | None]
) -> tuple[Ledger, int]:
    """Run *script* against *purses* and the plain ledger; a call that has no room is not held."""
    ledger, now_us = Ledger(), NOON_US
    for leaf, (what, one, other) in enumerate(script):
        if what == "wait":
            now_us += int(str(one)) * 1_000_000
        elif what == "call":
            assert isinstance(one, tuple)
            assert isinstance(other, Amounts)
            if purses.room(one, limits_of(one, table), other, now_us) is None:
                purses.hold(leaf, one, other, now_us)
                ledger.rows[leaf] = (one, now_us, other, None)
        elif purses.open_holds():
            open_leaves = sorted(purses.open_holds())
            chosen = open_leaves[int(str(one)) % len(open_leaves)]
            accounts, at_us, held, _ = ledger.rows[chosen]
            assert isinstance(other, tuple)
            parts = [int(getattr(held, m) * share) for m, share in zip(METERS, other, strict=True)]
            purses.settle(chosen, Amounts(*parts))
            ledger.rows[chosen] = (accounts, at_us, held, Amounts(*parts))
        check(purses, ledger, table, now_us)
    return ledger, now_us


def check(purses: Purses, ledger: Ledger, table: Mapping[str, Limits | None], now_us: int) -> None:
    for account in EVERYONE:
        for window in WINDOWS:
            _, held, charged = purses.purse(account, window, now_us)
            assert (held, charged) == ledger.sums(account, window, now_us)
            limits = table[account]
            for meter in METERS if limits else ():
                limit = limits.budgets.get((meter, window)) if limits else None
                if limit is not None:
                    used = getattr(held, meter) + getattr(charged, meter)
                    left = purses.left((account,), (limits,), now_us)[f"{meter}/{window}"]
                    assert used <= limit
                    assert used + left == limit


@settings(max_examples=60, deadline=None)
@given(script=steps, table=limits_by_account)
def test_held_and_charged_and_left_are_the_limit_at_every_instant(
    script: list[tuple[str, object, object]], table: dict[str, Limits | None]
) -> None:
    play(Purses(), script, table)


@settings(max_examples=60, deadline=None)
@given(script=steps, table=limits_by_account, cut=st.integers(0, 60))
def test_loading_at_any_point_and_going_on_is_the_same_as_never_having_stopped(
    script: list[tuple[str, object, object]], table: dict[str, Limits | None], cut: int
) -> None:
    purses = Purses()
    ledger, now_us = play(purses, script[:cut], table)
    loaded = Purses.load(purses.canonical(now_us))
    assert loaded.open_holds() == purses.open_holds()
    for later_us in (now_us, now_us + 3_600_000_000, now_us + 40 * 86_400_000_000):
        assert loaded.digest(later_us) == purses.digest(later_us)
    for leaf, (_, _, held, settled) in sorted(ledger.rows.items()):
        if settled is None:
            purses.settle(leaf, held)
            loaded.settle(leaf, held)
    for either in (purses, loaded):
        either.hold(1_000, CALLERS[2], Amounts(3, 1, 0), now_us + 1_000_000)
    assert loaded.canonical(now_us + 2_000_000) == purses.canonical(now_us + 2_000_000)


@settings(max_examples=60, deadline=None)
@given(script=steps, table=limits_by_account)
def test_a_fold_of_what_happened_equals_the_state_that_lived_through_it(
    script: list[tuple[str, object, object]], table: dict[str, Limits | None]
) -> None:
    """The live state also looked, was refused and was asked; the fold only held and settled."""
    lived = Purses()
    ledger, now_us = play(lived, script, table)
    fold = Purses()
    for leaf, (accounts, at_us, held, _) in sorted(ledger.rows.items()):
        fold.hold(leaf, accounts, held, at_us)
    for leaf, (_, _, _, settled) in sorted(ledger.rows.items(), reverse=True):
        if settled is not None:
            fold.settle(leaf, settled)
    assert fold.canonical(now_us) == lived.canonical(now_us)


@settings(max_examples=40, deadline=None)
@given(script=steps, first=limits_by_account, second=limits_by_account)
def test_limits_that_change_take_effect_at_once_and_never_overdraw_again(
    script: list[tuple[str, object, object]],
    first: dict[str, Limits | None],
    second: dict[str, Limits | None],
) -> None:
    purses = Purses()
    _, now_us = play(purses, script, first)
    for leaf, caller in enumerate(CALLERS, start=1_000):
        need = Amounts(1, 1, 1)
        if purses.room(caller, limits_of(caller, second), need, now_us) is None:
            purses.hold(leaf, caller, need, now_us)
            for account in filter(None, caller):
                limits = second[account] or Limits()
                for (meter, window), limit in limits.budgets.items():
                    _, held, charged = purses.purse(account, window, now_us)
                    assert getattr(held, meter) + getattr(charged, meter) <= limit
