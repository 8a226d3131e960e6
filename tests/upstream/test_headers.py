"""Header values that mirror the body: they decode to the same text and carry no line break."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.headers import encode_value, mirrors, param_lines


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_and_none_leaves_its_line(text: str) -> None:
    value = encode_value(text)
    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert value == value.strip()
    if value.startswith(b"=?base64?") and value.endswith(b"?="):
        assert base64.b64decode(value[9:-2], validate=True).decode() == text
    else:
        assert value.decode() == text


def annotated(**annotation: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": {"type": "string", **annotation}}}


@pytest.mark.parametrize(
    "schema",
    [
        annotated(**{"x-mcp-header": "not a token"}),
        annotated(**{"x-mcp-header": "X\r\nY"}),
        annotated(**{"x-mcp-header": ""}),
        annotated(**{"x-mcp-header": 5}),
        annotated(**{"x-mcp-header": "A", "type": "number"}),
        annotated(**{"x-mcp-header": "A", "type": ["string", "null"]}),
        {"x-mcp-header": "A", "type": "string"},
        {"properties": {"a": {"items": {"type": "string", "x-mcp-header": "A"}}}},
        {"anyOf": [annotated(**{"x-mcp-header": "A"})]},
        {
            "properties": {
                "a": {"type": "string", "x-mcp-header": "Same"},
                "b": {"type": "string", "x-mcp-header": "sAME"},
            }
        },
        None,
        [],
        "x",
    ],
    ids=[
        *("no token", "line break", "empty", "no text", "number", "list of types", "at the root"),
        *("below items", "below anyOf", "twice", "null", "list", "text"),
    ],
)
def test_one_invalid_annotation_means_no_mirrors_at_all(schema: object) -> None:
    valid = {"z": {"type": "string", "x-mcp-header": "Valid"}}
    if isinstance(schema, dict) and "properties" in schema:
        schema = {**schema, "properties": {**schema["properties"], **valid}}
    assert mirrors(schema) == ()


def test_annotations_in_data_are_not_annotations() -> None:
    schema = annotated(default={"x-mcp-header": "A"}, enum=[{"x-mcp-header": "B"}])
    assert mirrors(schema) == ()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("x", b"Mcp-Param-A: x\r\n"),
        (True, b"Mcp-Param-A: true\r\n"),
        (7, b"Mcp-Param-A: 7\r\n"),
        (None, b""),
        ([1], b""),
        ({"b": 1}, b""),
        (10**5000, b""),
    ],
    ids=["text", "boolean", "integer", "null", "list", "object", "beyond all digits"],
)
def test_a_value_is_rendered_or_left_out(value: object, line: bytes) -> None:
    body = json.dumps({"inputSchema": annotated(**{"x-mcp-header": "A"})}).encode()
    assert param_lines(body, {"a": value}) == line


def test_a_very_deep_schema_is_walked_without_recursion() -> None:
    schema: dict[str, object] = {}
    for _ in range(50_000):
        schema = {"not": schema}
    assert mirrors(schema) == ()
