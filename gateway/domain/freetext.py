"""Where a schema takes free text: the places through which a tool can be handed anything at all.

{"properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}}  ->  {"/properties/city"}
"""

from __future__ import annotations

from typing import Any

MAX_POINTER_CHARS = 200
MAX_WORD_CHARS = 32  # what is held to so few characters carries no message
MAX_NODES, MAX_DEPTH = 20_000, 64
_BRANCHES = ("anyOf", "oneOf", "allOf")
_NAMED, _LISTED = ("properties", "patternProperties"), (*_BRANCHES, "prefixItems")
_BOUNDED = frozenset({"enum", "const", "pattern"})


def pointer(at: str, key: str) -> str:
    """The JSON pointer of *key* below *at* (RFC 6901), cut to a length that can be shown."""
    return f"{at}/{key.replace('~', '~0').replace('/', '~1')}"[:MAX_POINTER_CHARS]


def takes_free_text(schema: Any) -> frozenset[str]:
    """The pointers of all parameters in *schema*, at any depth, that accept any text.

    References into the schema are followed. Without recursion, and in bounds: how deep it goes, and
    into itself, is the server's choice; what lies beyond the bounds counts as free text.
    """
    found: set[str] = set()
    pending: list[tuple[str, Any, bool]] = [("", schema, False)]
    for _ in range(MAX_NODES):
        if not pending:
            break
        at, node, is_value = pending.pop()
        node = _followed(node, schema)
        if is_value and _is_free(node):
            found.add(at)
        if isinstance(node, dict) and at.count("/") < MAX_DEPTH:
            pending += _below(at, node, is_value)
    return frozenset(found | {at for at, _, _ in pending})


def _below(at: str, node: dict[str, Any], is_value: bool) -> list[tuple[str, Any, bool]]:
    """What is to be looked at inside *node*, and whether it describes a value that is passed."""
    inner: list[tuple[str, Any, bool]] = []
    for key in _NAMED:
        members = node.get(key)
        if isinstance(members, dict):
            place = pointer(at, key)
            inner += [(pointer(place, name), value, True) for name, value in members.items()]
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict) or node.get(key) is True:
            inner.append((pointer(at, key), node[key], True))
    for key in _LISTED:
        members = node.get(key)
        if isinstance(members, list):
            place = pointer(at, key)
            passed = is_value or key == "prefixItems"
            inner += [(pointer(place, str(n)), one, passed) for n, one in enumerate(members)]
    return inner


def _is_free(node: Any) -> bool:
    """Whether a value described by *node* can be any text."""
    if not isinstance(node, dict):
        return node is True
    if any(isinstance(node.get(key), list) for key in _BRANCHES):
        return False  # its branches are looked at
    types = node.get("type", "string")
    if types != "string" and not (isinstance(types, list) and "string" in types):
        return False
    longest = node.get("maxLength")
    is_short = isinstance(longest, int) and longest <= MAX_WORD_CHARS
    return not is_short and _BOUNDED.isdisjoint(node)


def _followed(node: Any, schema: Any) -> Any:
    """*node* with the "#/$defs/NAME" that it refers to; any other reference may be anything."""
    reference = node.get("$ref") if isinstance(node, dict) else None
    if reference is None:
        return node
    start, section, name, *more = (*str(reference).split("/"), "", "")
    definitions = schema.get(section) if isinstance(schema, dict) else None
    found = definitions.get(name) if isinstance(definitions, dict) else None
    if start != "#" or more[2:] or not isinstance(found, dict):
        return True
    return {**found, **{key: value for key, value in node.items() if key != "$ref"}}
