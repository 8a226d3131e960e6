"""What a document of somebody else's becomes: tools, or a reason for each operation that is none."""

import json
import tracemalloc
from typing import Any

import pytest

from gateway.domain.schema import bounds_of
from gateway.upstream.listing import MAX_LISTING_BYTES
from gateway.upstream.openapi.document import BadDocument, read_document
from gateway.upstream.openapi.operations import Operation, read_api

TEXT = {"type": "string"}
ID = {"name": "id", "in": "path", "required": True, "schema": TEXT}


def only(
    operation: dict[str, Any], path: str = "/x", method: str = "get", **more: Any
) -> Operation:
    """The one operation of a document that has no other."""
    document = {"openapi": "3.1.0", "paths": {path: {method: operation}}, **more}
    (found,) = read_api(document, writes=True).operations
    return found


def schema_of(operation: Operation) -> Any:
    assert not operation.left_out
    schema = json.loads(operation.definition)["inputSchema"]
    bounds_of(schema)  # it is one that the gateway itself accepts
    return schema


def arguments_of(operation: Operation) -> list[tuple[str, str, str]]:
    binding = json.loads(operation.definition)["_meta"]["io.customhouse/openapi"]
    return [
        (one["argument"], one["in"], one.get("name", "")) for one in binding.get("arguments", [])
    ]


def body(schema: Any, **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, **more}}


def parameter(place: str, name: str = "p", **more: Any) -> dict[str, Any]:
    return {"parameters": [{"in": place, "name": name, "schema": TEXT, **more}]}


# -- documents ---------------------------------------------------------------------------------


def test_yaml_is_read_as_json_would_say_it() -> None:
    text = b"""
openapi: 3.0.1   # a comment
info: {title: No, version: 1.0}
paths:
  /a: &anchor
    get:
      description: |
        two
        lines
      responses: {200: {description: "true"}}
x: [no, off, 2024-01-01, 0x10, 1e3, ~, null, true, -7, .5, '', "8"]
"""
    found = read_document(text)
    assert found["info"] == {"title": "No", "version": 1.0}
    assert found["paths"]["/a"]["get"]["description"] == "two\nlines\n"
    assert found["paths"]["/a"]["get"]["responses"] == {"200": {"description": "true"}}
    assert found["x"] == [
        *("no", "off", "2024-01-01", "0x10", 1000.0, None, None, True, -7, 0.5, "", "8")
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it is not a table"),
        (b"[1]", "it is not a table"),
        (b"hello", "it is not a table"),
        (b"{", "it is not JSON"),
        (b"\xff", "not UTF-8"),
        (b"a: [", "it is not YAML"),
        (b"a: 1\na: 2", "a key is there twice"),
        (b"a: 1\n---\nb: 1", "more than one document"),
        (b"a: !!python/name:os.system 1", "a tag"),
        (b"a: !!binary aGk=", "a tag"),
        (b"? [a]\n: 1", "a key is not a text"),
        (b"a: &x {b: 1}\nc: {<<: *x}", "a key is there twice, or merges"),
        (b"a: &x [1]\nb: *x", "an alias"),
    ],
)
def test_a_text_that_is_no_plain_document_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(BadDocument, match=why):
        read_document(text)


@pytest.mark.parametrize("version", ["2.0", "3.2.0", "3.0.1.5", "", None, 3])
def test_only_openapi_3_0_and_3_1_are_read(version: Any) -> None:
    with pytest.raises(BadDocument, match=r"not OpenAPI 3\.0 or 3\.1"):
        read_api({"openapi": version, "swagger": "2.0", "paths": {}}, writes=False)


@pytest.mark.parametrize("nonsense", [None, [], 1, "x", {"get": 1}, {"get": []}, [{"get": {}}]])
def test_nonsense_in_the_paths_is_no_operation(nonsense: Any) -> None:
    assert read_api({"openapi": "3.0.0", "paths": {"/x": nonsense}}, writes=True).operations == ()
    assert read_api({"openapi": "3.0.0", "paths": nonsense}, writes=True).operations == ()


