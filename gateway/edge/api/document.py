"""The document of the API, OpenAPI 3.1, made from the table of routes: it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.domain.model import Act
from gateway.edge.api.request import query_shape
from gateway.edge.api.routes import PARTS, PREFIX, ROUTES, Route
from gateway.edge.api.shapes import PROBLEM, Shape

_ETAG = {"description": "The state that was answered.", "schema": {"type": "string"}}
_PROBLEMS = {
    "400": "The request makes no sense, or the cursor is of another list.",
    "401": "No credential, or none that is good.",
    "403": "Policy does not allow it.",
    "404": "There is nothing of this name that the asker may see.",
    "429": "Too much in a short time.",
    "503": "Not at this moment.",
}
_OF_CHANGES = {
    "409": "Something is so already.",
    "413": "The body is too large.",
    "415": "The body is not plain JSON.",
    "422": "What it would put in force is not valid.",
}
_OF_GUARDED = {"412": "The resource has changed since.", "428": "If-Match is missing."}
_ABOUT = (
    "Administration of a Customhouse gateway. Each request is decided by policy: `read` or `admin`"
    " on `admin/<noun>`, named at each operation; a right in one tenant shows that tenant, a right"
    " in `*` all of them. Requests and refusals are entries of the log."
)


def document(version: str) -> dict[str, Any]:
    """The whole document, for the gateway of this *version*."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.verb.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Customhouse", "version": version, "description": _ABOUT},
        "security": [{"credential": []}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "credential": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of an agent, or a token of an issuer: as at /mcp.",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    whole = "; in every tenant (`*`)" if route.of_house else ""
    said: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.about,
        "description": f"Needs `{route.act}` on `admin/{route.noun}`{whole}.",
        "tags": [route.noun],
        "parameters": list(_parameters(route)),
        "responses": _responses(route),
    }
    if route.body is not None:
        said["requestBody"] = {
            "required": bool(route.body["required"]),
            "content": {"application/json": {"schema": route.body}},
        }
    return said


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for part, pattern in PARTS.items():
        if f"{{{part}}}" in route.path:
            shape: Shape = {"type": "string", "pattern": f"^{pattern}$"}
            yield {"name": part, "in": "path", "required": True, "schema": shape}
    for name, param in route.parameters.items():
        yield {
            "name": name,
            "in": "query",
            "required": param.required,
            "description": param.about,
            "schema": query_shape(param),
        }
    if route.guard:
        yield _header("If-Match", f"The ETag of GET {PREFIX}{route.guard}.", required=True)
    elif route.act is Act.READ:
        yield _header("If-None-Match", "The ETag of the answer before.", required=False)


def _header(name: str, about: str, *, required: bool) -> dict[str, Any]:
    shape: Shape = {"type": "string"}
    return {"name": name, "in": "header", "required": required, "description": about, "schema": shape}  # fmt: skip


def _responses(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "Done." if route.act is Act.ADMIN else "Found.",
        "content": {"application/json": {"schema": route.answer}},
    }
    said: dict[str, Any] = {str(route.status): answer}
    problems = dict(_PROBLEMS)
    if route.act is Act.READ:
        answer["headers"] = {"ETag": _ETAG}
        said["304"] = {"description": "It is as If-None-Match says."}
    else:
        problems |= _OF_CHANGES
    problems |= _OF_GUARDED if route.guard else {}
    schema = {"$ref": "#/components/schemas/Problem"}
    said |= {
        status: {"description": text, "content": {"application/problem+json": {"schema": schema}}}
        for status, text in sorted(problems.items())
    }
    return said
