"""Schemas from strangers and arguments from strangers: judged, bounded, never repeated."""

from __future__ import annotations

import json
import time
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.arguments import compile_schema
from gateway.domain.schema import BadSchema

BOUND_S = 5.0  # of processor time, for what needs tenths of a second
SECRET = "hunter2-\u00e9-secret"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def doubling(levels: int) -> dict[str, Any]:
    """Thirty levels are 2**30 evaluations of one empty object."""
    parts: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(levels)
    }
    return {
        "type": "object",
        "$ref": "#/$defs/a0",
        "$defs": {**parts, f"a{levels}": {"type": "object"}},
    }


# -- schemas that are not used --------------------------------------------------------------------

LOOK_AROUND = "^(?!-)[a-z-]+$"

BAD = {
    "no type": {},
    "not that of an object": {"type": "string"},
    "an object or else": {"type": ["object", "null"]},
    "a boolean": True,
    "a list": [],
    "another document by http": {"type": "object", "$ref": "http://127.0.0.1:9/schema.json"},
    "another document by file": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "another document by relative path": {"type": "object", "allOf": [{"$ref": "other.json#/a"}]},
    "another document, dynamically": {"type": "object", "allOf": [{"$dynamicRef": "x.json"}]},
    "another document in an unused part": {"type": "object", "$defs": {"a": {"$ref": "//host/x"}}},
    "a part that it does not have": {"type": "object", "$ref": "#/$defs/nowhere"},
    "an anchor that it does not have": {"type": "object", "$ref": "#nowhere"},
    "a part inside a literal": {
        "type": "object",
        "default": {"type": "object"},
        "allOf": [{"$ref": "#/default"}],
    },
    "a part with an identity of its own": {
        "type": "object",
        "$defs": {"a": {"$id": "https://example.com/a", "$ref": "#"}},
    },
    "one anchor twice": {"type": "object", "$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}},
    "itself": {"type": "object", "$ref": "#"},
    "itself by way of another": {
        "type": "object",
        "allOf": [{"$ref": "#/$defs/a"}],
        "$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
    },
    "thirty doublings": doubling(30),
    "an unknown dialect": {"$schema": "https://example.com/mine", "type": "object"},
    "a dialect that is no string": {"$schema": 7, "type": "object"},
    "a keyword of the wrong kind": {"type": "object", "properties": {"a": {"maxLength": "long"}}},
    "properties that are none": {"type": "object", "properties": 5},
    "pattern properties that are none": {"type": "object", "patternProperties": 5},
    "a pattern that is none": {"type": "object", "properties": {"a": {"pattern": "(a"}}},
    "a pattern that is huge": {"type": "object", "properties": {"a": {"pattern": "(a{999}){999}"}}},
    "look-around below not": {"type": "object", "not": {"properties": {"a": {"pattern": LOOK_AROUND}}}},
    "look-around as the name of properties": {
        "type": "object",
        "patternProperties": {LOOK_AROUND: {"type": "null"}},
    },
    "too deep": {"type": "object", "default": nested(70)},
    "too many parts": {"type": "object", "properties": {f"p{n}": {} for n in range(5_001)}},
    "too many patterns": {
        "type": "object",
        "properties": {f"p{n}": {"pattern": "a"} for n in range(101)},
    },
    "too long": {"type": "object", "description": "x" * 262_144},
}  # fmt: skip


@pytest.mark.parametrize("schema", BAD.values(), ids=BAD.keys())
def test_a_schema_that_cannot_be_trusted_is_refused_with_one_sentence(schema: Any) -> None:
    started = time.process_time()
    with pytest.raises(BadSchema) as refused:
        compile_schema(json.dumps(schema).encode())
    assert time.process_time() - started < BOUND_S
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"type":"object","maximum":NaN}', b"\xff", b"[" * 100_000, b'{"a":' * 100_000],
    ids=["nothing", "cut", "NaN", "not UTF-8", "deep lists", "deep objects"],
)
def test_bytes_that_are_not_json_are_a_bad_schema_not_a_fault(text: bytes) -> None:
    with pytest.raises(BadSchema):
        compile_schema(text)


def test_what_cannot_be_written_as_json_is_a_bad_schema() -> None:
    with pytest.raises(BadSchema, match="not JSON"):
        compile_schema({"type": "object", "default": object()})
    with pytest.raises(BadSchema, match="not JSON"):
        compile_schema({"type": "object", "default": float("nan")})


# -- schemas that are used ------------------------------------------------------------------------