# -- operations that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "path", "why"),
    [
        ({}, "/a/../b", "not supported"),
        ({}, "/./b", "not supported"),
        ({}, "//evil.example/x", "not supported"),
        ({}, "x", "not supported"),
        ({}, "/a b", "not supported"),
        ({}, "/a?b=c", "not supported"),
        ({}, "/a%2e%2e", "not supported"),
        ({}, "/a\r\nHost: x", "not supported"),
        ({}, "/a}b{", "not supported"),
        ({}, "/{id}", "placeholders"),
        ({"parameters": [ID]}, "/x", "placeholders"),
        ({"parameters": [{**ID, "schema": {"type": "array"}}]}, "/{id}", "plain value"),
        ({"parameters": [{**ID, "schema": {"type": "object"}}]}, "/{id}", "plain value"),
        ({"parameters": [{**ID, "style": "matrix"}]}, "/{id}", "not supported"),
        (parameter("cookie", required=True), "/x", "cookie"),
        (parameter("header", "Cookie", required=True), "/x", "belongs to the connection"),
        (parameter("header", "X-Forwarded-For", required=True), "/x", "belongs to"),
        (parameter("header", "customhouse_call", required=True), "/x", "belongs to"),
        (parameter("header", "a\r\nb", required=True), "/x", "belongs to"),
        (parameter("query", required=True, style="deepObject"), "/x", "not supported"),
        ({"servers": [{"url": "https://evil.example"}]}, "/x", "a server of its own"),
        ({"parameters": [{"$ref": "https://evil.example/p.json"}]}, "/x", "nothing is fetched"),
        ({"parameters": [{"$ref": "#/nowhere"}]}, "/x", "leads to nothing"),
        ({"parameters": [{"$ref": "#/paths/~1x/get/parameters/0"}]}, "/x", "back to itself"),
        ({"security": [{"basic": []}]}, "/x", "not a bearer token"),
        ({"security": [{"query": []}]}, "/x", "not a bearer token"),
        ({"security": [{"key": [], "token": []}]}, "/x", "not a bearer token"),
        ({"security": [{"nobody": []}]}, "/x", "not a bearer token"),
    ],
)
def test_an_operation_that_cannot_be_called_as_it_is_meant_is_left_out(
    operation: dict[str, Any], path: str, why: str
) -> None:
    assert why in only(operation, path, components=SCHEMES).left_out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"multipart/form-data": {}}, "its body is not JSON"),
        ({"application/json\r\nX-Evil: 1": {}}, "its body is not JSON"),
        ({"text/json; charset=x": {}}, "its body is not JSON"),
    ],
)
def test_a_body_that_is_not_json_is_left_out_when_it_is_needed(content: Any, why: str) -> None:
    needed = {"requestBody": {"required": True, "content": content}}
    assert only(needed, method="post").left_out == why
    assert not only({"requestBody": {"content": content}}, method="post").left_out


SCHEMES = {
    "securitySchemes": {
        "basic": {"type": "http", "scheme": "basic"},
        "token": {"type": "http", "scheme": "Bearer"},
        "login": {"type": "oauth2", "flows": {}},
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "raw": {"type": "apiKey", "in": "header", "name": "Authorization"},
        "host": {"type": "apiKey", "in": "header", "name": "Host"},
        "query": {"type": "apiKey", "in": "query", "name": "key"},
    }
}
BEARER = {"scheme": "Bearer"}


