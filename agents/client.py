"""The agents' only way to a tool: one connection to the border, with typed answers and typed noes.

    async with connect("http://127.0.0.1:8080/mcp", key) as border:
        for tool in await border.tools():
            print(tool.name)
        result = await border.call("time_get_current_time", {"timezone": "UTC"}, deadline_s=5)

A call ends in one of five ways, and the type says what is known of its effect:

    Result             the server answered; `is_error` when its tool said that it failed
    RefusedByBorder    the border said no: the server was not asked
    Unreachable        there is no border at that address: nothing was sent
    CallFailed         the call crossed the border and went wrong there: it may have taken effect
    NoAnswer           nobody said how it ended, in time or at all: it may have taken effect
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CONNECTION_CLOSED, PARSE_ERROR, CallToolResult

PROTOCOL = "2026-07-28"
DEADLINE_S = 60.0
CONNECT_S = 10.0
MAX_PAGES = 100
CALL_META = "io.customhouse/call"
REFUSAL_META = "io.customhouse/refusal"
RUN_META = "io.customhouse/run"
KEY_META = "io.customhouse/idempotency-key"
HIDDEN = "unknown_object"  # what the border calls everything that must not be told apart

# The border's words for calls that did cross it.
CROSSED = frozenset(
    {
        "upstream_timeout",
        "upstream_broken",
        "upstream_died",
        "upstream_refused",
        "unanswered",
        "outcome_unknown",
        "stopped",
        "result_too_large",
        "outcome_unwritten",
        "fault",
    }
)
_UNREACHABLE, _LOST = -1, -2  # JSON-RPC reserves -32768..-32000; a border's own codes are positive
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool this agent may use, as the border lists it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered. `left` is what remains of the budget: "tokens/day" -> amount."""

    text: str
    is_error: bool
    structured: Any = None
    content: tuple[Mapping[str, Any], ...] = ()  # every block, as MCP JSON
    call_id: str = ""
    left: Mapping[str, int] = field(default_factory=dict)
    run: str = ""


class BorderError(Exception):
    """A call that brought no result. Its text is one sentence that a model can act on."""


