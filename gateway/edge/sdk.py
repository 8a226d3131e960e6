"""The SDK leg: sessions of the handshake era, and whatever of the newest one is unusual.

The SDK checks envelopes, negotiates versions, keeps sessions and applies cancellation. It never
sees an answer: its one middleware asks the pipeline, and the exchange writes what came of it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import anyio
import msgspec
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import Message, Receive, Scope

from gateway.domain import refusal as no
from gateway.domain.model import Kind
from gateway.domain.refusal import Refusal, Refused
from gateway.edge.answers import Answers
from gateway.edge.errors import INTERNAL_ERROR
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head
from gateway.edge.house import Settings
from gateway.edge.reply import Answer
from gateway.edge.sessions import Owner, owner_of

SESSION_HEADER = b"mcp-session-id"
_EXCHANGE = "customhouse.exchange"
# What the SDK may see. Never the credential; nothing that a caller could take for ours.
_PASSED_ON = frozenset(
    {b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name", SESSION_HEADER}
)
_PARAM_PREFIX = b"mcp-param-"
_ROW_OF_CODE: Mapping[int, Refusal] = MappingProxyType(
    {
        -32700: no.UNPARSABLE,
        -32601: no.UNKNOWN_METHOD,
        -32602: no.BAD_PARAMS,
        -32020: no.HEADER_MISMATCH,
        -32021: no.MISSING_CAPABILITY,
        -32022: no.UNSUPPORTED_VERSION,
    }
)
_ROW_OF_STATUS: Mapping[int, Refusal] = MappingProxyType(
    {404: no.UNKNOWN_SESSION, 503: no.TOO_MANY_STREAMS}
)
_carried: ContextVar[Exchange] = ContextVar("carried")


@dataclass(frozen=True, slots=True)
class Carried:
    """What came back: the pipeline's answer, else the SDK's own; and the session it opened."""

    answer: Answer
    session_id: str


class _Error(msgspec.Struct):
    code: int


class _Failed(msgspec.Struct):
    error: _Error


class SdkLeg:
    def __init__(self, answers: Answers, settings: Settings) -> None:
        self._answers = answers
        server: Server[Any] = Server(
            "customhouse", version=settings.version, get_tool_input_schema=self._input_schema
        )
        server.middleware[:] = [self._govern]  # the only entry; without the SDK's own tracing
        self._transport = StreamableHTTPSessionManager(
            server,
            json_response=True,  # what streams is streamed by the exchange
            session_idle_timeout=None,  # it does not see all that is done in a session
            max_sessions=settings.max_sessions,
            max_request_body_size=settings.max_body_bytes,
        )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Sessions live inside this."""
        async with self._transport.run():
            yield

    async def carry(self, exchange: Exchange, head: Head, body: bytes) -> Carried:
        """Take *exchange* through the SDK; what the SDK refuses by itself is logged, too."""
        said = _Response()
        token = _carried.set(exchange)
        try:
            owner = owner_of(exchange.asked.principal, exchange.asked.endpoint)
            scope = {**_scope("POST", owner, _passed_on(head)), _EXCHANGE: exchange}
            await self._transport.handle_request(scope, _once(body), said.send)
        finally:
            _carried.reset(token)
        answer = exchange.answer
        if answer is None:
            answer = said.answer()
            if answer.is_refusal and not exchange.governed:
                await self._answers.entered(Refused(_row_of(answer)), exchange)
        return Carried(answer, said.header(SESSION_HEADER))

    async def end_session(self, owner: Owner, session_id: str) -> None:
        """Let the SDK forget a session, and stop what runs in it."""
        scope = _scope("DELETE", owner, [(SESSION_HEADER, session_id.encode("latin-1"))])
        await self._transport.handle_request(scope, _once(b""), _Response().send)

    async def _govern(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer every request from the pipeline; notifications were rated before they came here."""
        if ctx.request_id is None:
            return await call_next(ctx)
        exchange = _exchange_of(ctx)
        if ctx.method != "initialize" or exchange.asked.client.modern:
            exchange.answer = await self._answers.answer(exchange)
            return {}
        agreed = await call_next(ctx)
        exchange.negotiated = agreed["protocolVersion"] if isinstance(agreed, dict) else ""
        exchange.answer = await self._answers.answer(exchange)
        if exchange.answer.is_refusal:
            raise MCPError(INTERNAL_ERROR, "refused")  # so that the SDK opens nothing
        return agreed

    def _input_schema(self, name: str) -> Mapping[str, Any] | None:
        """The schema that Mcp-Param headers are checked against: of a tool the caller may see."""
        asked = _carried.get().asked
        place = self._answers.place()
        definition = place.named(name, Kind.TOOL, asked.endpoint, asked.principal)
        if definition is None or not place.snapshot.visible(asked.principal, [definition]):
            return None
        schema = json.loads(definition.body).get("inputSchema")
        return schema if isinstance(schema, dict) else None


@dataclass(slots=True)
class _Response:
    """Collects what the SDK would have answered; every answer in JSON mode is finite."""

    status: int = 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = tuple(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")

    def header(self, name: bytes) -> str:
        return next((v.decode("latin-1") for k, v in self.headers if k.lower() == name), "")

    def answer(self) -> Answer:
        refused = self.status >= 400 or _code_of(self.body) is not None
        return Answer(self.status, self.body, refused)


def _exchange_of(ctx: ServerRequestContext[Any, Any]) -> Exchange:
    """The exchange that carried this request here, if the SDK read the same request as we did."""
    exchange = ctx.request.scope.get(_EXCHANGE) if ctx.request is not None else None
    if not isinstance(exchange, Exchange):
        raise MCPError(INTERNAL_ERROR, "Internal error")
    message = exchange.asked.message
    if (ctx.method, ctx.request_id) != (message.method, message.key):
        raise MCPError(INTERNAL_ERROR, "Internal error")
    return exchange


def _row_of(answer: Answer) -> Refusal:
    by_status = _ROW_OF_STATUS.get(answer.status, no.MALFORMED)
    return _ROW_OF_CODE.get(_code_of(answer.body) or 0, by_status)


def _code_of(body: bytes) -> int | None:
    try:
        return msgspec.json.decode(body, type=_Failed).error.code
    except msgspec.DecodeError:
        return None


def _passed_on(head: Head) -> list[tuple[bytes, bytes]]:
    """Routing headers, stripped: the SDK compares them as they are. A repeated one stays repeated."""
    passed = [
        (name, value.strip(b" \t"))
        for name, value in head.values.items()
        if name in _PASSED_ON or name.startswith(_PARAM_PREFIX)
    ]
    return passed + [pair for pair in passed if pair[0] in head.repeated and pair[0] != b"accept"]


def _scope(method: str, owner: Owner, headers: list[tuple[bytes, bytes]]) -> Scope:
    identity = AccessToken(token="", client_id=json.dumps(owner), scopes=[])
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": None,
        "server": None,
        "user": AuthenticatedUser(identity),  # the SDK binds sessions to it
    }


def _once(body: bytes) -> Receive:
    """The body as it was read already; then nothing, because the exchange watches the caller."""
    rest = [body]

    async def receive() -> Message:
        if not rest:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": rest.pop(), "more_body": False}

    return receive
