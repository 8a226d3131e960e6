"""Changing one table of somebody else's TOML, and not a byte beside it.

    model = "x"                    model = "x"

                           ->      [mcp_servers.customhouse]
                                   url = "https://tools.example.com/mcp"

What is written is read again and compared with what it should be.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config.jsontext import Unchanged
from gateway.config.source import keys_of

_HEADER = re.compile(r"\s*\[.*\]\s*(?:#.*)?")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # as TOML has lines; splitlines() knows more
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def with_table(text: str, keys: Sequence[str], table: Mapping[str, Any]) -> str:
    """*text* with *table* at *keys*, in the place of one that was there. Raises: Unchanged."""
    document = tomllib.loads(text)
    kept = without_table(text, keys) if _holds(document, keys) else text
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [f"[{'.'.join(map(_key, keys))}]", *_lines(table)]
    if kept and not kept.endswith("\n"):
        kept += newline
    gap = newline if kept.strip() else ""
    changed = kept + gap + newline.join(lines) + newline
    _check(changed, _with(document, keys, dict(table)))
    return changed


def without_table(text: str, keys: Sequence[str]) -> str:
    """*text* without the table at *keys*, which is there, and what is below it. Raises: Unchanged.

    Comments at its end stay: they may be about the next one.
    """
    kept: list[str] = []
    last: list[str] = []  # comments that nothing inside has followed yet
    inside = False
    for line in _LINE.findall(text):
        if _HEADER.fullmatch(line):
            inside = keys_of(line)[: len(keys)] == tuple(keys)
        if not inside:
            kept += [*last, line]
        is_silent = line.lstrip().startswith("#") or (last and not line.strip())
        last = [*last, line] if inside and is_silent else []
    kept += last
    changed = "".join(kept)
    _check(changed, _without(tomllib.loads(text), keys))
    return changed


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{_key(key)} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _holds(document: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def _with(document: Any, keys: Sequence[str], value: Any) -> Any:
    if not keys:
        return value
    table = document if isinstance(document, dict) else {}
    return {**table, keys[0]: _with(table.get(keys[0], {}), keys[1:], value)}


def _without(document: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A table that only stood above the one that goes, goes with it."""
    rest = {key: value for key, value in document.items() if key != keys[0]}
    if len(keys) == 1:
        return rest
    inner = _without(document[keys[0]], keys[1:])
    return {**rest, keys[0]: inner} if inner else rest


def _check(changed: str, expected: Any) -> None:
    try:
        found = tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        found = None
    if found != expected:
        raise Unchanged("it is written in a way that cannot be changed in one place")
