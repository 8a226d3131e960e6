"""Named conditions of `conditions.toml`: what must be true of a call beside who, what and where.

    [small_refund]
    about = "refunds of up to 50"
    arguments = [{ at = "/amount", gt = 0, lte = 50 }]

    [office_hours]
    weekdays = ["mon", "tue", "wed", "thu", "fri"]
    hours_utc = "07:00-19:00"

All keys of a condition must hold. Truth has three values (see predicates): on an allow a condition
counts when TRUE, on a deny unless FALSE. The *fixed* part (who calls, tags) also decides what is
listed; the *live* part (arguments, time) only whether a call passes: a list that changed with the
clock could not be kept by anyone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.domain.model import Principal
from gateway.policy.finding import Finding, error
from gateway.policy.predicates import BadPredicate, Truth, build, find, pointer

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTE_US = 60_000_000
_DAY_US = 1_440 * _MINUTE_US
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)\Z")


class Facts(NamedTuple):
    """What conditions may look at. A tuple, not a dataclass: made on the hot path."""

    principal: Principal
    tags: frozenset[str] | None  # of the definition; None when the object has no known definition
    arguments: Mapping[str, Any]
    now_us: int

    def __repr__(self) -> str:
        # Casbin formats its request for its own log; arguments must never get there.
        return "Facts"


@dataclass(frozen=True, slots=True)
class Predicate:
    """One test with the words that the policy's author used for it."""

    says: str
    test: Callable[[Facts], Truth]


@dataclass(frozen=True, slots=True)
class Condition:
    """A name for predicates that must all hold."""

    name: str
    about: str
    fixed: tuple[Predicate, ...]
    parts: tuple[Predicate, ...]  # the fixed ones, then the live ones
    is_live: bool  # arguments or time can change it
    table: Mapping[str, Any]  # as the file has it

    def truth(self, facts: Facts) -> Truth:
        """Whether all of it holds now."""
        return _all_hold(self.parts, facts)

    def fixed_truth(self, facts: Facts) -> Truth:
        """Whether the part holds that depends on neither arguments nor time."""
        return _all_hold(self.fixed, facts)

    def unmet(self, facts: Facts) -> tuple[str, ...]:
        """What does not hold, in the author's words; never a value of the call's."""
        return tuple(part.says for part in self.parts if part.test(facts) is not True)


Conditions = Mapping[str, Condition]


def _all_hold(parts: tuple[Predicate, ...], facts: Facts) -> Truth:
    """Conjunction as in `all_of`; written out, because every call of a guarded tool comes by."""
    answer: Truth = True
    for part in parts:
        truth = part.test(facts)
        if truth is False:
            return False
        if truth is None:
            answer = None
    return answer


def parse(raw: bytes, file: str) -> tuple[dict[str, Condition], list[Finding]]:
    """Compile the conditions of *file*; one finding for each that cannot be understood."""
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as err:
        return {}, [_bad(file, 0, f"not a TOML file: {err}")]
    conditions: dict[str, Condition] = {}
    findings: list[Finding] = []
    for name, table in document.items():
        try:
            conditions[name] = _condition(name, table)
        except BadPredicate as err:
            findings.append(_bad(file, line_of(text, name), f"condition '{name}': {err}"))
    return conditions, findings


