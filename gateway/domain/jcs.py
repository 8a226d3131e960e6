"""JSON in its one canonical form (RFC 8785): what a signature over JSON is a signature over.

{"b": 1.0, "a": "\\u20ac"}   ->   {"a":"€","b":1}
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

MAX_DEPTH = 64
_EXACT_INTEGER = 2**53


class NotCanonical(ValueError):
    """The value has no canonical form."""


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of a JSON value. Raises: NotCanonical."""
    try:
        return _written(value, 1).encode()
    except UnicodeEncodeError:
        raise NotCanonical("it holds half of a surrogate pair") from None


def _written(value: Any, depth: int) -> str:
    if isinstance(value, (dict, list)) and depth > MAX_DEPTH:
        raise NotCanonical(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        # By UTF-16 code units, in which a letter beyond the first plane begins with 0xD8.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        members = (f"{_text(name)}:{_written(value[name], depth + 1)}" for name in names)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(one, depth + 1) for one in value) + "]"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return _number(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(value: Any) -> str:
    """As ECMAScript writes it (ECMA-262 s6.1.6.1.20): every number is a double."""
    if isinstance(value, int) and abs(value) <= _EXACT_INTEGER:
        return str(value)
    try:
        double = float(value)
    except OverflowError:
        raise NotCanonical("a number is beyond what a double can hold") from None
    if not math.isfinite(double):
        raise NotCanonical("a number is not finite")
    if double == 0:
        return "0"
    mantissa, _, exponent = f"{Decimal(repr(abs(double))).normalize():e}".partition("e")
    shown = _placed(mantissa.replace(".", ""), int(exponent) + 1)
    return f"-{shown}" if double < 0 else shown


def _placed(digits: str, point: int) -> str:
    """*digits* with the decimal point after the first *point* of them."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    head = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{head}e{point - 1:+d}"
