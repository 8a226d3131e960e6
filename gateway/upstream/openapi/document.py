"""A document of somebody else's, JSON or YAML, as plain tables: bounded in size, depth and parts.

Of YAML only what JSON could say, and anchors are not followed: a few lines of them stand for more
than any memory holds. No tag makes a value of another kind, so nothing in a document is ever built.

    get: &a [x, x]
    put: [*a, *a]      refused: write it out, or refer to it with $ref
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

MAX_JSON_BYTES = 8_388_608
MAX_YAML_BYTES = 2_097_152  # it takes fifty times as long to read
MAX_DEPTH = 100
MAX_PARTS = 500_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MERGE = "<<"


class BadDocument(ValueError):
    """The document cannot be used; the message is one sentence that repeats nothing of it."""


def read_document(body: bytes) -> dict[str, Any]:
    """The tables of *body*. Raises: BadDocument."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadDocument("it is not UTF-8 text") from None
    is_json = text.lstrip()[:1] in ("{", "[")
    most_bytes = MAX_JSON_BYTES if is_json else MAX_YAML_BYTES
    if len(body) > most_bytes:
        kind = "JSON" if is_json else "YAML"
        raise BadDocument(f"it has more than {most_bytes} bytes, the most for {kind}")
    found = _json(text) if is_json else _yaml(text)
    if not isinstance(found, dict):
        raise BadDocument("it is not a table")
    return found


def _json(text: str) -> Any:
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        raise BadDocument("it is not JSON") from None
    except RecursionError:
        raise BadDocument(f"it is nested more than {MAX_DEPTH} deep") from None
    _bounded(found)
    return found


def _bounded(found: Any) -> None:
    parts = 0
    pending = [(found, 0)]
    while pending:
        value, depth = pending.pop()
        parts += 1
        if depth > MAX_DEPTH or parts > MAX_PARTS:
            raise BadDocument(f"it is nested more than {MAX_DEPTH} deep or has {MAX_PARTS} parts")
        if isinstance(value, dict | list):
            below = value.values() if isinstance(value, dict) else value
            pending.extend((item, depth + 1) for item in below)


def _yaml(text: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first where libyaml is there
    try:
        return _Builder().build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as err:
        where = f" (line {err.problem_mark.line + 1})" if err.problem_mark else ""
        raise BadDocument(f"it is not YAML{where}") from None
    except yaml.YAMLError:
        raise BadDocument("it is not YAML") from None


class _Builder:
    """Events of a YAML parser -> values, without recursion."""

    def __init__(self) -> None:
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []  # of each open container: the key that waits for a value
        self._parts = 0
        self._root: Any = None

    def build(self, events: Iterator[yaml.Event]) -> Any:
        documents = 0
        for event in events:
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise _at(event, "it has more than one document")
            self._take(event)
        return self._root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise _at(event, "it uses an alias; write the part out, or refer to it with $ref")
        if isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._parts += 1
            if len(self._open) > MAX_DEPTH or self._parts > MAX_PARTS:
                raise _at(
                    event, f"it is nested more than {MAX_DEPTH} deep or has {MAX_PARTS} parts"
                )
            self._node(event)

    def _node(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise _at(event, "it uses a tag, and only plain values are read")
        if isinstance(event, yaml.ScalarEvent):
            if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
                self._key(event)
            else:
                self._put(event, _value(event))
            return
        new: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(event, new)
        self._open.append(new)
        self._keys.append(None)

    def _key(self, event: yaml.ScalarEvent) -> None:
        key = str(event.value)
        if key in self._open[-1] or key == _MERGE:
            raise _at(event, "a key is there twice, or merges another table")
        self._keys[-1] = key

    def _put(self, event: yaml.NodeEvent, value: Any) -> None:
        if not self._open:
            self._root = value
            return
        container = self._open[-1]
        key = self._keys[-1]
        if isinstance(container, list):
            container.append(value)
        elif key is None:
            raise _at(event, "a key is not a text")
        else:
            container[key] = value
            self._keys[-1] = None


def _value(event: yaml.ScalarEvent) -> Any:
    text = str(event.value)
    if not event.implicit[0]:
        return text  # quoted, or a block of text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _at(event: yaml.Event, why: str) -> BadDocument:
    mark = event.start_mark
    return BadDocument(f"{why} (line {mark.line + 1})" if mark else why)
