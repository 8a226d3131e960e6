"""A tool's JSON Schema, read as what it is: a program from a stranger, run on every call.

Before it is compiled: it is small, refers only to itself, and the work one value can cause is
bounded. Without the last, thirty lines of doubled references keep a core busy for minutes:

    {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}, "b": ...}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

MAX_SCHEMA_BYTES = 262_144
MAX_NESTING = 64  # of JSON; about half as many schemas inside one another
MAX_SUBSCHEMAS = 5_000
MAX_PATTERNS = 100  # each may compile to a megabyte
MAX_DEPTH = 64  # of the arguments; the edge refuses deeper ones
_COST_CEILING = 10**9

_LITERAL = frozenset({"const", "enum", "default", "examples", "example", "required"})
_NAMED = frozenset(
    {"properties", "$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies"}
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords that look at the same value again ...
_SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
# ... and those that look at all of its members, beside `properties`, which names them.
_MEMBERS = (
    "items", "prefixItems", "additionalItems", "unevaluatedItems", "contains", "propertyNames",
    "patternProperties", "additionalProperties", "unevaluatedProperties",
)  # fmt: skip
_AGAIN = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_REVERSING = frozenset({"not", "if", "oneOf", "contains", "patternProperties"})


class BadSchema(ValueError):
    """The schema cannot be used; the message is one sentence for the person who reviews."""


@dataclass(slots=True)
class _Node:
    """One subschema: what it leads to, as indexes of other nodes."""

    schema: Mapping[str, Any]
    pointer: str
    same: list[int] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    looks: int = 1  # how often the value is judged


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an accepted schema can cost."""

    per_depth: tuple[int, ...]  # [d]: evaluations one value of depth d can cause along one path
    reversing: bool  # a part that fails may make the whole succeed (not, if, oneOf, ...)

    def cost(self, depth: int) -> int:
        return self.per_depth[min(depth, len(self.per_depth) - 1)]


def bounds_of(schema: Mapping[str, Any]) -> Bounds:
    """Walk *schema* once. Raises: BadSchema: too large, refers outside, or refers without end."""
    nodes = _collect(schema)
    by_pointer = {node.pointer: index for index, node in enumerate(nodes)}
    anchors = _anchors(nodes)
    for node in nodes:
        _link(node, by_pointer, anchors)
    reversing = any(not _REVERSING.isdisjoint(node.schema) for node in nodes)
    return Bounds(tuple(_costs(nodes)), reversing)


def _collect(schema: Mapping[str, Any]) -> list[_Node]:
    """Every object in *schema* that could be evaluated or referred to; the root first."""
    nodes: list[_Node] = []
    patterns = 0
    pending: list[tuple[Any, str, int, bool]] = [(schema, "", 0, True)]
    while pending:
        value, pointer, depth, is_schema = pending.pop()
        if depth > MAX_NESTING:
            raise BadSchema(f"the schema is nested more than {MAX_NESTING} deep")
        if is_schema and isinstance(value, dict):
            nodes.append(_Node(value, pointer))
            patterns += isinstance(value.get("pattern"), str)
            keyed = value.get("patternProperties")
            patterns += len(keyed) if isinstance(keyed, dict) else 0
        if len(nodes) > MAX_SUBSCHEMAS or patterns > MAX_PATTERNS:
            raise BadSchema(
                f"the schema has more than {MAX_SUBSCHEMAS} parts or {MAX_PATTERNS} patterns"
            )
        pending.extend(_within(value, pointer, depth + 1, is_schema))
    return nodes


