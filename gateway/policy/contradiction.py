"""Why conditions can never hold together, as far as their tables show it.

    [small] arguments = [{ at = "/n", lte = 5 }]    [large] arguments = [{ at = "/n", gt = 9 }]

Sound, not complete: what is reported is impossible, what is not may be impossible all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from gateway.policy.conditions import Condition
from gateway.policy.rules import ANY

_ROWS = Mapping[str, Any]


def contradiction(conditions: Iterable[Condition], tenant: str) -> str:
    """One sentence, or "" where nothing speaks against it; *tenant* is that of the rule."""
    tables = [condition.table for condition in conditions]
    tenants = [] if tenant == ANY else [{tenant}]
    found = (
        *_no_member("tenants", [*tenants, *_named(tables, "tenants")]),
        *_no_member("teams", _named(tables, "teams")),
        *_no_member("weekdays", _named(tables, "weekdays")),
        *_no_instant(tables),
        *(why for key in ("tags", "scopes", "actors") for why in _no_set(key, tables)),
        *_no_value(tables),
    )
    return next(iter(found), "")


def _named(tables: list[_ROWS], key: str) -> list[set[str]]:
    return [set(table[key]) for table in tables if key in table]


def _no_member(key: str, sets: list[set[str]]) -> Iterator[str]:
    if sets and not set.intersection(*sets):
        yield f"no one of `{key}` is in all of them"


def _no_instant(tables: list[_ROWS]) -> Iterator[str]:
    starts: list[datetime] = [table["from"] for table in tables if "from" in table]
    ends: list[datetime] = [table["until"] for table in tables if "until" in table]
    if starts and ends and max(starts) >= min(ends):
        yield f"`from` {max(starts)} is not before `until` {min(ends)}"


def _no_set(key: str, tables: list[_ROWS]) -> Iterator[str]:
    """Contradictions between tests on one set of names."""
    tests = [test for table in tables for test in table.get(key, {}).items()]
    needed, barred = _joined(tests, "has_all"), _joined(tests, "has_none")
    some = [set(names) for name, names in tests if name == "has_any"]
    only = [set(names) for name, names in tests if name == "only"]
    fitting = set.intersection(*only) if only else None
    empty = {wanted for name, wanted in tests if name == "empty"}
    if True in empty and (False in empty or needed or some or only):
        yield f"`{key}` would have to be empty and not empty"
    if needed & barred:
        yield f"`{key}` must have and must not have {min(needed & barred)!r}"
    if any(not (one - barred if fitting is None else one & fitting - barred) for one in some):
        yield f"no `{key}` fit all of them"
    if fitting is not None and (not fitting or needed - fitting):
        yield f"no `{key}` fit all of them"


def _joined(tests: list[tuple[str, Any]], wanted: str) -> set[str]:
    return {one for name, names in tests if name == wanted for one in names}


def _no_value(tables: list[_ROWS]) -> Iterator[str]:
    """Contradictions between tests on one argument."""
    at: dict[str, list[_ROWS]] = {}
    for table in tables:
        for row in table.get("arguments", ()):
            at.setdefault(row["at"], []).append(row)
    for place, rows in at.items():
        if why := _impossible(rows):
            yield f"{place} {why}"


def _impossible(rows: list[_ROWS]) -> str:
    tests = [(name, operand) for row in rows for name, operand in row.items()]
    # A bound and whether it is itself left out; the narrowest of each side.
    low = max(
        ((bound, name == "gt") for name, bound in tests if name in ("gt", "gte")), default=None
    )
    high = min(
        ((bound, name != "lt") for name, bound in tests if name in ("lt", "lte")), default=None
    )
    equals = [operand for name, operand in tests if name == "equals"]
    if low and high and (low[0] > high[0] or (low[0] == high[0] and (low[1] or not high[1]))):
        return f"would have to be above {low[0]} and below {high[0]}"
    for value in equals:
        if not _is_same(value, equals[0]):
            return f"would have to equal {equals[0]!r} and something else"
        if low and not (_is_number(value) and (value > low[0] or (value, False) == low)):
            return f"would have to equal {value!r} and be above {low[0]}"
        if high and not (_is_number(value) and (value < high[0] or (value, True) == high)):
            return f"would have to equal {value!r} and be below {high[0]}"
    return ""


def _is_same(one: object, other: object) -> bool:
    """As the test `equals` compares: true is no 1, and 5.0 is 5."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
