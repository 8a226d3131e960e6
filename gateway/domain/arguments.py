"""Do these arguments fit the tool's schema? Compiled once, asked on every call.

    at /items/3/name: does not fit maxLength 40

The answer never contains a value of the arguments: it goes to the caller and to the log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jsonschema_rs

from gateway.domain.schema import MAX_DEPTH, MAX_SCHEMA_BYTES, BadSchema, Bounds, bounds_of

Validator = Callable[[Mapping[str, Any]], str | None]
"""None when the arguments are valid, else one sentence in printable ASCII: where and what."""

_DIALECTS: Mapping[str, type[jsonschema_rs.Validator]] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
}
_DEFAULT_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PATTERN_BYTES = 1 << 20  # compiled; a pattern above it is refused with its tool
_LINEAR = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES)
_BACKTRACKING = jsonschema_rs.FancyRegexOptions(
    backtrack_limit=10_000, size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES
)

_CHEAP = 256  # evaluations of one value; nearly every schema stays below, whatever the depth
_WORK_CEILING = 20_000_000  # evaluations for all of the arguments: under a second
_SAYABLE_NODES = 10_000  # the validator copies what it describes; above, only the verdict is given
_MAX_SEGMENT_CHARS = 40
_MAX_POINTER_CHARS = 200
_MAX_NAMES = 3


def compile_schema(schema: bytes | Mapping[str, Any]) -> Validator:
    """The validator of an `inputSchema`: JSON Schema 2020-12 unless it names another dialect.

    Raises: BadSchema: not the schema of an object, too large or costly, or not to be compiled.
    """
    body = _read(schema)
    bounds = bounds_of(body)
    if bounds.cost(2) > _WORK_CEILING // 1000:
        raise BadSchema("the schema combines its parts so often that it cannot be checked")
    check = _compiled(body, bounds)

    def validate(arguments: Mapping[str, Any]) -> str | None:
        return _problem(check, bounds, arguments)

    return validate


def _read(schema: bytes | Mapping[str, Any]) -> dict[str, Any]:
    text = schema if isinstance(schema, bytes) else _written(schema)
    if len(text) > MAX_SCHEMA_BYTES:
        raise BadSchema(f"the schema has more than {MAX_SCHEMA_BYTES} bytes")
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise BadSchema("the schema is not JSON") from err
    if not isinstance(body, dict) or body.get("type") != "object":
        raise BadSchema('the schema is not that of an object: it needs "type": "object"')
    return body


def _written(schema: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(schema), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as err:
        raise BadSchema("the schema is not JSON") from err


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _compiled(body: dict[str, Any], bounds: Bounds) -> jsonschema_rs.Validator:
    named = body.get("$schema", _DEFAULT_DIALECT)
    dialect = _DIALECTS.get(named.rstrip("#")) if isinstance(named, str) else None
    if dialect is None:
        raise BadSchema("the schema is of a dialect other than JSON Schema draft 6 to 2020-12")
    # Never a network or file read, whatever the schema says; `bounds_of` has refused such ones.
    try:
        return dialect(body, validate_formats=False, offline=True, pattern_options=_LINEAR)
    except ValueError:
        pass  # a pattern with look-around, or a schema that is wrong: the next attempt tells
    try:
        check = dialect(body, validate_formats=False, offline=True, pattern_options=_BACKTRACKING)
    except ValueError as err:
        where = _pointer(getattr(err, "instance_path", []))
        raise BadSchema(f"the schema does not compile (at {where})") from err
    if bounds.reversing:
        # A search cut short counts as "does not match"; below `not` a caller could force that.
        raise BadSchema("the schema has a pattern with look-around beside not, if, oneOf or alike")
    return check


def _problem(
    check: jsonschema_rs.Validator, bounds: Bounds, arguments: Mapping[str, Any]
) -> str | None:
    value = arguments if isinstance(arguments, dict) else dict(arguments)
    if bounds.cost(MAX_DEPTH) > _CHEAP:
        depth, nodes = _measured(value, _WORK_CEILING)
        if bounds.cost(depth) * nodes > _WORK_CEILING:
            return "the arguments are too large or too deep to be checked against this schema"
    try:
        if check.is_valid(value):
            return None
        if _measured(value, _SAYABLE_NODES)[1] > _SAYABLE_NODES:
            return "the arguments do not fit the schema; they are too large to say where"
        check.validate(value)
    except jsonschema_rs.ValidationError as error:
        return f"at {_pointer(error.instance_path)}: {_said(error)}"
    except ValueError:  # too deep for the validator, or a value JSON does not have
        return "the arguments cannot be checked against this schema"
    return "the arguments do not fit the schema"


def _measured(value: Any, enough: int) -> tuple[int, int]:
    """Depth and number of values in *value*; stops counting a little above *enough*."""
    depth, nodes, level = 0, 1, [value]
    while level and nodes <= enough:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        nodes += len(inner)
        depth += bool(inner)
        level = inner
    return depth, nodes


# -- what may be said: places, keywords and what the schema itself says; never a value -------------


def _said(error: jsonschema_rs.ValidationError) -> str:
    kind: Any = error.kind  # its attributes depend on its name
    match kind.name:
        case "required":
            return f"the property {_name(kind.property)} is required"
        case "type":
            return f"expected {' or '.join(str(name) for name in kind.types)}"
        case "additionalProperties" | "unevaluatedProperties":
            unexpected = list(kind.unexpected)
            names = ", ".join(_name(name) for name in unexpected[:_MAX_NAMES])
            more = f" and {len(unexpected) - _MAX_NAMES} more" if unexpected[_MAX_NAMES:] else ""
            return f"no such property: {names}{more}"
        case "enum" | "const":
            return f"not a value that {kind.name} allows"
        case "falseSchema":
            return "nothing is allowed here"
        case name:
            limit = getattr(kind, "limit", None)
            return f"does not fit {name}" + (f" {limit}" if isinstance(limit, int | float) else "")


def _pointer(path: list[str | int]) -> str:
    """A JSON pointer in printable ASCII; "/" for the whole. Its names may be an attacker's."""
    segments = (_short(str(part).replace("~", "~0").replace("/", "~1")) for part in path)
    pointer = "".join(f"/{segment}" for segment in segments) or "/"
    if len(pointer) <= _MAX_POINTER_CHARS:
        return pointer
    return pointer[: _MAX_POINTER_CHARS - 3] + "..."


def _name(name: str) -> str:
    return f'"{_short(name)}"'


def _short(text: str) -> str:
    """JSON string escapes for all that is not printable ASCII, then cut: no line, no colour code."""
    cut = text[:_MAX_SEGMENT_CHARS]
    escaped = json.dumps(cut)[1:-1].replace("\x7f", "\\u007f")
    return escaped if cut == text else f"{escaped}..."
