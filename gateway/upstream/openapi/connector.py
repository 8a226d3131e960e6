"""A REST API as an upstream: its document is its list of tools, and each call is one request.

The document is read again at every look. What is called is what was approved: the request is made
of the binding in the approved definition (binding.py), not of what the document says by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping

import msgspec

from gateway.domain.model import MODERN_VERSION, Outcome, Status
from gateway.upstream.document import get
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.fetch import Target, parse_target, tls_context
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import (
    METHOD_NOT_FOUND,
    broken,
    decode_members,
    unreachable,
)
from gateway.upstream.openapi.answer import Answer, error_result
from gateway.upstream.openapi.binding import binding_of
from gateway.upstream.openapi.document import MAX_JSON_BYTES, BadDocument, read_document
from gateway.upstream.openapi.operations import read_api
from gateway.upstream.openapi.request import Base, Unsendable
from gateway.upstream.origin import Kept, Origin
from gateway.upstream.spec import HttpTransport, OpenApiTransport
from gateway.upstream.subscribe import Declined, Told

_NOT_OFFERED = msgspec.json.encode({"code": METHOD_NOT_FOUND, "message": "not offered"})


class OpenApiConnector:
    """One API. `run` may be called by any number of tasks at once, while `own` runs.

    Raises, when made: BadTarget.
    """

    def __init__(self, transport: OpenApiTransport) -> None:
        self._transport = transport
        self._kept = Kept(transport.api)
        origin = self._kept.origin
        self._base = Base(origin.target, transport.api.auth_header_value)
        self._document = Document(transport.document, origin)
        self._listed: tuple[bytes, bytes] = (b"", b"")  # digest of a document, and its tools

    async def own(self) -> None:
        """Keep connections for the calls; close them at the end."""
        await self._kept.own()

    async def introduce(self, ask: Ask) -> Introduction:
        """An API has tools and nothing else, and says nothing when they change."""
        return Introduction(MODERN_VERSION, frozenset({"tools"}))

    async def follow(self, uri: str, told: Told) -> None:
        raise Declined(_NOT_OFFERED)  # it has no resources

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        method = exchange.call.method
        if method == "tools/list":
            return await self._list(exchange)
        if method == "tools/call":
            return await self._call(exchange)
        return Outcome(Status.RPC_ERROR, error=_NOT_OFFERED, sent=False)

    def health(self) -> Mapping[str, int | str]:
        return {"connections": self._kept.size}

    async def _list(self, exchange: Exchange) -> Outcome:
        body = await self._document.read(exchange.deadline - exchange.loop.time())
        exchange.sent = True
        digest = hashlib.sha256(body).digest()
        if self._listed[0] != digest:
            tools = await asyncio.to_thread(_tools, body, writes=self._transport.writes)
            self._listed = (digest, tools)
        exchange.take_up(len(self._listed[1]))
        return Outcome(Status.OK, self._listed[1])

    async def _call(self, exchange: Exchange) -> Outcome:
        self._kept.check_credential()
        call = exchange.call
        binding = binding_of(call.definition.body) if call.definition else None
        if binding is None:
            raise unreachable("the tool's definition is not one that was made of a document")
        try:
            arguments = decode_members(call.params.get("arguments", b"{}"))
            request = self._base.request(binding, arguments)
        except Unsendable as no:
            return Outcome(Status.TOOL_ERROR, error_result(str(no)), sent=False)
        answer = Answer(exchange)
        connection = await self._kept.connected(exchange.deadline)
        connection.send(answer, self._kept.origin.signed(request, call))
        try:
            return await conclude(exchange)
        finally:
            connection.abandon(answer)


class Document:
    """Where a document is: a path, or a URL. Raises, when made: BadTarget."""

    def __init__(self, place: HttpTransport | str, api: Origin | None = None) -> None:
        """*api*: whose document it is; the two may be one server, that wants to know who asks."""
        self._file = place if isinstance(place, str) else ""
        self._api = api
        self._target: Target | None = None
        if isinstance(place, HttpTransport):
            self._target = parse_target(
                place.url, allow_private=place.allow_private, carries_secret=False
            )

    async def read(self, within_s: float) -> bytes:
        """The bytes that are there now. Raises: UpstreamFailed."""
        if self._target is None:
            return await asyncio.to_thread(_file_body, self._file)
        tls = await asyncio.to_thread(tls_context) if self._target.tls else None
        sign = self._api.signed if self._api and self._api.holds(self._target) else bytes
        return await get(self._target, tls, most_bytes=MAX_JSON_BYTES, within_s=within_s, sign=sign)


def _file_body(path: str) -> bytes:
    try:
        # Not to hang on a pipe that somebody put there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise unreachable(f"the document cannot be read ({err.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise unreachable("the document is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            body = opened.read(MAX_JSON_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(body) > MAX_JSON_BYTES:
        raise broken(f"the document has more than {MAX_JSON_BYTES} bytes")
    return body


def _tools(body: bytes, *, writes: bool) -> bytes:
    """The answer to tools/list. Raises: UpstreamFailed: the document is none."""
    try:
        api = read_api(read_document(body), writes=writes)
    except BadDocument as err:
        raise broken(f"the OpenAPI document cannot be used: {err}") from None
    return b'{"tools":[' + b",".join(one.definition for one in api.tools) + b"]}"
