"""A client of the handshake era, by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.edge.fakes import Knocker, Response

VERSION = "2025-11-25"


@dataclass
class Older:
    """One session of *who*."""

    who: Knocker
    session: str
    version: str = VERSION

    def headers(self, **over: str | None) -> list[tuple[bytes, bytes]]:
        said: dict[str, str | None] = {
            "mcp_session_id": self.session,
            "mcp_protocol_version": self.version,
        }
        return self.who.headers(**{**said, **over})

    def body(self, method: str, params: Mapping[str, Any] | None = None, id_: Any = 7) -> bytes:
        said: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if id_ is not None:
            said["id"] = id_
        if params is not None:
            said["params"] = params
        return json.dumps(said).encode()

    async def ask(
        self, method: str, params: Mapping[str, Any] | None = None, id_: Any = 7
    ) -> Response:
        return await self.who.raw(self.body(method, params, id_), self.headers())

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> Response:
        return await self.ask(method, params, None)

    async def call(self, name: str, arguments: Any = None, **meta: Any) -> Response:
        params: dict[str, Any] = {"name": name, "arguments": arguments or {}}
        if meta:
            params["_meta"] = meta
        return await self.ask("tools/call", params)


async def initialize(who: Knocker, version: str = VERSION, **over: Any) -> Response:
    params = {
        "protocolVersion": version,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "by hand", "version": "1"},
        **over,
    }
    said = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    return await who.raw(json.dumps(said).encode(), who.headers())


async def session(who: Knocker, version: str = VERSION) -> Older:
    opened = await initialize(who, version)
    older = Older(who, opened.headers["mcp-session-id"], opened.result["protocolVersion"])
    assert (await older.notify("notifications/initialized")).status == 202
    return older