def _within(
    value: Any, pointer: str, depth: int, is_schema: bool
) -> Iterator[tuple[Any, str, int, bool]]:
    """The parts of *value*. Literals are walked for their depth only; nothing may refer to them."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield item, f"{pointer}/{index}", depth, is_schema
    elif isinstance(value, dict):
        for key, item in value.items():
            here = f"{pointer}/{_escaped(key)}"
            if is_schema and key in _NAMED and isinstance(item, dict):
                # The keys of this object are names, not keywords: a property may be called "enum".
                for name, part in item.items():
                    schema = {} if isinstance(part, bool) else part
                    yield schema, f"{here}/{_escaped(name)}", depth + 1, True
            else:
                yield item, here, depth, is_schema and key not in _LITERAL


def _anchors(nodes: list[_Node]) -> dict[str, int]:
    anchors: dict[str, int] = {}
    for index, node in enumerate(nodes):
        identity = node.schema.get("$id")
        if isinstance(identity, str) and index and not identity.startswith("#"):
            raise BadSchema(
                "a part of the schema has an $id of its own, so references are ambiguous"
            )
        names = {node.schema.get(key) for key in ("$anchor", "$dynamicAnchor")}
        if isinstance(identity, str) and identity.startswith("#"):
            names.add(identity[1:])
        for name in names:
            if isinstance(name, str) and anchors.setdefault(name, index) != index:
                raise BadSchema("two parts of the schema have the same anchor")
    return anchors


def _link(node: _Node, by_pointer: Mapping[str, int], anchors: Mapping[str, int]) -> None:
    for keyword in _REFERENCES:
        reference = node.schema.get(keyword)
        if isinstance(reference, str):
            node.same.append(_target(reference, by_pointer, anchors))
    for keyword in _SAME:
        node.same.extend(_parts(node, keyword, by_pointer))
    for keyword in _MEMBERS:
        node.members.extend(_parts(node, keyword, by_pointer))
    node.named.extend(_parts(node, "properties", by_pointer))
    if not _AGAIN.isdisjoint(node.schema):
        node.looks = 2  # what is unevaluated is found by evaluating again


def _target(reference: str, by_pointer: Mapping[str, int], anchors: Mapping[str, int]) -> int:
    if not reference.startswith("#"):
        raise BadSchema("the schema refers to another document; only references within it are used")
    fragment = unquote(reference[1:])
    index = by_pointer.get(fragment) if fragment[:1] in ("", "/") else anchors.get(fragment)
    if index is None:
        raise BadSchema("the schema refers to a part that it does not have")
    return index


def _parts(node: _Node, keyword: str, by_pointer: Mapping[str, int]) -> Iterator[int]:
    """The nodes directly under *keyword*, be its value a schema, a list or an object of them."""
    value = node.schema.get(keyword)
    base = f"{node.pointer}/{_escaped(keyword)}"
    if isinstance(value, list):
        pointers = [f"{base}/{index}" for index in range(len(value))]
    elif isinstance(value, dict) and keyword in _NAMED:
        pointers = [f"{base}/{_escaped(name)}" for name in value]
    else:
        pointers = [base]
    for pointer in pointers:
        if pointer in by_pointer:
            yield by_pointer[pointer]


def _costs(nodes: list[_Node]) -> Iterator[int]:
    """Evaluations for depth 0, 1, ...: an upper bound, until it no longer grows or MAX_DEPTH."""
    order = [(index, nodes[index]) for index in _inner_first(nodes)]
    before = [0] * len(nodes)
    for _ in range(MAX_DEPTH + 1):
        now = [1] * len(nodes)
        for index, node in order:
            cost = 1
            for part in node.same:
                cost += node.looks * now[part]
            for part in node.members:
                cost += before[part]
            if node.named:
                cost += max([before[part] for part in node.named])
            now[index] = min(cost, _COST_CEILING)
        yield now[0]
        if now == before:
            return
        before = now


def _inner_first(nodes: list[_Node]) -> list[int]:
    """The nodes, each after all those that look at the same value for it."""
    order: list[int] = []
    state = [0] * len(nodes)  # 0: new, 1: entered, 2: left
    for root in range(len(nodes)):
        pending = [root]
        while pending:
            index = pending[-1]
            if state[index] == 0:
                state[index] = 1
                for part in nodes[index].same:
                    if state[part] == 1:
                        raise BadSchema("a part of the schema refers to itself without end")
                    pending += [part] if state[part] == 0 else []
            else:
                pending.pop()
                if state[index] == 1:
                    state[index] = 2
                    order.append(index)
    return order


def _escaped(key: str) -> str:
    """As a segment of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
