"""Schemas of an OpenAPI document -> JSON Schema 2020-12, whole and finite.

References are followed inside the document only, and written out. A schema that contains itself
ends in a permissive one, and so does what is too deep or too much: the API judges the rest.

    {"$ref": "#/components/schemas/Pet"}      its schema, written out
    {"$ref": "https://example.com/pet.json"}  refused: nothing is fetched for a schema
    {"type": "string", "nullable": true}      {"type": ["string", "null"]}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.upstream.openapi.document import BadDocument

MAX_SCHEMA_DEPTH = 12
MAX_SCHEMAS = 1_000  # of one operation
MAX_ENUM = 500
_MAX_TEXT = 2_000
_MAX_HOPS = 20
_NODE_BYTES = 64  # each schema counts as so many more: what {} takes in memory
_MAX_PATTERN = 200

_NUMBERS = frozenset({"minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"})
_COUNTS = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)
_TEXTS = frozenset({"title", "description", "format"})
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "not", "contains", "propertyNames", "additionalProperties")
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})

Schema = dict[str, Any]


class BadReference(ValueError):
    """A reference that is not followed; one sentence."""


@dataclass(frozen=True, slots=True)
class References:
    """What a document refers to inside itself."""

    document: Mapping[str, Any]

    def follow(self, value: Any) -> tuple[Any, tuple[str, ...]]:
        """What *value* stands for, and the references that led there. Raises: BadReference."""
        seen: list[str] = []
        while isinstance(value, dict) and isinstance(value.get("$ref"), str):
            reference = value["$ref"]
            if reference in seen or len(seen) > _MAX_HOPS:
                raise BadReference("a reference leads back to itself")
            seen.append(reference)
            own = {key: value[key] for key in ("description", "title", "default") if key in value}
            value = self._find(reference)
            if own and isinstance(value, dict):
                value = {**value, **own}
        return value, tuple(seen)

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise BadReference(
                "a reference leads out of the document, and nothing is fetched for it"
            )
        node: Any = self.document
        for step in unquote(reference[2:]).split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isascii() and key.isdigit() and len(key) < 6:
                node = node[int(key)] if int(key) < len(node) else None
            else:
                raise BadReference("a reference leads to nothing")
        return node


@dataclass(slots=True)
class Room:
    """How many bytes the tools of one document may still have: what many refer to counts each time."""

    most_bytes: int
    left_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.left_bytes = self.most_bytes

    def take(self, n_bytes: int) -> None:
        """Raises: BadDocument: it would be more than anybody takes in."""
        self.left_bytes -= n_bytes
        if self.left_bytes < 0:
            raise BadDocument(f"its tools would hold more than {self.most_bytes} bytes")


@dataclass(slots=True)
class Translation:
    """The schemas of one operation; they share one allowance."""

    references: References
    room: Room  # of the whole document
    left: int = field(default=MAX_SCHEMAS)

    def of(self, raw: Any) -> Schema:
        """*raw* as a schema of its own. Raises: BadReference, BadDocument."""
        return self._schema(raw, 0, frozenset())

    def _schema(self, raw: Any, depth: int, inside: frozenset[str]) -> Schema:
        value, refs = self.references.follow(raw)
        self.left -= 1
        if not isinstance(value, dict):
            self.room.take(_NODE_BYTES)
            return {}  # true, or nothing that says anything
        self.room.take(_NODE_BYTES + len(value))
        if depth > MAX_SCHEMA_DEPTH or self.left < 0 or not inside.isdisjoint(refs):
            return _permissive(value)
        inside |= frozenset(refs)
        schema = _own_keywords(value)
        # Before what is below it. A value is one in memory, however often it is referred to, and
        # many when it is written out.
        self.room.take(len(msgspec.json.encode(schema)))
        for keyword in _LISTS:
            parts = value.get(keyword)
            if isinstance(parts, list) and parts:
                schema[keyword] = [self._schema(part, depth + 1, inside) for part in parts]
        for keyword in _SINGLE:
            part = value.get(keyword)
            if isinstance(part, dict):
                schema[keyword] = self._schema(part, depth + 1, inside)
            elif keyword == "additionalProperties" and part is False:
                schema[keyword] = False
        self._properties(value, schema, depth, inside)
        return _nullable(schema) if value.get("nullable") is True else schema

    def _properties(
        self, value: Mapping[str, Any], schema: Schema, depth: int, inside: frozenset[str]
    ) -> None:
        properties = value.get("properties")
        if not isinstance(properties, dict):
            return
        kept: Schema = {}
        for name, part in properties.items():
            self.room.take(len(name) + 1)
            meant, _ = self.references.follow(part)
            if isinstance(meant, dict) and meant.get("readOnly") is True:
                continue  # it comes in answers only
            kept[str(name)] = self._schema(part, depth + 1, inside)
        schema["properties"] = kept
        if isinstance(value.get("patternProperties"), dict):
            schema.pop("additionalProperties", None)  # it would refuse what these allow
        required = value.get("required")
        if isinstance(required, list):
            named = dict.fromkeys(name for name in required if isinstance(name, str))
            schema["required"] = [name for name in named if name in kept]
            self.room.take(len(required) + sum(map(len, schema["required"])))


def _own_keywords(value: Mapping[str, Any]) -> Schema:
    """The keywords whose values are no schemas, where the value is one that the keyword can have."""
    schema: Schema = {
        keyword: value[keyword]
        for keyword, is_fit in _FIT.items()
        if keyword in value and is_fit(value[keyword])
    }
    for keyword in _TEXTS & schema.keys():
        schema[keyword] = schema[keyword][:_MAX_TEXT]
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if value.get(flag) is True and bound in schema:  # as OpenAPI 3.0 writes it
            schema[flag] = schema.pop(bound)
    return schema


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_enum(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MAX_ENUM


def _is_type(value: Any) -> bool:
    kinds = [value] if isinstance(value, str) else value
    return isinstance(kinds, list) and all(isinstance(k, str) and k in _TYPES for k in kinds)


def _is_pattern(text: Any) -> bool:
    """Whether the dialects of regular expressions agree on it, as far as one can see."""
    if not isinstance(text, str) or len(text) > _MAX_PATTERN or "(?" in text:
        return False
    try:
        re.compile(text)
    except re.error:
        return False
    return True


_FIT: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": _is_enum,
    "const": lambda value: True,
    "default": lambda value: True,
    "uniqueItems": lambda value: isinstance(value, bool),
    "pattern": _is_pattern,
    **dict.fromkeys(sorted(_TEXTS), _is_text),
    **dict.fromkeys(sorted(_NUMBERS | _COUNTS), _is_number),
}


def _permissive(value: Mapping[str, Any]) -> Schema:
    kind = value.get("type")
    if kind == "object" or "properties" in value:
        return {"type": "object"}
    return {"type": kind} if isinstance(kind, str) and kind in _TYPES else {}


def _nullable(schema: Schema) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
