"""How much: holds and charges over a hierarchy of accounts, in UTC calendar windows and lives.

A purse is one account in one window: in each of the calendar for tenant, team, agent and tool, and in
its life for the run and for each grant. It never refuses: `room` looks, `hold` takes, `settle` charges
what was used and releases the rest. Standard library only: the offline verifier folds with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

# All that has to do with budgets is imported from here.
from gateway.domain.limits import LEVELS as LEVELS
from gateway.domain.limits import MAX_AMOUNT as MAX_AMOUNT
from gateway.domain.limits import METERS as METERS
from gateway.domain.limits import Budget as Budget
from gateway.domain.limits import Limits as Limits
from gateway.domain.limits import Shortfall as Shortfall
from gateway.domain.limits import level_of as level_of
from gateway.domain.limits import shortfall
from gateway.domain.lives import IN_CALENDAR, Life, Lives
from gateway.domain.model import Amounts
from gateway.domain.window import CALENDAR, LIFE, WINDOWS, minute, spans


class Hold(NamedTuple):
    """An amount set aside for one intent until it settles."""

    accounts: tuple[str, ...]
    amounts: Amounts
    at_us: int


class Purse(NamedTuple):
    """What one account has in one window."""

    start_us: int
    held: Amounts
    charged: Amounts


class _Book:
    """The purses of one window: account -> [tokens, calls, cost], each held plus charged.

    Only the sum is kept, because it is all that a limit is compared with; what of it is held follows
    from the open holds. This halves the work of every settle.
    """

    __slots__ = ("end_us", "open", "purses", "start_us", "window")

    def __init__(self, window: int, start_us: int, end_us: int) -> None:
        self.window = window
        self.start_us = start_us
        self.end_us = end_us
        self.open = 0  # holds of this window that have not settled
        self.purses: dict[str, list[int]] = {}


class _Open(NamedTuple):
    """An unsettled hold, and where it was put."""

    hold: Hold
    books: tuple[_Book, ...]
    purses: tuple[list[int], ...]
    lives: tuple[Life, ...] = ()


class Purses:
    """Every account's purses: a projection of the log, the same for every fold of the same log.

    Time never runs backwards: the ledger's entry times are monotonic. Purses of all calendar windows
    are kept for every account that was ever charged in them, because a limit may be set later.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._now = tuple(_Book(window, 0, 0) for window in range(len(CALENDAR)))
        self._past: list[_Book] = []  # windows that are over, while a hold of theirs is open
        self._lives = Lives()
        self._from_us = 0
        self._until_us = 0
        # accounts in the calendar -> their purses in the current windows; forgotten every minute
        self._routes: dict[tuple[str, ...], tuple[list[int], ...]] = {}

    def room(
        self,
        accounts: Sequence[str],
        limits_of: Sequence[Limits | None],
        amounts: Amounts,
        t_us: int,
    ) -> Shortfall | None:
        """The first limit (level, then meter, then window) that does not cover *amounts*.

        Nor is there room for another run or grant of a tenant or agent that has as many as there may be.
        """
        books = self._now if self._from_us <= t_us < self._until_us else self._look(t_us)
        needs = (amounts.tokens, amounts.calls, amounts.cost)
        for level, limits in enumerate(limits_of):
            if limits is None:
                continue
            if level >= IN_CALENDAR:
                break
            for window, meter, limit in limits.rows:
                purse = books[window].purses.get(accounts[level])
                used = purse[meter] if purse else 0
                if needs[meter] and used + needs[meter] > limit:
                    row = window, meter, limit
                    place = level, accounts[level]
                    return shortfall(place, row, used, needs[meter], books[window].end_us)
        if len(accounts) <= IN_CALENDAR:
            return None
        return self._lives.room(accounts, limits_of, needs, max(t_us, self._from_us))

    def hold(self, leaf: int, accounts: Sequence[str], amounts: Amounts, t_us: int) -> None:
        """Set *amounts* aside on every account ("" means none at that level), in all its windows.

        Raises: ValueError: the leaf has a hold, an amount is negative, or time ran backwards.
        """
        if leaf in self._open:
            raise ValueError(f"leaf {leaf} has a hold already")
        tokens, calls, cost = amounts.tokens, amounts.calls, amounts.cost
        if tokens < 0 or calls < 0 or cost < 0:
            raise ValueError(f"leaf {leaf} holds a negative amount")
        if not self._from_us <= t_us < self._until_us:
            self._turn(t_us)
        key = calendar = tuple(accounts)
        lives: tuple[Life, ...] = ()
        if len(key) > IN_CALENDAR:
            calendar, lives = key[:IN_CALENDAR], self._join(key, t_us)
        purses = self._routes.get(calendar) or self._route(calendar)
        if lives:
            purses += tuple(life.used for life in lives)
        for purse in purses:
            purse[0] += tokens
            purse[1] += calls
            purse[2] += cost
        for book in self._now:
            book.open += 1
        self._open[leaf] = _Open(Hold(key, amounts, t_us), self._now, purses, lives)

    def settle(self, leaf: int, charged: Amounts) -> None:
        """Charge *charged* in the windows of the hold and release the rest of it.

        Raises: ValueError: no such hold, or the charge is negative or above what was held.
        """
        opened = self._open.get(leaf)
        if opened is None:
            raise ValueError(f"leaf {leaf} has no open hold")
        held = opened.hold.amounts
        tokens = held.tokens - charged.tokens
        calls = held.calls - charged.calls
        cost = held.cost - charged.cost
        if not (0 <= tokens <= held.tokens and 0 <= calls <= held.calls and 0 <= cost <= held.cost):
            raise ValueError(f"leaf {leaf} would be charged outside its hold")
        del self._open[leaf]
        for meter, released in enumerate((tokens, calls, cost)):
            if released:  # usually of tokens only
                for purse in opened.purses:
                    purse[meter] -= released
        for book in opened.books:
            book.open -= 1
        if opened.lives:
            self._lives.settle(opened.lives, self._from_us)

    def open_holds(self) -> Mapping[int, Hold]:
        """The holds that have not settled, by the leaf of their intent."""
        return {leaf: opened.hold for leaf, opened in self._open.items()}

    def left(
        self, accounts: Sequence[str], limits_of: Sequence[Limits | None], t_us: int
    ) -> dict[str, int]:
        """ "tokens/day" -> what the tightest level has left; nothing where nobody set a limit.

        Of a run or a grant it is "tokens/run", "tokens/grant".
        """
        books = self._look(t_us)
        left: dict[str, int] = {}
        for level, (account, limits) in enumerate(zip(accounts, limits_of, strict=True)):
            for window, meter, limit in limits.rows if limits else ():
                if window != LIFE:
                    purse = books[window].purses.get(account)
                    name = _LEFT_NAMES[meter][window]
                else:
                    life = self._lives.of(account, self._minute(t_us))
                    purse = life.used if life else None
                    name = f"{METERS[meter]}/{level_of(level)}"
                remaining = limit - purse[meter] if purse else limit
                if name not in left or remaining < left[name]:
                    left[name] = max(0, remaining)
        return left

    def purse(self, account: str, window: str, t_us: int) -> Purse:
        """What *account* holds and was charged in the *window* that *t_us* falls in."""
        index = WINDOWS.index(window)
        if index == LIFE:
            life = self._lives.of(account, self._minute(t_us))
            start_us, used = (life.start_us, life.used) if life else (t_us, [0, 0, 0])
        else:
            book = self._look(t_us)[index]
            start_us, used = book.start_us, book.purses.get(account, [0, 0, 0])
        held = self._held().get((account, index, start_us), [0, 0, 0])
        charged = (all_ - open_ for all_, open_ in zip(used, held, strict=True))
        return Purse(start_us, Amounts(*held), Amounts(*charged))

    def life(self, account: str, t_us: int = 0) -> tuple[int, int] | None:
        """When the life of *account* began, and how many holds are open in it; None: it has none.

        Without *t_us*, at the latest time that anything was held.
        """
        life = self._lives.of(account, self._minute(t_us))
        return (life.start_us, life.open) if life else None

    # -- as bytes ---------------------------------------------------------------------------------
    # {"at":86400000000,
    #  "holds":[[7,86400000000,["t1","","a1","x1"],[250,1,0]]],          leaf, time, accounts, held
    #  "purses":[["t1","day",86400000000,[250,1,0],[90,2,0]],...,        ..., start, held, charged
    #            ["r1","life",86400000000,[250,1,0],[90,2,0],"t1"]],     ..., and of whom
    #  "v":1}

    def canonical(self, t_us: int) -> bytes:
        """All that matters from *t_us* on: current purses, open holds and the purses they sit in."""
        at_us = max(t_us, self._from_us)
        held = self._held()
        rows = [
            _row((account, book.window, book.start_us), purse, held)
            for book in (*self._now, *self._past)
            for account, purse in book.purses.items()
            if book.end_us > at_us or (account, book.window, book.start_us) in held
        ]
        rows += [
            [*_row((life.account, LIFE, life.start_us), life.used, held), *life.owners]
            for life in self._lives.all(minute(at_us))
        ]
        holds = [
            [leaf, hold.at_us, list(hold.accounts), _listed(hold.amounts)]
            for leaf, hold in self.open_holds().items()
        ]
        state = {"at": at_us, "holds": sorted(holds), "purses": sorted(rows), "v": 1}
        return json.dumps(state, sort_keys=True, separators=(",", ":")).encode()

    def digest(self, t_us: int) -> str:
        return digest_of(self.canonical(t_us))

    @classmethod
    def load(cls, state: bytes) -> Purses:
        """What `canonical` wrote. Raises: ValueError: not such bytes, to the last one."""
        purses = cls()
        try:
            at_us = purses._fill(json.loads(state))
        except (KeyError, TypeError, IndexError, OverflowError) as err:
            raise ValueError(f"not a state of purses: {type(err).__name__}") from err
        if purses.canonical(at_us) != state:
            raise ValueError("not a state of purses: it does not read back as the same bytes")
        return purses

    def _fill(self, state: Mapping[str, Any]) -> int:
        at_us = int(state["at"])
        self._turn(at_us)
        books = {(book.window, book.start_us): book for book in self._now}
        # By their start, because lives are kept in the order in which they began.
        for account, window, start_us, held, charged, *of in sorted(
            state["purses"], key=itemgetter(2)
        ):
            sums = [h + c for h, c in zip(_whole(held), _whole(charged), strict=True)]
            index = WINDOWS.index(window)
            if index == LIFE:
                (tenant, agent), (began_us,) = of, _whole((start_us,))
                self._lives.begin(account, (str(tenant), str(agent)), began_us).used = sums
            else:
                self._book(books, index, start_us).purses[account] = sums
        for leaf, t_us, accounts, amounts in state["holds"]:
            hold = Hold(tuple(accounts), Amounts(*_whole(amounts)), t_us)
            self._open[leaf] = self._reopened(books, hold)
        return at_us

    def _reopened(self, books: dict[tuple[int, int], _Book], hold: Hold) -> _Open:
        lives = self._join(hold.accounts, hold.at_us)
        found = tuple(self._book(books, w, start) for w, start, _ in spans(hold.at_us))
        for book in found:
            book.open += 1
        purses = tuple(
            book.purses.setdefault(account, [0, 0, 0])
            for book in found
            for account in _distinct(hold.accounts[:IN_CALENDAR])
        )
        return _Open(hold, found, purses + tuple(life.used for life in lives), lives)

    def _book(self, books: dict[tuple[int, int], _Book], window: int, start_us: int) -> _Book:
        book = books.get((window, start_us))
        if book is None:
            book = next(_Book(*span) for span in spans(start_us) if span[0] == window)
            books[window, start_us] = book
            self._past.append(book)
        return book

    # -- windows ----------------------------------------------------------------------------------

    def _turn(self, t_us: int) -> None:
        """Make the windows of *t_us* the current ones; drop those that nothing refers to."""
        if t_us < self._from_us:
            raise ValueError(f"time ran backwards: {t_us} is before {self._from_us}")
        past = (*self._past, *self._now)
        self._now = tuple(self._look(t_us))
        self._past = [book for book in past if book.open and book not in self._now]
        self._from_us, self._until_us = self._now[0].start_us, self._now[0].end_us
        self._routes.clear()
        self._lives.turn(self._from_us)

    def _minute(self, t_us: int) -> int:
        """The minute to ask lives about; an earlier time means the latest."""
        return max(minute(t_us), self._from_us)

    def _look(self, t_us: int) -> Sequence[_Book]:
        """The windows of *t_us*, without touching anything; an earlier time means the latest."""
        if t_us < self._until_us:
            return self._now
        return [
            now if now.start_us == span[1] and now.end_us else _Book(*span)
            for now, span in zip(self._now, spans(t_us), strict=True)
        ]

    def _route(self, accounts: tuple[str, ...]) -> tuple[list[int], ...]:
        present = _distinct(accounts)
        route = tuple(
            book.purses.setdefault(account, [0, 0, 0]) for book in self._now for account in present
        )
        self._routes[accounts] = route
        return route

    def _join(self, accounts: tuple[str, ...], t_us: int) -> tuple[Life, ...]:
        """A hold more in the life of every account that is in no calendar."""
        _distinct(accounts)
        return self._lives.hold(accounts, t_us)

    def _held(self) -> dict[_Place, list[int]]:
        """What is held, per account, window and start: the sum of the open holds."""
        held: dict[_Place, list[int]] = {}
        for hold, books, _, lives in self._open.values():
            present = _distinct(hold.accounts[:IN_CALENDAR])
            places = [(one, book.window, book.start_us) for book in books for one in present]
            places += [(life.account, LIFE, life.start_us) for life in lives]
            for place in places:
                sums = held.setdefault(place, [0, 0, 0])
                for meter, amount in enumerate(_listed(hold.amounts)):
                    sums[meter] += amount
        return held


