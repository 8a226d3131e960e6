"""HTTP header values that mirror the body (SEP-2243): routing headers and Mcp-Param-*.

add             -> Mcp-Name: add
a name in UTF-8 -> Mcp-Name: =?base64?...?=
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from gateway.domain.model import Call

_ANNOTATION = "x-mcp-header"
_BY_NAME = frozenset({"tools/call", "prompts/get"})  # which of definitions there are only so many
# Visible ASCII, spaces only inside: neither CR, LF nor an edge space can get through.
FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SENTINEL = re.compile(r"=\?base64\?.*\?=")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 s5.6.2
_MIRRORED_TYPES = frozenset({"string", "integer", "boolean"})
# Keywords of JSON Schema 2020-12 whose values are schemas again, by the shape of the value.
# `default`, `const`, `enum` and `examples` hold data, where the annotation means nothing.
_ONE = frozenset(
    {"items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames"}
    | {"unevaluatedProperties", "not", "if", "then", "else", "contentSchema"}
)
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})

Path = tuple[str, ...]


def encode_value(value: str) -> bytes:
    """*value* as a field value that decodes to exactly the same text."""
    if value == "" or (FIELD_VALUE.fullmatch(value) and not _SENTINEL.fullmatch(value)):
        return value.encode("ascii")
    return b"=?base64?" + base64.b64encode(value.encode()) + b"?="


def trace_line(call: Call) -> bytes:
    """The traceparent of *call*, where it has one, for what reads headers only."""
    return b"traceparent: %b\r\n" % call.trace.encode("ascii") if call.trace else b""


def routing_lines(method: str, name: str) -> bytes:
    """The Mcp-Method and Mcp-Name lines of a request."""
    # A caller may make up URIs, and a server ids of tasks, without end.
    return _cached(method, name) if method in _BY_NAME else _routing_lines(method, name)


def _routing_lines(method: str, name: str) -> bytes:
    lines = b"Mcp-Method: " + encode_value(method) + b"\r\n"
    if name:
        lines += b"Mcp-Name: " + encode_value(name) + b"\r\n"
    return lines


_cached = lru_cache(maxsize=2048)(_routing_lines)


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument that the tool wants to see as a header, too."""

    path: Path
    field_name: bytes

    def line(self, arguments: Mapping[str, Any]) -> bytes:
        """The header line; b"" when the argument is absent or has no rendering."""
        node: Any = arguments
        for key in self.path:
            if not isinstance(node, Mapping):
                return b""
            node = node.get(key)
        text = _render(node)
        if text is None:
            return b""
        return b"Mcp-Param-" + self.field_name + b": " + encode_value(text) + b"\r\n"


@lru_cache(maxsize=1024)
def _mirrors_of(body: bytes) -> tuple[Mirror, ...]:
    if b'"x-mcp-header"' not in body:
        return ()
    return mirrors(msgspec.json.decode(body).get("inputSchema"))


def param_lines(definition_body: bytes, arguments: Mapping[str, Any]) -> bytes:
    """All Mcp-Param-* lines that the tool's definition asks for."""
    found = _mirrors_of(definition_body)
    return b"".join(mirror.line(arguments) for mirror in found) if found else b""


def mirrors(schema: Any) -> tuple[Mirror, ...]:
    """The annotated properties of an input schema; none at all when one annotation is invalid,
    because a server must not judge by headers of a schema that conforming clients drop."""
    found: dict[bytes, Mirror] = {}
    for path, position in _positions(schema):
        if _ANNOTATION not in position:
            continue
        mirror = _mirror(path, position)
        if mirror is None or mirror.field_name.lower() in found:
            return ()
        found[mirror.field_name.lower()] = mirror
    return tuple(found.values())


def _mirror(path: Path | None, position: Mapping[str, Any]) -> Mirror | None:
    name = position[_ANNOTATION]
    if not path or not isinstance(name, str) or not _TOKEN.fullmatch(name):
        return None
    kind = position.get("type")
    if not isinstance(kind, str) or kind not in _MIRRORED_TYPES:
        return None
    return Mirror(path, name.encode("ascii"))


def _positions(root: Any) -> Iterator[tuple[Path | None, Mapping[str, Any]]]:
    """Every schema in *root* with its chain of `properties`; None once the chain is broken.

    No recursion and no $ref: the walk ends on any finite value, however deep.
    """
    pending: list[tuple[Path | None, Any]] = [((), root)]
    while pending:
        path, schema = pending.pop()
        if not isinstance(schema, dict):
            continue
        yield path, schema
        for keyword, value in schema.items():
            if keyword == "properties" and isinstance(value, dict):
                pending += [(None if path is None else (*path, k), v) for k, v in value.items()]
            else:
                pending += [(None, below) for below in _below(keyword, value)]


def _below(keyword: str, value: Any) -> Iterator[Any]:
    if keyword in _ONE:
        yield value
    elif keyword in _MANY and isinstance(value, list):
        yield from value
    elif keyword in _NAMED and isinstance(value, dict):
        yield from value.values()


def _render(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:  # an integer beyond the digits that Python converts
        return None