class RefusedByBorder(BorderError):
    """The border said no, for the reason *code*; the server was not asked."""

    def __init__(self, sentence: str, machine: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = _text(machine, "code") or HIDDEN
        self.call_id = _text(machine, "call_id")
        self.scope = _text(machine, "scope")
        self.retry_after_ms = _count(machine, "retry_after_ms")
        self.machine = dict(machine)  # limit, remaining, condition, ...: whatever the border adds


class CallFailed(BorderError):
    """The call crossed the border and went wrong: at the server, or on its way back.

    *code* is the border's word; "server_error" stands for the server's own JSON-RPC error, whose
    number is *rpc_code*.
    """

    def __init__(self, sentence: str, code: str, call_id: str = "", rpc_code: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.call_id = call_id
        self.rpc_code = rpc_code


class NoAnswer(BorderError):
    """The connection broke; the border may have acted and its log knows."""


class DeadlinePassed(NoAnswer):
    """The deadline passed first; the border was told to stop waiting, too."""


class Unreachable(BorderError):
    """Nobody listens at the border's address; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Border:
    """An open connection. Made by `connect`; calls may run side by side."""

    _client: Client
    traceparent: str

    async def tools(self, *, deadline_s: float = DEADLINE_S) -> tuple[Tool, ...]:
        """Every tool this agent may use, under the policy of this moment.

        Raises: BorderError.
        """
        found: list[Tool] = []
        cursor: str | None = None
        async with _answered("tools/list", deadline_s):
            for _ in range(MAX_PAGES):
                page = await self._client.list_tools(cursor=cursor)
                found += (Tool(t.name, t.description or "", t.input_schema) for t in page.tools)
                cursor = page.next_cursor
                if cursor is None:
                    return tuple(found)
        raise NoAnswer(f"the list of tools did not end within {MAX_PAGES} pages")

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        deadline_s: float = DEADLINE_S,
        traceparent: str = "",
        run: str = "",
        idempotency_key: str = "",
    ) -> Result:
        """Call tool *name*; *traceparent* (W3C) sets this call into another trace.

        *run* makes it part of a run; "new" of one that the border begins, and the result names.
        A repeated call with the same *idempotency_key* has one effect, and the first one's answer.
        Raises: RefusedByBorder, CallFailed, NoAnswer, Unreachable.
        """
        meta: Any = {"traceparent": _checked(traceparent or self.traceparent)}
        meta |= {k: v for k, v in ((RUN_META, run), (KEY_META, idempotency_key)) if v}
        async with _answered(name, deadline_s):
            answer = await self._client.call_tool(name, dict(arguments), meta=meta)
        machine = _table(answer.meta, REFUSAL_META)
        if answer.is_error and machine:
            raise _no(_said(answer), machine)
        return _result(answer)


@asynccontextmanager
async def connect(url: str, key: str, *, traceparent: str = "") -> AsyncIterator[Border]:
    """Open a connection to the border at *url* as the agent to whom *key* belongs.

    Nothing is sent before the first call. All calls share one trace: that of *traceparent*, or a
    new one. Leave it in the task that entered it.
    Raises: ValueError: *key* or *traceparent* cannot be sent.
    """
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the key must be printable ASCII without blanks")
    trace = _checked(traceparent or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
    left_by: Exception | None = None
    async with (
        httpx2.AsyncClient(
            transport=_Line(),
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
        ) as http,
        # No cache: what an agent may use can change with the next policy.
        Client(streamable_http_client(url, http_client=http), mode=PROTOCOL, cache=None) as client,
    ):
        try:
            yield Border(client, trace)
        except Exception as err:  # noqa: BLE001 - raised below: the task group inside would wrap it
            left_by = err
    if left_by is not None:
        raise left_by


def _answered(what: str, deadline_s: float) -> AbstractAsyncContextManager[None]:
    """What the SDK raises, as the types of this module; bounded by *deadline_s*."""

    @asynccontextmanager
    async def bounded() -> AsyncIterator[None]:
        try:
            with anyio.fail_after(deadline_s):
                yield
        except TimeoutError as err:
            raise DeadlinePassed(f"{what} was not answered within {deadline_s:g} s") from err
        except MCPError as err:
            raise _typed(err) from err
        except (ValueError, RuntimeError) as err:  # the result does not fit protocol or schema
            raise CallFailed(f"the answer to {what} is not valid", "invalid_answer") from err

    return bounded()


def _typed(err: MCPError) -> BorderError:
    machine = _table(err.data, REFUSAL_META)
    if machine:
        return _no(err.message, machine)
    if err.code == _UNREACHABLE:
        return Unreachable(err.message)
    if err.code in (_LOST, CONNECTION_CLOSED, PARSE_ERROR):
        return NoAnswer("the connection to the border broke before it answered")
    return CallFailed(err.message, "server_error", rpc_code=err.code)


def _no(sentence: str, machine: Mapping[str, Any]) -> BorderError:
    code = _text(machine, "code")
    if code in CROSSED:
        return CallFailed(sentence, code, _text(machine, "call_id"))
    return RefusedByBorder(sentence, machine)


def _result(answer: CallToolResult) -> Result:
    ours = _table(answer.meta, CALL_META)
    left = _table(ours, "left")
    return Result(
        text=_said(answer),
        is_error=answer.is_error,
        structured=answer.structured_content,
        content=tuple(
            block.model_dump(mode="json", by_alias=True, exclude_none=True)
            for block in answer.content
        ),
        call_id=_text(ours, "call_id"),
        left={name: amount for name, amount in left.items() if isinstance(amount, int)},
        run=_text(ours, "run"),
    )


def _said(answer: CallToolResult) -> str:
    return "\n".join(block.text for block in answer.content if block.type == "text")


def _checked(traceparent: str) -> str:
    if not _TRACEPARENT.fullmatch(traceparent):
        raise ValueError("a traceparent reads 00-<32 hex>-<16 hex>-<2 hex>")
    return traceparent


def _table(value: Any, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _text(machine: Mapping[str, Any], key: str) -> str:
    value = machine.get(key)
    return value if isinstance(value, str) else ""


def _count(machine: Mapping[str, Any], key: str) -> int:
    value = machine.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


class _Line(httpx2.AsyncBaseTransport):
    """The way to the border. Breaking it is an answer, too.

    The SDK's transport is torn down by the first connection that fails, and takes every other call
    with it; so a failure is handed up as the error response that it amounts to. Proxies of the
    environment are not used: they would see the key.
    """

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as err:
            where = f"{request.url.host}:{request.url.port or request.url.scheme}"
            return _broken(_UNREACHABLE, f"no border answers at {where} ({type(err).__name__})")
        except httpx2.TransportError as err:
            return _broken(_LOST, f"the connection broke ({type(err).__name__})")
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Whole(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Whole(httpx2.AsyncByteStream):
    """A body that ends where the connection broke; what was cut off is then no valid answer."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except httpx2.TransportError:
            return

    async def aclose(self) -> None:
        await self._inner.aclose()


def _broken(code: int, sentence: str) -> httpx2.Response:
    error = {"code": code, "message": sentence}
    return httpx2.Response(502, json={"jsonrpc": "2.0", "id": None, "error": error})