_LEFT_NAMES = tuple(tuple(f"{meter}/{window}" for window in WINDOWS) for meter in METERS)


_Place = tuple[str, int, int]  # account, window, start


def _distinct(accounts: tuple[str, ...]) -> tuple[str, ...]:
    """The accounts there are. Twice the same would pass a limit twice that holds once."""
    present = tuple(account for account in accounts if account)
    if len(set(present)) != len(present):
        raise ValueError("one account stands at two levels of the same call")
    return present


def _listed(amounts: Amounts) -> list[int]:
    return [amounts.tokens, amounts.calls, amounts.cost]


def _whole(amounts: Iterable[Any]) -> list[int]:
    found = list(amounts)
    if not all(type(amount) is int and 0 <= amount <= MAX_AMOUNT for amount in found):
        raise ValueError("not a state of purses: an amount is not a whole number")
    return found


def _row(place: _Place, used: list[int], held_at: Mapping[_Place, list[int]]) -> list[Any]:
    account, window, start_us = place
    held = held_at.get(place, [0, 0, 0])
    charged = [all_ - open_ for all_, open_ in zip(used, held, strict=True)]
    return [account, WINDOWS[window], start_us, held, charged]


def digest_of(state: bytes) -> str:
    """What a counters entry says of the *state* that `canonical` made."""
    return hashlib.sha256(state).hexdigest()
