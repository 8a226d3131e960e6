"""The document of the API: it is valid, and says what the table of routes says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateway.app.operations.looks import LOOKS
from gateway.app.operations.table import OPERATIONS
from gateway.domain.model import Act
from gateway.edge.api.document import document
from gateway.edge.api.routes import PARTS, PREFIX, ROUTES, Route, route_of, routes_at

DOCUMENT = document("1.2.3")
BY_ID = [pytest.param(route, id=route.operation) for route in ROUTES]
# What OpenAPI 3.1 asks of the parts that are used here; all else is refused.
_NAMED = {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9._-]+$"}}
_SCHEMA = {"type": ["object", "boolean"]}
_CONTENT = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "type": "object",
        "required": ["schema"],
        "additionalProperties": False,
        "properties": {"schema": _SCHEMA},
    },
}
_TEXT = {"type": "string", "minLength": 1}
_OPERATION = {
    "type": "object",
    "required": ["operationId", "responses"],
    "additionalProperties": False,
    "properties": {
        "operationId": _TEXT,
        "summary": _TEXT,
        "description": _TEXT,
        "tags": {"type": "array", "items": _TEXT},
        "parameters": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "in", "schema"],
                "additionalProperties": False,
                "properties": {
                    "name": _TEXT,
                    "in": {"enum": ["path", "query", "header"]},
                    "required": {"type": "boolean"},
                    "description": _TEXT,
                    "schema": _SCHEMA,
                },
                "if": {"properties": {"in": {"const": "path"}}},
                "then": {"required": ["required"], "properties": {"required": {"const": True}}},
            },
        },
        "requestBody": {
            "type": "object",
            "required": ["content"],
            "additionalProperties": False,
            "properties": {"required": {"type": "boolean"}, "content": _CONTENT},
        },
        "responses": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[1-5][0-9]{2}$"},
            "additionalProperties": {
                "type": "object",
                "required": ["description"],
                "additionalProperties": False,
                "properties": {"description": _TEXT, "headers": _NAMED, "content": _CONTENT},
            },
        },
    },
}
OPENAPI = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"pattern": r"^3\.1\.[0-9]+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "security": {"type": "array", "items": {"type": "object"}},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "post"]},
                "additionalProperties": _OPERATION,
            },
        },
        "components": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"schemas": _NAMED, "securitySchemes": _NAMED},
        },
    },
}


def operations() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for operation in verbs.values():
            yield path, operation


def schemas(of: Any) -> Iterator[Any]:
    if isinstance(of, list):
        for one in of:
            yield from schemas(one)
    elif isinstance(of, dict):
        for name, one in of.items():
            if name == "schema":
                yield one
            else:
                yield from schemas(one)


def test_the_document_is_openapi() -> None:
    assert not list(jsonschema_rs.validator_for(OPENAPI).iter_errors(DOCUMENT))


def test_every_schema_in_it_is_one() -> None:
    found = [*schemas(DOCUMENT["paths"]), *DOCUMENT["components"]["schemas"].values()]
    assert len(found) > len(ROUTES)
    for schema in found:
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})  # fmt: skip


def test_every_operation_has_an_id_and_path_parameters_of_its_own() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids)) == len(ROUTES)
    for path, operation in operations():
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == {part for part in PARTS if f"{{{part}}}" in path}


@pytest.mark.parametrize("route", BY_ID)
def test_a_route_can_be_carried_out(route: Route) -> None:
    assert route.operation in (LOOKS if route.act is Act.READ else OPERATIONS)
    assert (route.verb == "POST") is (route.act is Act.ADMIN) is (route.body is not None)
    if route.guard:
        assert route_of(route.guard).verb == "GET"


@pytest.mark.parametrize("route", BY_ID)
def test_nothing_is_said_in_two_places(route: Route) -> None:
    parts = {part for part in PARTS if f"{{{part}}}" in route.path}
    assert not parts & {*(route.body or {}).get("properties", {}), *route.parameters}


@pytest.mark.parametrize("route", BY_ID)
def test_a_path_leads_to_one_route_for_each_verb(route: Route) -> None:
    examples = {"name": "shelf", "id": "k0123", "call": "0" * 26, "digest": "0" * 64}
    examples["approval"] = "A-7F3K9QXY"
    there = routes_at(PREFIX + route.path.format(**examples))
    assert [one for one, _ in there if one.verb == route.verb] == [route]


def test_policy_people_are_told_of_every_noun() -> None:
    said = (Path(__file__).parents[3] / "policies" / "README.md").read_text()
    for route in ROUTES:
        assert f"`{route.noun}`" in said