@pytest.mark.parametrize(
    ("security", "credential"),
    [
        ([{"token": []}], BEARER),
        ([{"login": ["read"]}], BEARER),
        ([{"query": []}, {"key": []}], {"header": "X-Key"}),
        ([{"raw": []}], {}),
        ([{"query": []}, {}], None),
        ([{"host": []}, {}], None),
        ([], None),
        (None, BEARER),
    ],
)
def test_the_document_says_where_the_credential_goes(security: Any, credential: Any) -> None:
    found = only({"security": security} if security is not None else {}, components=SCHEMES)
    binding = json.loads(found.definition)["_meta"]["io.customhouse/openapi"]
    assert binding.get("credential") == credential


@pytest.mark.parametrize("name", ["x-key", "X_KEY", "authorization", "Content_Length"])
def test_no_argument_sets_a_header_that_is_not_its_own(name: str) -> None:
    asked = {**parameter("header", name), "security": [{"key": []}]}
    found = only(asked, components=SCHEMES)
    assert arguments_of(found) == []
    assert "belongs to the connection or to the credential" in found.without[0]


# -- arguments -----------------------------------------------------------------------------------


def test_no_two_arguments_have_one_name() -> None:
    both = {
        "parameters": [
            ID,
            {"in": "query", "name": "id", "schema": TEXT},
            {"in": "header", "name": "id", "schema": TEXT},
        ],
        **body({"properties": {"id": TEXT, "body_id": TEXT, "name": TEXT}}),
    }
    assert arguments_of(only(both, "/x/{id}", "put")) == [
        ("id", "path", "id"),
        ("query_id", "query", "id"),
        ("header_id", "header", "id"),
        ("body_id", "member", "id"),
        ("body_body_id", "member", "body_id"),
        ("name", "member", "name"),
    ]


def test_names_that_models_cannot_write_are_written_otherwise() -> None:
    odd = {"parameters": [*parameter("query", "filter[a b]")["parameters"]]}
    assert arguments_of(only(odd)) == [("filter_a_b", "query", "filter[a b]")]


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"type": "object", "properties": {"a": TEXT}}, {"type": "string"}]},
        {"type": "array", "items": TEXT},
        {"type": "object", "additionalProperties": TEXT, "properties": {"a": TEXT}},
        {"type": ["object", "null"], "properties": {"a": TEXT}},
        True,
        {},
    ],
)
def test_a_body_that_is_not_one_flat_object_is_one_argument(schema: Any) -> None:
    assert arguments_of(only(body(schema), method="post")) == [("body", "body", "")]


def test_the_parameter_of_an_operation_replaces_that_of_its_path() -> None:
    document = {
        "openapi": "3.0.0",
        "paths": {
            "/x": {
                "parameters": [{"in": "query", "name": "q", "schema": {"type": "integer"}}],
                "get": parameter("query", "q"),
            }
        },
    }
    (found,) = read_api(document, writes=False).operations
    assert schema_of(found)["properties"] == {"q": TEXT}


def test_operations_without_an_id_or_with_the_same_one_have_names_of_their_own() -> None:
    operation = {"operationId": "do it"}
    paths = {"/a": {"get": operation, "post": operation}, "/b/{id}": {"get": {"parameters": [ID]}}}
    found = read_api({"openapi": "3.0.0", "paths": paths}, writes=True).operations
    assert [one.name for one in found][::2] == ["do_it", "get_b_id"]
    assert found[1].name.startswith("do_it_")


# -- schemas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "translated"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"enum": ["a"], "nullable": True},
            {"anyOf": [{"enum": ["a"]}, {"type": "null"}]},
        ),
        (
            {"type": "number", "maximum": 9, "exclusiveMaximum": True},
            {"type": "number", "exclusiveMaximum": 9},
        ),
        ({"type": "number", "exclusiveMinimum": 2}, {"type": "number", "exclusiveMinimum": 2}),
        ({"type": "strnig", "minLength": "x", "enum": "a", "pattern": "("}, {}),
        ({"type": "string", "pattern": "^[a-z]+$"}, {"type": "string", "pattern": "^[a-z]+$"}),
        ({"type": "string", "pattern": "(?=a)b"}, {"type": "string"}),
        ({"xml": {}, "example": 1, "discriminator": {}, "default": 2}, {"default": 2}),
        ({"type": "array", "items": {"type": "integer"}},) * 2,
    ],
)
def test_schemas_are_those_of_2020_12(schema: Any, translated: Any) -> None:
    found = schema_of(only({"parameters": [{"in": "query", "name": "q", "schema": schema}]}))
    assert found["properties"]["q"] == translated