def instant_us(moment: datetime) -> int:
    """Microseconds since the epoch of a moment that knows its zone."""
    past = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def line_of(text: str, name: str) -> int:
    """The line on which a TOML table or key *name* begins, 0 when not found."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(
            rf"\s*(\[+\s*\"?{re.escape(name)}\"?\s*[\].]|\"?{re.escape(name)}\"?\s*[.=])", line
        ):
            return number
    return 0


def _condition(name: str, table: object) -> Condition:
    if not NAME.match(name):
        raise BadPredicate("names are lower case letters, digits and '_', at most 63")
    if not isinstance(table, Mapping):
        raise BadPredicate(f"expected a table [{name}]")
    if unknown := set(table) - set(_FIXED) - set(_LIVE) - {"about"}:
        known = ", ".join(("about", *_FIXED, *_LIVE))
        raise BadPredicate(f"unknown key {min(unknown)!r}; known are {known}")
    fixed = [part for key, make in _FIXED.items() if key in table for part in make(key, table[key])]
    live = [part for key, make in _LIVE.items() if key in table for part in make(key, table[key])]
    if not fixed and not live:
        raise BadPredicate("it tests nothing, so it would always hold")
    about = table.get("about", "")
    if not isinstance(about, str):
        raise BadPredicate("`about` is one sentence of text")
    return Condition(name, about, tuple(fixed), (*fixed, *live), bool(live), table)


def _arguments(key: str, operand: object) -> Iterable[Predicate]:
    if not isinstance(operand, list) or not operand:
        raise BadPredicate(f"`{key}` is a list such as [{{ at = '/amount', lte = 50 }}]")
    return [_argument(row) for row in operand]


def _argument(row: object) -> Predicate:
    if not isinstance(row, Mapping) or "at" not in row:
        raise BadPredicate("each entry of `arguments` needs `at`, a JSON pointer")
    tokens = pointer(row["at"])
    operators = {name: operand for name, operand in row.items() if name != "at"}
    test = build(operators)
    says = " and ".join(f"{name} {operand!r}" for name, operand in operators.items())
    return Predicate(f"{row['at']} {says}", lambda facts: test(find(facts.arguments, tokens)))


def _names(key: str, operand: object) -> frozenset[str]:
    if not isinstance(operand, list) or not operand:
        raise BadPredicate(f"`{key}` takes a list of at least one name")
    if not all(isinstance(name, str) and name for name in operand):
        raise BadPredicate(f"`{key}` takes names, as text")
    return frozenset(operand)


def _member(of: Callable[[Principal], str]) -> Callable[[str, object], Iterable[Predicate]]:
    def make(key: str, operand: object) -> Iterable[Predicate]:
        names = _names(key, operand)
        says = f"{key} {sorted(names)}"
        return [Predicate(says, lambda facts: of(facts.principal) in names)]

    return make


def _set_of(
    of: Callable[[Facts], frozenset[str] | None],
) -> Callable[[str, object], Iterable[Predicate]]:
    def make(key: str, operand: object) -> Iterable[Predicate]:
        if not isinstance(operand, Mapping) or not operand:
            raise BadPredicate(f"`{key}` is a table such as {{ has_any = ['x'] }}")
        return [_set_predicate(key, name, value, of) for name, value in operand.items()]

    return make


def _set_predicate(
    key: str, name: str, operand: object, of: Callable[[Facts], frozenset[str] | None]
) -> Predicate:
    says = f"{key} {name} {operand!r}"
    if name == "empty" and isinstance(operand, bool):
        return Predicate(
            says, lambda facts: None if (found := of(facts)) is None else (not found) is operand
        )
    if name not in _SETS:
        known = ", ".join((*_SETS, "empty (true or false)"))
        raise BadPredicate(f"unknown test {name!r} in `{key}`; known are {known}")
    names, holds = _names(f"{key}.{name}", operand), _SETS[name]
    return Predicate(
        says, lambda facts: None if (found := of(facts)) is None else holds(found, names)
    )


def _hours(key: str, operand: object) -> Iterable[Predicate]:
    match = _HOURS.match(operand) if isinstance(operand, str) else None
    if match is None:
        raise BadPredicate(f"`{key}` is a window in UTC such as '07:00-19:00'")
    first_h, first_m, last_h, last_m = map(int, match.groups())
    start, end = first_h * 60 + first_m, last_h * 60 + last_m
    if start == end or end > 1_440:
        raise BadPredicate(f"`{key}`: {operand!r} is not a window of the day")

    def test(facts: Facts) -> Truth:
        minute = facts.now_us % _DAY_US // _MINUTE_US
        return start <= minute < end if start < end else minute >= start or minute < end

    return [Predicate(f"{key} {operand}", test)]


def _weekdays(key: str, operand: object) -> Iterable[Predicate]:
    names = _names(key, operand)
    if unknown := names - set(WEEKDAYS):
        raise BadPredicate(f"`{key}`: {min(unknown)!r} is not one of {', '.join(WEEKDAYS)}")
    days = frozenset(map(WEEKDAYS.index, names))
    # Day 0 of the epoch, 1970-01-01, was a Thursday.
    return [Predicate(f"{key} {sorted(names)}", lambda f: (f.now_us // _DAY_US + 3) % 7 in days)]


def _instant(value: object) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadPredicate(f"expected a time with its zone, 2026-01-31T00:00:00Z, not {value}")
    return instant_us(value)


def _from(key: str, operand: object) -> Iterable[Predicate]:
    start = _instant(operand)
    return [Predicate(f"{key} {operand}", lambda facts: facts.now_us >= start)]


def _until(key: str, operand: object) -> Iterable[Predicate]:
    end = _instant(operand)
    return [Predicate(f"{key} {operand}", lambda facts: facts.now_us < end)]


_SETS: Final[Mapping[str, Callable[[frozenset[str], frozenset[str]], bool]]] = {
    "has_any": lambda members, names: not members.isdisjoint(names),
    "has_all": lambda members, names: names <= members,
    "has_none": lambda members, names: members.isdisjoint(names),
    # At least one: a tool without tags is unclassified, not harmless.
    "only": lambda members, names: bool(members) and members <= names,
}
_Make = Callable[[str, object], Iterable[Predicate]]
_FIXED: Final[Mapping[str, _Make]] = {
    "tags": _set_of(lambda facts: facts.tags),
    "scopes": _set_of(lambda facts: facts.principal.scopes),
    "actors": _set_of(lambda facts: frozenset(facts.principal.actors)),
    "tenants": _member(lambda principal: principal.tenant),
    "teams": _member(lambda principal: principal.team),
}
_LIVE: Final[Mapping[str, _Make]] = {
    "arguments": _arguments,
    "weekdays": _weekdays,
    "hours_utc": _hours,
    "from": _from,
    "until": _until,
}


def _bad(file: str, line: int, what: str) -> Finding:
    return error(
        file,
        line,
        what,
        "a condition that cannot be understood cannot guard anything",
        "correct it; policies/README.md shows every key and operator",
    )
