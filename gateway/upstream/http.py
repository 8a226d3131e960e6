"""Streamable HTTP upstreams of 2026-07-28: exactly one request per call, sent at most once.

    POST /mcp HTTP/1.1
    MCP-Protocol-Version: 2026-07-28
    Mcp-Method: tools/call
    Mcp-Name: add

The answer is one JSON body, or a stream of events of which the last is the answer.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Mapping

from gateway.domain import refusal
from gateway.domain.model import MODERN_VERSION, Outcome, Status
from gateway.upstream.changes import Changes
from gateway.upstream.envelope import modern_request, object_name
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.fetch import BadTarget, Target, parse_target, tls_context
from gateway.upstream.headers import param_lines, routing_lines
from gateway.upstream.listen import Listener
from gateway.upstream.listing import Ask, Introduction, read_introduction
from gateway.upstream.message import (
    METHOD_NOT_FOUND,
    UpstreamFailed,
    broken,
    error_code,
    unreachable,
)
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.spec import HttpTransport

_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class HttpConnector:
    """One upstream. `run` may be called by any number of tasks at once, while `own` runs.

    Raises, when made: BadTarget.
    """

    def __init__(self, server: str, transport: HttpTransport, changed: Callable[[], None]) -> None:
        secret = transport.auth_header_value
        self._transport = transport
        self._target = parse_target(
            transport.url, allow_private=transport.allow_private, carries_secret=bool(secret)
        )
        self._head = _fixed_head(self._target, secret)
        self._ids = itertools.count(1)
        self._pool: ConnectionPool | None = None
        self._listen_pool: ConnectionPool | None = None
        self._changes = Changes(changed)
        self._listener = Listener(server, self.run, self._changes)
        self._ready = asyncio.Event()

    async def own(self) -> None:
        """Read the certificates once, away from the loop; close every connection at the end."""
        try:
            tls = None
            if self._target.tls:
                tls = await asyncio.to_thread(tls_context, self._transport.ca_file)
            # A subscription holds its connection for an hour: calls shall not wait for it.
            self._listen_pool = ConnectionPool(self._target, self._transport.max_connections, tls)
            self._pool = ConnectionPool(self._target, self._transport.max_connections, tls)
            self._ready.set()
            await self._listener.listen()
        finally:
            pools, self._pool, self._listen_pool = (self._pool, self._listen_pool), None, None
            self._ready.set()
            self._changes.close()
            for pool in pools:
                if pool is not None:
                    pool.close()

    async def introduce(self, ask: Ask) -> Introduction:
        """Ask the server who it is. Raises: UpstreamFailed."""
        outcome = await ask("server/discover", {})
        if outcome.status is Status.RPC_ERROR:
            code = error_code(outcome.error)
            if code == METHOD_NOT_FOUND:
                return Introduction(MODERN_VERSION)
            raise broken(f"server/discover is answered with error {code}")
        introduction = read_introduction(MODERN_VERSION, outcome.result)
        if introduction.announces_changes:
            self._listener.announced()
        return introduction

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed.

        A request that was written is never written again: what the upstream did with it before
        its connection ended is unknown.
        """
        if self._transport.auth_missing:
            sentence = "the configured credential could not be read"
            raise UpstreamFailed(refusal.CREDENTIAL_MISSING.id, sentence)
        if self._pool is None:
            await self._opened(exchange.deadline)
        call = exchange.call
        pool = self._listen_pool if call.method == "subscriptions/listen" else self._pool
        if pool is None:
            raise unreachable("the connector has ended, or could not read its certificates")
        request = self._request(exchange)
        connection = pool.take() or await pool.open(exchange.deadline)
        connection.send(exchange, request)
        try:
            return await conclude(exchange)
        finally:
            connection.abandon(exchange)

    def health(self) -> Mapping[str, int | str]:
        return {
            "connections": self._pool.size if self._pool else 0,
            "listening": int(self._listener.up),
        }

    async def _opened(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready.wait()
        except TimeoutError:
            raise unreachable("the connector was not ready before the deadline") from None

    def _request(self, exchange: Exchange) -> bytes:
        call = exchange.call
        exchange.id = b"%d" % next(self._ids)
        body = modern_request(call, exchange.id, logs=True)
        params = param_lines(call.definition.body, call.arguments) if call.definition else b""
        routing = routing_lines(call.method, object_name(call))
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        return b"".join((self._head, routing, params, length, body))


def _fixed_head(target: Target, secret: str) -> bytes:
    """The part of the head that is the same for every request of this upstream."""
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host_header}",
        "User-Agent: customhouse",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "Accept-Encoding: identity",
        f"MCP-Protocol-Version: {MODERN_VERSION}",
    ]
    if secret:
        if not _FIELD_VALUE.fullmatch(secret):
            raise BadTarget("the credential has characters that a header cannot carry")
        lines.append(f"Authorization: {secret}")
    return "\r\n".join([*lines, ""]).encode("ascii")
