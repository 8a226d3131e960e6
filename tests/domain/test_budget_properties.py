"""Budgets as properties: random holds, settles, waits and limits, against the plainest bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.budget import METERS, Limits, Purses
from gateway.domain.lives import LIFE_US
from gateway.domain.model import Amounts
from gateway.domain.window import CALENDAR, WINDOWS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON_US = (datetime(2026, 11, 22, 12, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
CALLERS = (
    ("t1", "m1", "a1", "x1"),
    ("t1", "m1", "a2", "x2"),
    ("t1", "", "a3", "x1"),
    ("t2", "m2", "a4", "x3"),
    ("t1", "m1", "a1", "x1", "r1"),
    ("t1", "m1", "a2", "x2", "r2"),
    ("t1", "", "a3", "x1", "r1", "j1"),
    ("t1", "m1", "a1", "x2", "", "j1", "j2"),
    ("t2", "m2", "a4", "x3", "r3", "j3"),
)
EVERYONE = sorted({account for caller in CALLERS for account in caller if account})


@dataclass
class Ledger:
    """The plainest possible bookkeeping: every hold and charge in one list, sums by looking."""

    rows: dict[int, tuple[tuple[str, ...], int, Amounts, Amounts | None]] = field(
        default_factory=dict
    )
    events: list[tuple[int, Amounts | None]] = field(default_factory=list)  # None: it was held

    def sums(self, account: str, window: str, t_us: int) -> tuple[Amounts, Amounts]:
        held, charged = [0, 0, 0], [0, 0, 0]
        alive = self.alive(account, t_us) if window == "life" else self.rows
        for leaf in alive:
            accounts, at_us, amounts, settled = self.rows[leaf]
            if account in accounts and label(window, at_us) == label(window, t_us):
                target, amount = (held, amounts) if settled is None else (charged, settled)
                for meter, name in enumerate(METERS):
                    target[meter] += getattr(amount, name)
        return Amounts(*held), Amounts(*charged)

    def alive(self, account: str, t_us: int) -> list[int]:
        """Every hold of the life that *account* has at *t_us*."""
        life, still_open = list[int](), set[int]()

        def end_with(minute_us: int) -> None:
            if life and not still_open and self.rows[life[0]][1] + LIFE_US <= minute_us:
                life.clear()

        for leaf, settled in self.events:
            if account not in self.rows[leaf][0]:
                continue
            if settled is not None:
                still_open.discard(leaf)
                continue
            at_us = self.rows[leaf][1]
            end_with(at_us - at_us % 60_000_000)
            life.append(leaf)
            still_open.add(leaf)
        end_with(t_us - t_us % 60_000_000)
        return life


def label(window: str, t_us: int) -> str:
    if window == "life":
        return window
    shape = {"minute": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}[window]
    return (EPOCH + timedelta(microseconds=t_us)).strftime(shape)


amounts = st.builds(Amounts, st.integers(0, 50), st.integers(0, 2), st.integers(0, 20))


def windows_of(account: str) -> tuple[str, ...]:
    """Runs and grants are counted in their life, all else in the calendar."""
    return ("life",) if account[0] in "rj" else CALENDAR


def limit_tables(account: str) -> st.SearchStrategy[dict[tuple[str, str], int]]:
    windows = st.sampled_from(windows_of(account))
    return st.dictionaries(
        st.tuples(st.sampled_from(METERS), windows), st.integers(0, 200), max_size=4
    )


limits_by_account = st.fixed_dictionaries(
    {
        account: st.none() | st.builds(Limits, st.none(), limit_tables(account))
        for account in EVERYONE
    }
)
WAITS_S = (1, 999, 61, 3_600, 86_400, 6 * 86_400, 7 * 86_400, 40 * 86_400)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from(CALLERS), amounts),
        st.tuples(st.just("settle"), st.integers(0, 10**6), st.tuples(*[st.floats(0, 1)] * 3)),
        st.tuples(st.just("wait"), st.sampled_from(WAITS_S), st.none()),
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
                ledger.events.append((leaf, None))
        elif purses.open_holds():
            open_leaves = sorted(purses.open_holds())
            chosen = open_leaves[int(str(one)) % len(open_leaves)]
            accounts, at_us, held, _ = ledger.rows[chosen]
            assert isinstance(other, tuple)
            parts = [int(getattr(held, m) * share) for m, share in zip(METERS, other, strict=True)]
            purses.settle(chosen, Amounts(*parts))
            ledger.rows[chosen] = (accounts, at_us, held, Amounts(*parts))
            ledger.events.append((chosen, Amounts(*parts)))
        check(purses, ledger, table, now_us)
    return ledger, now_us


def check(purses: Purses, ledger: Ledger, table: Mapping[str, Limits | None], now_us: int) -> None:
    for account in EVERYONE:
        for window in WINDOWS:
            _, held, charged = purses.purse(account, window, now_us)
            if window not in windows_of(account):
                assert (held, charged) == (Amounts(), Amounts())
                continue
            assert (held, charged) == ledger.sums(account, window, now_us)
            limits = table[account]
            for meter in METERS if limits else ():
                limit = limits.budgets.get((meter, window)) if limits else None
                if limit is not None:
                    used = getattr(held, meter) + getattr(charged, meter)
                    before = 4 if window == "life" else 0  # levels
                    where, bounds = ("",) * before + (account,), (None,) * before + (limits,)
                    name = f"{meter}/run" if before else f"{meter}/{window}"
                    left = purses.left(where, bounds, now_us)[name]
                    assert used <= limit
                    assert used + left == limit
        life = purses.life(account, now_us)
        n_open = sum(account in hold.accounts for hold in purses.open_holds().values())
        if "life" in windows_of(account):
            assert (life[1] if life else 0) == n_open
            alive = ledger.alive(account, now_us)
            assert (life[0] if life else None) == (ledger.rows[alive[0]][1] if alive else None)


@settings(max_examples=60, deadline=None)
@given(script=steps, table=limits_by_account)
def test_held_and_charged_and_left_are_the_limit_at_every_instant(
    script: list[tuple[str, object, object]], table: dict[str, Limits | None]
) -> None:
    purses = Purses()
    ledger, _ = play(purses, script, table)  # which looks at every instant
    open_leaves = {leaf for leaf, (*_, settled) in ledger.rows.items() if settled is None}
    assert purses.open_holds().keys() == open_leaves


@settings(max_examples=60, deadline=None)
@given(script=steps, table=limits_by_account, cut=st.integers(0, 60))
def test_loading_at_any_point_and_going_on_is_the_same_as_never_having_stopped(
    script: list[tuple[str, object, object]], table: dict[str, Limits | None], cut: int
) -> None:
    purses = Purses()
    ledger, now_us = play(purses, script[:cut], table)
    loaded = Purses.load(purses.canonical(now_us))
    assert loaded.open_holds() == purses.open_holds()
    for later_us in (now_us, now_us + 3_600_000_000, now_us + LIFE_US, now_us + 6 * LIFE_US):
        assert loaded.digest(later_us) == purses.digest(later_us)
    for leaf, (_, _, held, settled) in sorted(ledger.rows.items()):
        if settled is None:
            purses.settle(leaf, held)
            loaded.settle(leaf, held)
    for either in (purses, loaded):
        either.hold(1_000, CALLERS[2], Amounts(3, 1, 0), now_us + 1_000_000)
        either.hold(1_001, CALLERS[6], Amounts(3, 1, 0), now_us + 1_000_000)
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
    for leaf, settled in ledger.events:
        if settled is not None:
            fold.settle(leaf, settled)
        else:
            accounts, at_us, held, _ = ledger.rows[leaf]
            fold.hold(leaf, accounts, held, at_us)
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
