"""Changing one member of somebody else's JSON, and not a byte beside it.

    // mine                                  // mine
    {                                        {
      "a": 1 // one               ->           "a": 1, // one
    }                                          "b": {"c": 2}
                                             }

Comments and commas that nothing follows are read over. What is written is read again and compared
with what it should be; a file that cannot be changed so is not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 200
_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_WORD = re.compile(r"[^\s,\[\]{}\"/]+")
_INDENT = re.compile(r"[ \t]*")
_BREAK = re.compile(r"\r?\n")
_DEFAULT_UNIT = "  "
_BOM = "\ufeff"


class Unchanged(ValueError):
    """The text cannot be changed at that place alone; one sentence why."""


@dataclass(slots=True)
class Node:
    """A value and where it stands: text[start:end]."""

    start: int
    end: int = 0
    members: list[Member] | None = None  # of an object or a list
    is_object: bool = False


@dataclass(slots=True)
class Member:
    key: str  # "" in a list
    start: int  # of the key, if it has one
    value: Node
    comma: int = -1  # behind it; -1: none


@dataclass(slots=True)
class _Reader:
    text: str
    depth: int = field(default=0)

    def whole(self) -> Node:
        root = self.value(self.skip(0))
        if self.skip(root.end) != len(self.text):
            raise Unchanged("something follows the end of its JSON")
        return root

    def skip(self, at: int) -> int:
        found = _BLANK.match(self.text, at)
        return found.end() if found else at

    def value(self, at: int) -> Node:
        opening = self.text[at : at + 1]
        if opening in ("{", "["):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise Unchanged(f"it is nested deeper than {MAX_DEPTH}")
            node = self._group(at, "}" if opening == "{" else "]")
            self.depth -= 1
            return node
        found = (_STRING if opening == '"' else _WORD).match(self.text, at)
        if found is None:
            raise Unchanged("it is not JSON")
        return Node(at, found.end())

    def _group(self, start: int, closing: str) -> Node:
        members: list[Member] = []
        at = self.skip(start + 1)
        while self.text[at : at + 1] != closing:
            member = self._member(at, named=closing == "}")
            members.append(member)
            at = self.skip(member.value.end)
            if self.text[at : at + 1] == ",":
                member.comma = at
                at = self.skip(at + 1)
            elif self.text[at : at + 1] != closing:
                raise Unchanged("it is not JSON")
        return Node(start, at + 1, members, closing == "}")

    def _member(self, at: int, *, named: bool) -> Member:
        if not named:
            return Member("", at, self.value(at))
        found = _STRING.match(self.text, at)
        colon = self.skip(found.end()) if found else at
        if found is None or self.text[colon : colon + 1] != ":":
            raise Unchanged("it is not JSON")
        return Member(json.loads(found[0]), at, self.value(self.skip(colon + 1)))


def with_value(text: str, keys: Sequence[str], value: Any, read: Callable[[str], Any]) -> str:
    """*text* with *value* at *keys*; objects on the way are made. *read* is what will read it.

    Raises: Unchanged: that cannot be done without touching anything else.
    """
    bom, text = _split(text)
    changed = _set(text, keys, value) if text.strip() else _first(keys, value)
    _check(changed, _with(read(text) if text.strip() else {}, keys, value), read)
    return bom + changed


def with_item(text: str, keys: Sequence[str], item: Any, read: Callable[[str], Any]) -> str:
    """*text* with *item* at the end of the list at *keys*, which is made when there is none.

    Raises: Unchanged.
    """
    found = read(text.removeprefix(_BOM)) if text.strip() else {}
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if found is None:
        return with_value(text, keys, [item], read)
    if not isinstance(found, list):
        raise Unchanged("a list in it is something else")
    bom, text = _split(text)
    root = node = _Reader(text).whole()
    for key in keys:
        member = _only(node, key)
        node = member.value if member else node
    changed = _insert(text, node, "", item, _unit(text, root))
    _check(changed, _with(read(text), keys, [*found, item]), read)
    return bom + changed


def without_value(text: str, keys: Sequence[str], read: Callable[[str], Any]) -> str:
    """*text* without the member at *keys*, which is there. Raises: Unchanged."""
    bom, text = _split(text)
    changed = _cut(text, keys)
    _check(changed, _without(read(text), keys), read)
    return bom + changed


def _split(text: str) -> tuple[str, str]:
    return (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)


def _first(keys: Sequence[str], value: Any) -> str:
    return _rendered(_with({}, keys, value), _DEFAULT_UNIT, "\n") + "\n"


def _set(text: str, keys: Sequence[str], value: Any) -> str:
    node = _Reader(text).whole()
    unit = _unit(text, node)
    for place, key in enumerate(keys):
        member = _only(node, key)
        if member is None:
            named = f"{json.dumps(key, ensure_ascii=False)}: "
            return _insert(text, node, named, _nested(keys[place + 1 :], value), unit)
        node = member.value
    new = _rendered(value, unit, "\n" + _indent(text, _line_start(text, node.start)))
    return text[: node.start] + _ended(text, new) + text[node.end :]


def _insert(text: str, node: Node, named: str, value: Any, unit: str) -> str:
    """A member more, behind the others and behind what is said of them."""
    members, close = node.members or [], node.end - 1
    if "\n" not in text[node.start : node.end] and members:
        comma = ", " if members[-1].comma < 0 else " "
        at = members[-1].value.end if members[-1].comma < 0 else members[-1].comma + 1
        return f"{text[:at]}{comma}{named}{json.dumps(value, ensure_ascii=False)}{text[at:]}"
    outer = _indent(text, _line_start(text, close if members else node.start))
    inner = outer + unit
    if members:
        inner = _indent(text, _line_start(text, members[0].start))
    new = _ended(text, f"\n{inner}{named}{_rendered(value, unit, chr(10) + inner)}")
    kept = text[:close].rstrip(" \t\r\n")
    tail = text[len(kept) : close] if members else _ended(text, f"\n{outer}")
    if members and members[-1].comma < 0:
        end = members[-1].value.end
        kept = f"{kept[:end]},{kept[end:]}"
    return kept + new + tail + text[close:]


def _cut(text: str, keys: Sequence[str]) -> str:
    node = _Reader(text).whole()
    for key in keys[:-1]:
        member = _only(node, key)
        if member is None:
            raise Unchanged(f"it has no {key!a:.60}")
        node = member.value
    member = _only(node, keys[-1])
    if member is None or node.members is None:
        raise Unchanged(f"it has no {keys[-1]!a:.60}")
    place = node.members.index(member)
    start, end = member.start, member.value.end
    if member.comma >= 0:
        end = member.comma + 1
    line = _line_start(text, start)
    is_first = not text[line:start].strip()
    if is_first:
        end += len(_indent(text, end))  # what follows on the line takes its place
    broken = _BREAK.match(text, end)
    if is_first and broken:
        start, end = line, broken.end()
    cut = text[:start] + text[end:]
    if member.comma < 0 and place:  # it was the last: no comma may be left before it
        comma = node.members[place - 1].comma
        cut = cut[:comma] + cut[comma + 1 :]
    return cut


def _only(node: Node, key: str) -> Member | None:
    """The member of that key. Raises: Unchanged: no object, or the key stands in it twice."""
    if not node.is_object:
        raise Unchanged("a table in it is something else")
    found = [member for member in node.members or () if member.key == key]
    if len(found) > 1:
        raise Unchanged(f"{key!a:.60} stands in it twice")
    return found[0] if found else None


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _indent(text: str, line: int) -> str:
    found = _INDENT.match(text, line)
    return found[0] if found else ""


def _unit(text: str, node: Node) -> str:
    """One step of indentation, as the first member of the whole has it."""
    first = node.members[0].start if node.members else 0
    line = _line_start(text, first)
    return _indent(text, line) or _DEFAULT_UNIT if line > node.start else _DEFAULT_UNIT


def _rendered(value: Any, unit: str, newline: str) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline)


def _ended(text: str, new: str) -> str:
    """*new* with the line ends of *text*."""
    return new.replace("\n", "\r\n") if "\r\n" in text else new


def _nested(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _with(document: Any, keys: Sequence[str], value: Any) -> Any:
    if not keys:
        return value
    inner = document.get(keys[0], {}) if isinstance(document, dict) else {}
    return {**document, keys[0]: _with(inner, keys[1:], value)}


def _without(document: Any, keys: Sequence[str]) -> Any:
    if len(keys) == 1:
        return {key: value for key, value in document.items() if key != keys[0]}
    return {**document, keys[0]: _without(document[keys[0]], keys[1:])}


def _check(changed: str, expected: Any, read: Callable[[str], Any]) -> None:
    """Held against the parser that is believed: our own idea of the text is not."""
    if read(changed) != expected:
        raise Unchanged("it is written in a way that cannot be changed in one place")