GOOD: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "no properties": ({"type": "object"}, {"anything": 1}, {}),
    "properties": (
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        {"n": 1},
        {"n": "1"},
    ),
    "properties named like keywords": (
        {"type": "object", "properties": {"$ref": {"type": "string"}, "enum": {"type": "null"},
                                          "properties": {"type": "null"}, "default": {"$ref": "#/properties/enum"}}},
        {"$ref": "http://example.com", "enum": None, "default": None},
        {"default": 1},
    ),
    "references within": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "null"}}},
        {"a": None},
        {"a": 0},
    ),
    "a reference to a definition that is just true": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/any"}, "b": {"$ref": "#/$defs/none"}},
         "$defs": {"any": True, "none": False}},
        {"a": 5},
        {"b": 5},
    ),
    "an escaped reference": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x~1y%25"}}, "$defs": {"x/y%": {"type": "null"}}},
        {"a": None},
        {"a": 0},
    ),
    "an anchor": (
        {"type": "object", "properties": {"a": {"$ref": "#n"}}, "$defs": {"n": {"$anchor": "n", "type": "null"}}},
        {"a": None},
        {"a": 0},
    ),
    "definitions in an unusual place": (
        {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/n"}},
         "components": {"schemas": {"n": {"type": "null"}}}},
        {"a": None},
        {"a": 0},
    ),
    "a tree": (
        {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"left": {"right": {}}, "right": {"right": {"left": {}}}},
        {"left": {"right": 0}},
    ),
    "filters in filters": (
        {"type": "object", "properties": {"where": {"$ref": "#/$defs/f"}}, "$defs": {"f": {"anyOf": [
            {"type": "object", "properties": {"and": {"type": "array", "items": {"$ref": "#/$defs/f"}}}, "required": ["and"]},
            {"type": "object", "properties": {"or": {"type": "array", "items": {"$ref": "#/$defs/f"}}}, "required": ["or"]},
            {"type": "string"}]}}},
        {"where": {"and": ["a", {"or": ["b", {"and": ["c"]}]}]}},
        {"where": {"and": ["a", {"or": ["b", {"and": [3]}]}]}},
    ),
    "draft 7 with a tuple and dependencies": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
         "properties": {"t": {"type": "array", "items": [{"type": "string"}]}},
         "dependencies": {"a": ["b"], "enum": {"required": ["c"]}}},
        {"t": ["x", 5], "a": 1, "b": 1},
        {"enum": 1},
    ),
    "look-around where a failed search refuses": (
        {"type": "object", "properties": {"a": {"pattern": LOOK_AROUND}}},
        {"a": "b-c"},
        {"a": "-b"},
    ),
    "references in examples are text": (
        {"type": "object", "examples": [{"$ref": "http://example.com"}], "default": {"$id": "x"}},
        {"a": 1},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "fits", "fails"), GOOD.values(), ids=GOOD.keys())
def test_an_honest_schema_judges(
    schema: dict[str, Any], fits: dict[str, Any], fails: dict[str, Any]
) -> None:
    validate = compile_schema(schema)
    assert validate(fits) is None
    assert (validate(fails) is not None) is bool(fails)


def test_formats_annotate_in_every_dialect_as_mcp_says_of_the_newest() -> None:
    for dialect in ("http://json-schema.org/draft-07/schema#", None):
        schema = {"type": "object", "properties": {"a": {"format": "email"}}}
        assert (
            compile_schema(schema | ({"$schema": dialect} if dialect else {}))({"a": "x"}) is None
        )


def test_any_mapping_is_judged() -> None:
    validate = compile_schema({"type": "object", "required": ["a"]})
    assert validate(MappingProxyType({"a": 1})) is None


# -- what is said ---------------------------------------------------------------------------------

SAID = {
    "a missing property": (
        {"required": ["path"]}, {}, 'at /: the property "path" is required'),
    "a wrong type": (
        {"properties": {"n": {"type": ["integer", "null"]}}}, {"n": SECRET},
        "at /n: expected null or integer"),
    "deep inside": (
        {"properties": {"items": {"items": {"properties": {"name": {"maxLength": 4}}}}}},
        {"items": [{}, {"name": SECRET}]}, "at /items/1/name: does not fit maxLength 4"),
    "a pattern": (
        {"properties": {"a": {"pattern": "^x"}}}, {"a": SECRET}, "at /a: does not fit pattern"),
    "a choice": (
        {"properties": {"a": {"enum": ["x", "y"]}}}, {"a": SECRET},
        "at /a: not a value that enum allows"),
    "a constant": (
        {"properties": {"a": {"const": 1}}}, {"a": SECRET}, "at /a: not a value that const allows"),
    "alternatives": (
        {"properties": {"a": {"oneOf": [{"type": "null"}, {"maxLength": 1}]}}}, {"a": SECRET},
        "at /a: does not fit oneOf"),
    "a minimum": (
        {"properties": {"a": {"minimum": 5}}}, {"a": 4}, "at /a: does not fit minimum 5"),
    "a property nobody knows": (
        {"properties": {"a": {}}, "additionalProperties": False}, {"b": SECRET},
        'at /: no such property: "b"'),
    "many properties nobody knows": (
        {"properties": {"a": {}}, "unevaluatedProperties": False}, dict.fromkeys("vwxyz", SECRET),
        'at /: no such property: "v", "w", "x" and 2 more'),
    "a forbidden property": (
        {"properties": {"a": False}}, {"a": SECRET}, "at /a: nothing is allowed here"),
    "what is not allowed": ({"not": {"required": ["a"]}}, {"a": SECRET}, "at /: does not fit not"),
    "a name with a slash and a tilde": (
        {"properties": {"a/~b": {"type": "null"}}}, {"a/~b": SECRET}, "at /a~1~0b: expected null"),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "arguments", "sentence"), SAID.values(), ids=SAID.keys())
