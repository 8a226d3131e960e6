"""Streamable HTTP of 2026-07-28: no session, every request stands for itself.

    POST /mcp HTTP/1.1
    MCP-Protocol-Version: 2026-07-28
    Mcp-Method: tools/call
    Mcp-Name: add

The answer is one JSON body, or a stream of events of which the last is the answer.
"""

from __future__ import annotations

import asyncio
import itertools

import anyio

from gateway.domain import refusal
from gateway.domain.model import MODERN_VERSION, Outcome, Status
from gateway.upstream.changes import Changes
from gateway.upstream.envelope import modern_request, object_name
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.follow import listen_for
from gateway.upstream.headers import param_lines, routing_lines, trace_line
from gateway.upstream.listen import Listener
from gateway.upstream.listing import Ask, Introduction, read_introduction
from gateway.upstream.message import METHOD_NOT_FOUND, UpstreamFailed, error_code
from gateway.upstream.negotiate import offers_modern
from gateway.upstream.older import rejects
from gateway.upstream.origin import Origin, Pools, connected, with_body
from gateway.upstream.post import Post
from gateway.upstream.subscribe import Told


class ModernSession:
    """Of one server that was found to speak it; `over` when it is found not to any more."""

    def __init__(self, server: str, origin: Origin, pools: Pools, changes: Changes) -> None:
        self.over = asyncio.Event()
        self.why = ""
        self.introduction = Introduction(MODERN_VERSION)
        self.is_nameless = False  # it has no server/discover, against the specification
        self._is_in_service = False
        self._server = server
        self._origin = origin
        self._pools = pools
        self._changes = changes
        self._listener = Listener(server, self.run, changes)
        version = f"MCP-Protocol-Version: {MODERN_VERSION}"
        self._head = origin.head("POST", origin.target.path, version)
        self._ids = itertools.count(1)

    @property
    def listening(self) -> bool:
        return self._listener.up

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed.

        A request that was written is never written again: what the upstream did with it before
        its connection ended is unknown.
        """
        call = exchange.call
        listens = call.method == "subscriptions/listen"
        post = Post(exchange)
        request = self._request(exchange)
        pool = self._pools.streams if listens else self._pools.calls
        connection = await connected(pool, exchange.deadline)
        connection.send(post, self._origin.signed(request, call))
        try:
            return await conclude(exchange)
        finally:
            connection.abandon(post)  # in this protocol, closing its connection cancels it
            if post.status >= 400:
                self._doubt(post)

    async def introduce(self, ask: Ask) -> Introduction:
        """Ask the server who it is, again. Raises: UpstreamFailed."""
        try:
            outcome = await ask("server/discover", {})
        except UpstreamFailed as err:
            if err.code == refusal.UPSTREAM_BROKEN.id:
                self.end("server/discover has no answer any more")
            raise
        if not self.introduced(outcome):
            self.end("it does not speak 2026-07-28 any more")
        return self.introduction

    def introduced(self, outcome: Outcome) -> bool:
        """Take up what came of server/discover; False when this is not of this era."""
        if outcome.status is Status.RPC_ERROR:
            return self.is_nameless and error_code(outcome.error) == METHOD_NOT_FOUND
        if not offers_modern(outcome.result):
            return False
        self.introduction = read_introduction(MODERN_VERSION, outcome.result)
        if self.introduction.announces_changes:
            self._listener.announced()
        return True

    async def follow(self, uri: str, told: Told) -> None:
        await listen_for(self._server, self.run, uri, told)

    async def serve(self) -> None:
        """Hear of its changes until it is over."""
        self._is_in_service = True
        async with anyio.create_task_group() as group:
            group.start_soon(self._listener.listen)
            await self.over.wait()
            group.cancel_scope.cancel()

    async def close(self) -> None:
        """There is nothing that the server would have to know."""

    def end(self, why: str) -> None:
        self.why = why
        self.over.set()

    def _doubt(self, post: Post) -> None:
        """Perhaps it is another server now: let it be asked who it is."""
        if self._is_in_service and rejects(post.status) and not post.answered:
            self._changes.noticed()

    def _request(self, exchange: Exchange) -> bytes:
        call = exchange.call
        exchange.id = b"%d" % next(self._ids)
        body = modern_request(call, exchange.id, logs=True)
        params = param_lines(call.definition.body, call.arguments) if call.definition else b""
        routing = routing_lines(call.method, object_name(call))
        return with_body(b"".join((self._head, routing, params, trace_line(call))), body)
