"""A REST API with its OpenAPI document, that remembers every request as it came.

python -m tests.servers.pets      prints its port
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

KEY = "pets-are-secret"
PET: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer", "format": "int64"},
        "name": {"type": "string", "minLength": 1},
        "weight": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "nick": {"type": "string", "nullable": True},
        "seen": {"type": "string", "readOnly": True},
        "parent": {"$ref": "#/components/schemas/Pet"},
    },
}
ID = {"name": "petId", "in": "path", "required": True, "schema": {"type": "string"}}
BODY = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}


def document(**more: Any) -> dict[str, Any]:
    """The document of the API; *more* paths are added to it."""
    paths: dict[str, Any] = {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "summary": "Find pets",
                "tags": ["pets"],
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 50}},
                    {
                        "name": "tag",
                        "in": "query",
                        "schema": {"type": "array", "items": {"type": "string"}},
                    },
                    {
                        "name": "sort",
                        "in": "query",
                        "explode": False,
                        "schema": {"type": "array", "items": {"type": "string"}},
                    },
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "addPet",
                "requestBody": {**BODY, "required": True},
            },
        },
        "/pets/{petId}": {
            "parameters": [ID],
            "get": {"operationId": "getPet", "description": "One pet"},
            "put": {"requestBody": BODY},
            "delete": {"operationId": "dropPet"},
        },
        "/answers/{petId}": {
            "parameters": [ID],
            "get": {"operationId": "answer", "security": []},
        },
        **more,
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": "Pet Store", "version": "1.0.0"},
        "servers": [{"url": "/v1"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {"Pet": PET},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


@dataclass
class Asked:
    method: str
    target: str  # path and query as they came
    headers: dict[str, str]
    body: bytes


@dataclass
class Pets:
    """The service: what it says of itself, and what it was asked."""

    described: dict[str, Any] = field(default_factory=document)
    asked: list[Asked] = field(default_factory=list)  # documents are not counted
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/openapi.json", self._describe),
                Route("/moved.json", self._move),
                Route("/v1/answers/{kind}", self._answer),
                Route("/v1/{rest:path}", self._echo, methods=["GET", "POST", "PUT", "DELETE"]),
            ]
        )

    async def _describe(self, request: Request) -> Response:
        return PlainTextResponse(json.dumps(self.described))

    async def _move(self, request: Request) -> Response:
        return RedirectResponse("/openapi.json")

    async def _remember(self, request: Request) -> Asked:
        query = request.scope["query_string"].decode()
        target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        body = await request.body()
        asked = Asked(request.method, target, dict(request.headers), body)
        self.asked.append(asked)
        return asked

    async def _echo(self, request: Request) -> Response:
        asked = await self._remember(request)
        if asked.headers.get("x-api-key") != KEY:
            return JSONResponse({"error": "who are you?"}, 401)
        return JSONResponse({"method": asked.method, "target": asked.target})

    async def _answer(self, request: Request) -> Response:
        await self._remember(request)
        kind = request.path_params["kind"]
        answers: dict[str, Response] = {
            "list": JSONResponse([1, 2]),
            "text": PlainTextResponse("hello"),
            "events": Response(b'{"not": "events"}', media_type="text/event-stream"),
            "lines": Response(b'{\n"a":\n1}', media_type="application/problem+json"),
            "binary": Response(b"\x89PNG\xff", media_type="image/png"),
            "nothing": Response(status_code=204),
            "missing": JSONResponse({"detail": "no such pet"}, 404),
            "broken": PlainTextResponse("oops", 500),
            "elsewhere": RedirectResponse("https://example.com/"),
            "big": PlainTextResponse("x" * 400_000),
            "deep": Response(b"[" * 100_000, media_type="application/json"),
        }
        return answers.get(kind, JSONResponse({"kind": kind}))


@contextmanager
def serving(
    pets: Pets, guard: Callable[[ASGIApp, str], ASGIApp] = lambda app, url: app
) -> Iterator[Pets]:
    """The service on a free port of loopback, in a thread of its own, *guard* in front of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    pets.port = listener.getsockname()[1]
    app = guard(pets.app(), pets.url)
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield pets
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(Pets().app(), log_config=None, lifespan="off", ws="none")
    asyncio.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
