"""Tests on one JSON value: TRUE, FALSE, or undefined when the value is not what was expected.

    { at = "/amount", gt = 0, lte = 50 }            { at = "/files", every = { under = "src" } }

Three-valued on purpose. The caller chooses the arguments, so a missing, retyped or malformed one
must neither satisfy an allow nor escape a deny: it is undefined, an allow needs TRUE, and a deny
applies unless FALSE. There are no regular expressions: no operand can make a test slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Truth = bool | None  # None: undefined
Test = Callable[[Any], Truth]

MAX_NESTING = 4
MAX_LIST = 1_000


class _Missing:
    """What a pointer finds where there is nothing; JSON null is something else."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


class BadPredicate(ValueError):
    """The predicate cannot be understood; the sentence says which part and what was expected."""


def all_of(truths: Iterable[Truth]) -> Truth:
    """Conjunction: FALSE if any is FALSE, else undefined if any is, else TRUE."""
    answer: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            answer = None
    return answer


def any_of(truths: Iterable[Truth]) -> Truth:
    """Disjunction: TRUE if any is TRUE, else undefined if any is, else FALSE."""
    answer: Truth = False
    for truth in truths:
        if truth is True:
            return True
        if truth is None:
            answer = None
    return answer


def pointer(text: object) -> tuple[str, ...]:
    """Parse a JSON pointer (RFC 6901) below the root, such as "/options/0/name".

    Raises: BadPredicate: no leading slash, or a tilde that is not ~0 or ~1.
    """
    if not isinstance(text, str) or not text.startswith("/"):
        raise BadPredicate(f"{text!r} is not a JSON pointer: it begins with '/', as in '/amount'")
    return tuple(_unescaped(token) for token in text[1:].split("/"))


