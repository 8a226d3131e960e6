"""How much: holds and charges over a hierarchy of accounts, in UTC calendar windows.

A purse is one account in one window. It never refuses: `room` looks, `hold` takes, `settle` charges
what was used and releases the rest. Standard library only: the offline verifier folds with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.domain.model import Amounts
from gateway.domain.rate import Rate
from gateway.domain.window import WINDOWS as WINDOWS  # read from here with METERS and LEVELS
from gateway.domain.window import spans

LEVELS = ("tenant", "team", "agent", "tool")  # of the accounts, outermost first
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
    """What one account may use: a rate, and an amount per (meter, window)."""

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


class Purses:
    """Every account's purses: a projection of the log, the same for every fold of the same log.

    Time never runs backwards: the ledger's entry times are monotonic. Purses of all three windows
    are kept for every account that was ever charged in them, because a limit may be set later.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._now = tuple(_Book(window, 0, 0) for window in range(len(WINDOWS)))
        self._past: list[_Book] = []  # windows that are over, while a hold of theirs is open
        self._from_us = 0
        self._until_us = 0
        # accounts of a call -> its purses in the current windows; forgotten every minute
        self._routes: dict[tuple[str, ...], tuple[list[int], ...]] = {}

    def room(
        self,
        accounts: Sequence[str],
        limits_of: Sequence[Limits | None],
        amounts: Amounts,
        t_us: int,
    ) -> Shortfall | None:
        """The first limit (level, then meter, then window) that does not cover *amounts*."""
        books = self._now if self._from_us <= t_us < self._until_us else self._look(t_us)
        needs = (amounts.tokens, amounts.calls, amounts.cost)
        for level, limits in enumerate(limits_of):
            if limits is None:
                continue
            for window, meter, limit in limits.rows:
                purse = books[window].purses.get(accounts[level])
                used = purse[meter] if purse else 0
                if needs[meter] and used + needs[meter] > limit:
                    return Shortfall(
                        level=LEVELS[level],
                        account=accounts[level],
                        meter=METERS[meter],
                        window=WINDOWS[window],
                        limit=limit,
                        needed=needs[meter],
                        remaining=max(0, limit - used),
                        reset_at_us=books[window].end_us,
                    )
        return None

    def hold(self, leaf: int, accounts: Sequence[str], amounts: Amounts, t_us: int) -> None:
        """Set *amounts* aside on every account ("" means none at that level), in every window.

        Raises: ValueError: the leaf has a hold, an amount is negative, or time ran backwards.
        """
        if leaf in self._open:
            raise ValueError(f"leaf {leaf} has a hold already")
        tokens, calls, cost = amounts.tokens, amounts.calls, amounts.cost
        if tokens < 0 or calls < 0 or cost < 0:
            raise ValueError(f"leaf {leaf} holds a negative amount")
        if not self._from_us <= t_us < self._until_us:
            self._turn(t_us)
        key = tuple(accounts)
        purses = self._routes.get(key) or self._route(key)
        for purse in purses:
            purse[0] += tokens
            purse[1] += calls
            purse[2] += cost
        for book in self._now:
            book.open += 1
        self._open[leaf] = _Open(Hold(key, amounts, t_us), self._now, purses)

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

    def open_holds(self) -> Mapping[int, Hold]:
        """The holds that have not settled, by the leaf of their intent."""
        return {leaf: opened.hold for leaf, opened in self._open.items()}

    def left(
        self, accounts: Sequence[str], limits_of: Sequence[Limits | None], t_us: int
    ) -> dict[str, int]:
        """ "tokens/day" -> what the tightest level has left; nothing where nobody set a limit."""
        books = self._look(t_us)
        left: dict[str, int] = {}
        for account, limits in zip(accounts, limits_of, strict=True):
            for window, meter, limit in limits.rows if limits else ():
                purse = books[window].purses.get(account)
                remaining = limit - purse[meter] if purse else limit
                name = _LEFT_NAMES[meter][window]
                if name not in left or remaining < left[name]:
                    left[name] = max(0, remaining)
        return left

    def purse(self, account: str, window: str, t_us: int) -> Purse:
        """What *account* holds and was charged in the *window* that *t_us* falls in."""
        book = self._look(t_us)[WINDOWS.index(window)]
        used = book.purses.get(account, [0, 0, 0])
        held = self._held().get((account, book.window, book.start_us), [0, 0, 0])
        charged = (all_ - open_ for all_, open_ in zip(used, held, strict=True))
        return Purse(book.start_us, Amounts(*held), Amounts(*charged))

    # -- as bytes ---------------------------------------------------------------------------------
    # {"at":86400000000,
    #  "holds":[[7,86400000000,["t1","","a1","x1"],[250,1,0]]],          leaf, time, accounts, held
    #  "purses":[["t1","day",86400000000,[250,1,0],[90,2,0]],...],       ..., start, held, charged
    #  "v":1}

    def canonical(self, t_us: int) -> bytes:
        """All that matters from *t_us* on: current purses, open holds and the purses they sit in."""
        at_us = max(t_us, self._from_us)
        held = self._held()
        rows = [
            _row(account, book, purse, held.get((account, book.window, book.start_us), [0, 0, 0]))
            for book in (*self._now, *self._past)
            for account, purse in book.purses.items()
            if book.end_us > at_us or (account, book.window, book.start_us) in held
        ]
        holds = [
            [leaf, hold.at_us, list(hold.accounts), _listed(hold.amounts)]
            for leaf, hold in self.open_holds().items()
        ]
        state = {"at": at_us, "holds": sorted(holds), "purses": sorted(rows), "v": 1}
        return json.dumps(state, sort_keys=True, separators=(",", ":")).encode()

    def digest(self, t_us: int) -> str:
        return hashlib.sha256(self.canonical(t_us)).hexdigest()

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
        for account, window, start_us, held, charged in state["purses"]:
            book = self._book(books, WINDOWS.index(window), start_us)
            sums = zip(_whole(held), _whole(charged), strict=True)
            book.purses[account] = [h + c for h, c in sums]
        for leaf, t_us, accounts, amounts in state["holds"]:
            found = tuple(self._book(books, w, start) for w, start, _ in spans(t_us))
            purses = tuple(
                book.purses.setdefault(account, [0, 0, 0])
                for book in found
                for account in _distinct(tuple(accounts))
            )
            for book in found:
                book.open += 1
            self._open[leaf] = _Open(
                Hold(tuple(accounts), Amounts(*_whole(amounts)), t_us), found, purses
            )
        return at_us

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

    def _held(self) -> dict[tuple[str, int, int], list[int]]:
        """What is held, per account, window and start: the sum of the open holds."""
        held: dict[tuple[str, int, int], list[int]] = {}
        for hold, books, _ in self._open.values():
            for book in books:
                for account in _distinct(hold.accounts):
                    sums = held.setdefault((account, book.window, book.start_us), [0, 0, 0])
                    for meter, amount in enumerate(_listed(hold.amounts)):
                        sums[meter] += amount
        return held


_LEFT_NAMES = tuple(tuple(f"{meter}/{window}" for window in WINDOWS) for meter in METERS)


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


def _row(account: str, book: _Book, used: list[int], held: list[int]) -> list[Any]:
    charged = [all_ - open_ for all_, open_ in zip(used, held, strict=True)]
    return [account, WINDOWS[book.window], book.start_us, held, charged]
