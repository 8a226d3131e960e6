"""The arguments of one operation: taken out by kind, so that nothing else can hide in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.operator import usage

MAX_TEXT = 4_096
MAX_TEXTS = 10_000


class Args:
    """Raises: OperationRefused (usage): an argument is missing, unknown or of another kind."""

    def __init__(self, given: Mapping[str, Any], *known: str) -> None:
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise usage(f"unknown argument {unknown[0]!a:.60}", f"known are: {', '.join(known)}")
        self._given = given

    def text(self, key: str, otherwise: str | None = None, longest: int = MAX_TEXT) -> str:
        value = self._given.get(key)
        if value is None:
            if otherwise is None:
                raise usage(f"{key} is missing", f"say {key}")
            return otherwise
        if not isinstance(value, str) or len(value) > longest or not _is_text(value):
            raise usage(f"{key} is not a text of up to {longest} characters", f"correct {key}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._given.get(key, [])
        if not isinstance(values, list) or len(values) > MAX_TEXTS:
            raise usage(f"{key} is not a list of texts", f"correct {key}")
        if not all(isinstance(v, str) and len(v) <= MAX_TEXT and _is_text(v) for v in values):
            raise usage(f"{key} is not a list of texts", f"correct {key}")
        return tuple(values)

    def table(self, key: str) -> Mapping[str, Any]:
        value = self._given.get(key, {})
        if not isinstance(value, dict):
            raise usage(f"{key} is not a table", f"correct {key}")
        return value

    def rows(self, key: str) -> list[Any]:
        value = self._given.get(key, [])
        if not isinstance(value, list) or len(value) > MAX_TEXTS:
            raise usage(f"{key} is not a list", f"correct {key}")
        return value

    def whole(self, key: str, otherwise: int) -> int:
        value = self._given.get(key, otherwise)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**16:
            raise usage(f"{key} is not a whole number", f"correct {key}")
        return value

    def has(self, key: str) -> bool:
        return self._given.get(key) is not None


def _is_text(value: str) -> bool:
    """What SQLite and the payloads can keep: no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