def find(document: Any, tokens: tuple[str, ...]) -> Any:
    """The value at the pointer, or MISSING."""
    value = document
    for token in tokens:
        if isinstance(value, Mapping):
            value = value.get(token, MISSING)
        elif isinstance(value, list | tuple) and _is_index(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return MISSING
    return value


def build(table: object, nesting: int = 0) -> Test:
    """Compile a table of operators, all of which must hold, into one test.

    Raises: BadPredicate: an unknown operator, or an operand that it cannot take.
    """
    if not isinstance(table, Mapping) or not table:
        raise BadPredicate("expected a table with at least one operator, as in { lte = 50 }")
    if nesting > MAX_NESTING:
        raise BadPredicate(f"operators are nested deeper than {MAX_NESTING}")
    tests = tuple(_operator(name, operand, nesting) for name, operand in table.items())
    if len(tests) == 1:
        return tests[0]
    return lambda value: all_of(test(value) for test in tests)


def _operator(name: str, operand: object, nesting: int) -> Test:
    if name in _PLAIN:
        return _PLAIN[name](operand)
    if name in _NESTED:
        if name != "not" and isinstance(operand, Mapping) and "exists" in operand:
            raise BadPredicate(f"`exists` says nothing inside `{name}`: every element exists")
        return _NESTED[name](build(operand, nesting + 1))
    if name == "length":
        return _length(operand, nesting)
    raise BadPredicate(f"unknown operator {name!r}; known are {', '.join(OPERATORS)}")


def _unescaped(token: str) -> str:
    plain = token.replace("~1", "/").replace("~0", "~")
    if plain.replace("~", "~0").replace("/", "~1") != token:
        raise BadPredicate(f"{token!r} in a JSON pointer has a '~' that is not '~0' or '~1'")
    return plain


def _is_index(step: str) -> bool:
    """RFC 6901 s4: digits without a leading zero. Nine digits pass any array we accept."""
    return step.isascii() and step.isdigit() and (step == "0" or step[0] != "0") and len(step) < 10


def _type(value: object) -> str:
    """The JSON type of *value*; "" for what JSON has no number for, or for nothing at all."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "number"
    if isinstance(value, float):
        return "number" if math.isfinite(value) else ""
    return "string" if isinstance(value, str) else ""


def _scalar(operand: object) -> str:
    kind = _type(operand)
    if not kind:
        raise BadPredicate(f"expected a string, a finite number or true/false, not {operand!r}")
    return kind


def _equals(operand: object) -> Test:
    kind = _scalar(operand)
    # The type first: in Python True equals 1, and in a retyped argument "5" must not pass for 5.
    return lambda value: value == operand if _type(value) == kind else None


def _in(operand: object) -> Test:
    if not isinstance(operand, list) or not 0 < len(operand) <= MAX_LIST:
        raise BadPredicate(f"`in` takes a list of 1 to {MAX_LIST} values")
    kinds = {_scalar(item) for item in operand}
    if len(kinds) != 1:
        raise BadPredicate("`in` takes values of one type")
    kind, members = kinds.pop(), frozenset(operand)
    return lambda value: value in members if _type(value) == kind else None


def _compare(holds: Callable[[Any, Any], bool]) -> Callable[[object], Test]:
    def make(operand: object) -> Test:
        if _type(operand) != "number":
            raise BadPredicate(f"expected a finite number, not {operand!r}")
        return lambda value: holds(value, operand) if _type(value) == "number" else None

    return make


def _text(holds: Callable[[str, str], bool]) -> Callable[[object], Test]:
    def make(operand: object) -> Test:
        if not isinstance(operand, str) or not operand:
            raise BadPredicate(f"expected some text, not {operand!r}; an empty one is always true")
        return lambda value: holds(value, operand) if isinstance(value, str) else None

    return make


def _globbing(operand: object) -> Test:
    if isinstance(operand, str) and not operand.strip("*"):
        raise BadPredicate("a `glob` of nothing but '*' is always true")
    return _text(_glob)(operand)


def _glob(value: str, pattern: str) -> bool:
    """`*` stands for any run of characters. Leftmost matches suffice, so this never backtracks."""
    first, *middle = pattern.split("*")
    if not middle:
        return value == pattern
    last = middle.pop()
    if len(value) < len(first) + len(last) or not value.startswith(first):
        return False
    at, end = len(first), len(value) - len(last)
    for part in middle:
        at = value.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return value.endswith(last)


def _under(operand: object) -> Test:
    """The folder itself or a path below it, and no way to climb out of it."""
    if not isinstance(operand, str) or not operand.strip("/") or not _is_plain_path(operand):
        raise BadPredicate(f"`under` takes a folder such as '/srv/docs' or 'src', not {operand!r}")
    folder = operand.rstrip("/")

    def test(value: Any) -> Truth:
        if not isinstance(value, str) or not _is_plain_path(value):
            return None
        return value == folder or value.startswith(folder + "/")

    return test


def _is_plain_path(path: str) -> bool:
    """No dots, doubled slashes, escapes or control characters that a server may read otherwise."""
    if not path.isprintable() or "\\" in path or "%" in path or "//" in path:
        return False
    return not {".", ".."} & set(path.split("/"))


def _exists(operand: object) -> Test:
    if not isinstance(operand, bool):
        raise BadPredicate("`exists` takes true or false")
    return lambda value: (value is not MISSING) is operand


def _length(operand: object, nesting: int) -> Test:
    numbers = {"equals", "gt", "gte", "lt", "lte"}
    if (
        not isinstance(operand, Mapping)
        or not set(operand) <= numbers
        or {_type(bound) for bound in operand.values()} != {"number"}
    ):
        raise BadPredicate("`length` takes a table of equals, gt, gte, lt, lte: { lte = 1000 }")
    test = build(operand, nesting + 1)
    sized = (str, list, tuple, Mapping)
    return lambda value: test(len(value)) if isinstance(value, sized) else None


def _every(test: Test) -> Test:
    # An empty list would satisfy "every" vacuously, so it is undefined; `length` can speak of it.
    return lambda value: all_of(map(test, value)) if _is_list(value) else None


def _some(test: Test) -> Test:
    return lambda value: any_of(map(test, value)) if _is_list(value) else None


def _not(test: Test) -> Test:
    def inverse(value: Any) -> Truth:
        truth = test(value)
        return None if truth is None else not truth

    return inverse


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value)


_PLAIN: Final[Mapping[str, Callable[[object], Test]]] = {
    "equals": _equals,
    "in": _in,
    "lt": _compare(lambda value, operand: value < operand),
    "lte": _compare(lambda value, operand: value <= operand),
    "gt": _compare(lambda value, operand: value > operand),
    "gte": _compare(lambda value, operand: value >= operand),
    "prefix": _text(str.startswith),
    "suffix": _text(str.endswith),
    "contains": _text(lambda value, operand: operand in value),
    "glob": _globbing,
    "under": _under,
    "exists": _exists,
}
_NESTED: Final[Mapping[str, Callable[[Test], Test]]] = {"every": _every, "some": _some, "not": _not}
OPERATORS: Final = (*_PLAIN, *_NESTED, "length")