def test_the_sentence_says_where_and_what_and_no_value(
    schema: dict[str, Any], arguments: dict[str, Any], sentence: str
) -> None:
    assert compile_schema({"type": "object", **schema})(arguments) == sentence


VALUE_LETTERS = "\u4e00\u4e8cQXZ"
SCHEMAS = [
    {"type": "object", "additionalProperties": {"type": "null"}},
    {"type": "object", "additionalProperties": False, "properties": {"a": {}}},
    {"type": "object", "propertyNames": {"maxLength": 0}},
    {"type": "object", "additionalProperties": {"anyOf": [{"const": 1}, {"enum": [2]}]}},
    {"type": "object", "unevaluatedProperties": False},
    {"type": "object", "additionalProperties": {"items": {"type": "null"}, "type": "array"}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
@given(
    name=st.text(st.characters(exclude_characters=VALUE_LETTERS), min_size=1, max_size=400),
    value=st.text(alphabet=VALUE_LETTERS, min_size=12, max_size=40),
)
def test_no_value_comes_back_and_no_name_breaks_the_line(
    schema: dict[str, Any], name: str, value: str
) -> None:
    assume(name not in schema.get("properties", {}))  # a declared name may hold anything
    validate = compile_schema(schema)
    for arguments in ({name: value}, {name: [value]}, {name: {"x": value}}, {"b": 1, name: value}):
        sentence = validate(arguments)
        assert sentence is not None
        assert sentence.isascii()
        assert sentence.isprintable()
        assert len(sentence) < 800
        assert value not in sentence
        assert json.dumps(value)[1:-1] not in sentence


# -- arguments that cost --------------------------------------------------------------------------


def test_a_pattern_that_backtracks_ends_and_refuses() -> None:
    validate = compile_schema(
        {"type": "object", "properties": {"a": {"pattern": "^(?=a)(a|aa)+$"}}}
    )
    started = time.process_time()
    assert validate({"a": "a" * 20_000 + "!"}) == "at /a: does not fit pattern"
    assert time.process_time() - started < BOUND_S


def test_a_schema_that_multiplies_with_depth_takes_shallow_arguments_and_refuses_deep_ones() -> (
    None
):
    part = {"properties": {"a": {"$ref": "#/$defs/x"}}}
    twin = {"properties": {"a": {"$ref": "#/$defs/x"}}, "minProperties": 0}
    validate = compile_schema(
        {"type": "object", "$defs": {"x": {"allOf": [part, twin]}}, "$ref": "#/$defs/x"}
    )
    started = time.process_time()
    assert validate(nested(5)) is None
    assert validate(nested(60)) == (
        "the arguments are too large or too deep to be checked against this schema"
    )
    assert time.process_time() - started < BOUND_S


def test_many_values_under_a_costly_schema_are_refused_before_they_are_judged() -> None:
    costly = doubling(12)
    schema = {
        "type": "object",
        "properties": {"items": {"items": {"$ref": "#/$defs/a0"}}},
        "$defs": costly["$defs"],
    }
    validate = compile_schema(schema)
    assert validate({"items": [{}] * 10}) is None
    started = time.process_time()
    assert "too large" in (validate({"items": [{}] * 200_000}) or "")
    assert time.process_time() - started < BOUND_S


def test_large_arguments_that_do_not_fit_get_the_verdict_without_a_copy_of_them() -> None:
    validate = compile_schema({"type": "object", "properties": {"a": {"items": {"type": "null"}}}})
    started = time.process_time()
    assert validate({"a": [0] * 500_000}) == (
        "the arguments do not fit the schema; they are too large to say where"
    )
    assert time.process_time() - started < BOUND_S


def test_numbers_no_machine_word_holds_are_judged_as_numbers() -> None:
    validate = compile_schema({"type": "object", "properties": {"n": {"maximum": 5}}})
    assert validate({"n": 2**80}) == "at /n: does not fit maximum 5"
    assert validate({"n": -(2**80)}) is None


@pytest.mark.parametrize("value", [object(), {1: 1}], ids=["no JSON", "a key that is no string"])
def test_what_json_does_not_have_is_refused_not_a_fault(value: Any) -> None:
    validate = compile_schema({"type": "object", "properties": {"a": {"enum": [{"b": 1}]}}})
    assert validate({"a": value}) == "the arguments cannot be checked against this schema"
