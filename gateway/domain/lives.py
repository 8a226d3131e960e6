"""Purses in no calendar: of a run or a grant, from its first hold until its life is over.

A life is over at the first minute that begins `LIFE_US` after it began, and in which nothing of it
is held. Whoever holds on that account afterwards begins another. So which lives there are follows
from the holds and charges and the minute alone, however often anybody looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.domain.limits import LEVELS, Limits, Shortfall, shortfall
from gateway.domain.window import LIFE, WINDOWS, minute

IN_CALENDAR = 4  # accounts of a call; those behind them are counted in their life, and nowhere else
LIFE_US = 86_400_000_000
# Of one tenant at once: callers invent runs, and each is remembered. May grow, but never shrink: the
# verifier would find that more were admitted than there may be.
MAX_LIVES = 100_000
MAX_LIVES_OF_ONE = 10_000  # of one agent: no agent takes them all from the others
_TENANT, _AGENT = 0, 2  # places of accounts

Owners = tuple[str, str]  # accounts of a tenant and of its agent


class Life:
    """The one purse of an account: [tokens, calls, cost], each held plus charged."""

    __slots__ = ("account", "open", "owners", "start_us", "used")

    def __init__(self, account: str, owners: Owners, start_us: int) -> None:
        self.account = account
        self.owners = owners  # whom it counts against: whoever began it
        self.start_us = start_us
        self.open = 0  # holds that have not settled
        self.used = [0, 0, 0]

    @property
    def end_us(self) -> int:
        return self.start_us + LIFE_US

    def is_over(self, minute_us: int) -> bool:
        return not self.open and self.end_us <= minute_us


class Lives:
    """The lives of every account, as of the last `turn`; one minute is told of all that is asked."""

    def __init__(self) -> None:
        self._lives: dict[str, Life] = {}  # in the order in which they began
        self._count: dict[str, int] = {}  # of each tenant and agent

    def of(self, account: str, minute_us: int) -> Life | None:
        """The life of *account* that is not over in the minute *minute_us*."""
        life = self._lives.get(account)
        return None if life is None or life.is_over(minute_us) else life

    def all(self, minute_us: int) -> Iterator[Life]:
        return (life for life in self._lives.values() if not life.is_over(minute_us))

    def room(
        self,
        accounts: Sequence[str],
        limits_of: Sequence[Limits | None],
        needs: tuple[int, int, int],
        t_us: int,
    ) -> Shortfall | None:
        """The first limit of a life that does not cover *needs*, or that of how many there are.

        Raises: ValueError: a limit is in a window that these accounts have not.
        """
        minute_us, begun = minute(t_us), 0
        for level, account in enumerate(accounts[IN_CALENDAR:], IN_CALENDAR):
            life = self.of(account, minute_us)
            begun += life is None and account != ""
            limits = limits_of[level]
            for row in limits.rows if limits else ():
                window, meter, limit = row
                if window != LIFE:
                    raise ValueError(f"{account} has no {WINDOWS[window]}, only a life")
                used = life.used[meter] if life else 0
                if needs[meter] and used + needs[meter] > limit:
                    end_us = life.end_us if life else t_us + LIFE_US
                    return shortfall((level, account), row, used, needs[meter], end_us)
        if not begun:
            return None
        return self._crowd(accounts, _TENANT, MAX_LIVES, begun, t_us) or self._crowd(
            accounts, _AGENT, MAX_LIVES_OF_ONE, begun, t_us
        )

    def _crowd(
        self, accounts: Sequence[str], level: int, most: int, begun: int, t_us: int
    ) -> Shortfall | None:
        """What is short when the owner at *level* may not begin as many lives as *begun*."""
        owner = accounts[level]
        count = self._count.get(owner, 0)
        if count + begun <= most:
            return None
        # Some may be over since the last turn.
        count -= sum(owner in life.owners for life in self._over(minute(t_us)))
        if count + begun <= most:
            return None
        return Shortfall(
            level=LEVELS[level],
            account=owner,
            meter="runs",
            window=WINDOWS[LIFE],
            limit=most,
            needed=begun,
            remaining=max(0, most - count),
            reset_at_us=t_us
            + LIFE_US,  # by then all are over; the first end is of whoever began it
        )

    def hold(self, accounts: Sequence[str], t_us: int) -> tuple[Life, ...]:
        """The lives in *accounts* with one more open hold in each; begun where there was none."""
        if len(accounts) <= IN_CALENDAR:
            return ()
        owners = accounts[_TENANT], accounts[_AGENT]
        lives = tuple(
            self._lives.get(account) or self.begin(account, owners, t_us)
            for account in accounts[IN_CALENDAR:]
            if account
        )
        for life in lives:
            life.open += 1
        return lives

    def begin(self, account: str, owners: Owners, t_us: int) -> Life:
        life = self._lives[account] = Life(account, owners, t_us)
        for owner in owners:
            self._count[owner] = self._count.get(owner, 0) + 1
        return life

    def settle(self, lives: Sequence[Life], minute_us: int) -> None:
        """A hold in each of *lives* is open no more."""
        for life in lives:
            life.open -= 1
            if life.is_over(minute_us):
                self._drop(life)

    def turn(self, minute_us: int) -> None:
        """Drop what is over."""
        for life in list(self._over(minute_us)):
            self._drop(life)

    def _over(self, minute_us: int) -> Iterator[Life]:
        for life in self._lives.values():
            if life.end_us > minute_us:
                return  # and so do all that began later
            if not life.open:
                yield life

    def _drop(self, life: Life) -> None:
        del self._lives[life.account]
        for owner in life.owners:
            self._count[owner] -= 1
            if not self._count[owner]:
                del self._count[owner]