def test_a_schema_that_contains_itself_ends_in_a_permissive_one() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#/components/schemas/Tree"}, "value": TEXT},
    }
    reference = {"$ref": "#/components/schemas/Tree"}
    found = only(
        body({"properties": {"tree": reference}}),
        "/x",
        "post",
        components={"schemas": {"Tree": tree}},
    )
    assert schema_of(found)["properties"]["tree"]["properties"] == {
        "left": {"type": "object"},
        "value": TEXT,
    }


def test_a_schema_that_doubles_at_every_step_stays_small() -> None:
    schemas: dict[str, Any] = {
        f"s{n}": {"allOf": [{"$ref": f"#/components/schemas/s{n + 1}"}] * 2} for n in range(40)
    }
    schemas["s40"] = {"type": "string"}
    reference = {"$ref": "#/components/schemas/s0"}
    found = only(
        body({"properties": {"a": reference}}), "/x", "post", components={"schemas": schemas}
    )
    schema_of(found)
    assert len(found.definition) < 100_000


def test_a_deep_schema_ends_in_a_permissive_one() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(90):
        deep = {"type": "array", "items": deep}
    text = json.dumps(schema_of(only(body({"properties": {"a": deep}}), "/x", "post")))
    assert text.count("items") < 15


# -- what many operations refer to ----------------------------------------------------------------


def _sharing(schema: Any, operations: int) -> dict[str, Any]:
    """A document in which each of many operations refers to one *schema*."""
    shared = {"in": "query", "name": "a", "schema": {"$ref": "#/components/schemas/S"}}
    return {
        "openapi": "3.1.0",
        "components": {"schemas": {"S": schema}},
        "paths": {f"/p{n}": {"get": {"parameters": [shared]}} for n in range(operations)},
    }


def _members(**more: Any) -> Any:
    """A schema that says the one at .../S/not a thousand times."""
    return {"anyOf": [{"$ref": "#/components/schemas/S/not"}] * 900, "not": more}


WIDE = {"anyOf": [{"type": "string", "description": "x" * 2_000} for _ in range(900)]}
BOMBS = {
    "a value": (_members(const="x" * 9_999), 1),
    "schemas that say nothing": (_members(anyOf=[True] * 9_999), 2),
    "names": (_members(properties={f"name-{n:09}": {} for n in range(9_999)}), 2),
    "a name, required again and again": (
        _members(properties={"x": {}}, required=["x"] * 9_999),
        1,
    ),
    "keys of no meaning": (_members(**{f"x-{n}": n for n in range(9_999)}), 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_a_small_document_says_many_times_counts_each_time(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.openapi.operations.MAX_LISTING_BYTES", 1_000_000)
    with pytest.raises(BadDocument, match="its tools would hold more than 1000000 bytes"):
        read_api(_sharing(*BOMBS[bomb]), writes=False)


def test_what_is_too_large_is_not_built_before_that_is_known() -> None:
    document = _sharing(WIDE, 60)
    tracemalloc.start()
    try:
        with pytest.raises(BadDocument, match="its tools would hold more than 33554432 bytes"):
            read_api(document, writes=False)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_LISTING_BYTES
    finally:
        tracemalloc.stop()


def test_a_schema_that_many_operations_share_is_written_out_in_each() -> None:
    found = read_api(_sharing(WIDE, 5), writes=False).tools
    assert len(found) == 5
    assert all(len(one.definition) > 1_800_000 for one in found)
