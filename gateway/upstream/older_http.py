"""Streamable HTTP of 2025-03-26 to 2025-11-25: every message is a POST, its answer in the response.

POST initialize             ->  Mcp-Session-Id: 1868a90c, which goes with everything after it
POST tools/call             ->  JSON, or a stream of events of which the last is the answer
POST notifications/...      ->  202
GET, Last-Event-ID: 41      ->  what the server says by itself
DELETE                          at the end
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

import anyio

from gateway.domain.model import Call, Outcome
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.message import UpstreamFailed, broken
from gateway.upstream.older import POST_S, Aside, OlderSession, Rejected, rejects
from gateway.upstream.origin import Origin, Pools, connected, with_body
from gateway.upstream.post import Post
from gateway.upstream.sse import MESSAGE
from gateway.upstream.stream import Note, Stream
from gateway.upstream.subscribe import PAUSE_FIRST_S, PAUSE_MAX_S, STEADY_S

CLOSE_S = 1.0
NOT_ALLOWED = 405  # how a server says that it has no such stream
MAX_SESSION_ID_BYTES = 1024
_SESSION_ID = re.compile(rb"[\x21-\x7e]+")
_EVENT_ID = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class HttpWire:
    """One session's way. Before `agreed` it carries what opens the session, and nothing else."""

    def __init__(self, origin: Origin, pools: Pools, max_event_bytes: int) -> None:
        self._origin = origin
        self._pools = pools
        self._max_event_bytes = max_event_bytes
        self._session_id = b""
        self._lines: tuple[str, ...] = ()
        self._post_head = self._head("POST")
        self._stream: Stream | None = None

    def agreed(self, version: str) -> None:
        """The session is open: from now on everything says which it belongs to."""
        self._lines = (f"MCP-Protocol-Version: {version}",)
        if self._session_id:
            self._lines += (f"Mcp-Session-Id: {self._session_id.decode('ascii')}",)
        self._post_head = self._head("POST")

    @property
    def listening(self) -> bool:
        return self._stream is not None and self._stream.up

    async def carry(self, exchange: Exchange, body: bytes, aside: Aside) -> Outcome:
        post = Post(exchange, aside)
        request = with_body(self._post_head, body)
        connection = await connected(self._pools.calls, exchange.deadline)
        connection.send(post, self._origin.signed(request, exchange.call))
        try:
            outcome = await conclude(exchange)
        except UpstreamFailed as failure:
            if rejects(post.status) and not post.answered:
                raise Rejected(post.status, failure) from None
            raise
        finally:
            connection.abandon(post)
        if rejects(post.status):
            raise Rejected(post.status, outcome)
        if not self._lines:
            self._session_id = _checked(post.response.session_id)
        return outcome

    async def post(self, body: bytes, call: Call | None = None) -> None:
        await self._note(with_body(self._post_head, body), POST_S, call)

    async def close(self) -> None:
        if self._session_id:
            with suppress(UpstreamFailed):
                await self._note(self._head("DELETE") + b"\r\n", CLOSE_S)

    async def listen(self, session: OlderSession) -> None:
        """Hold the stream of what belongs to no call, opening it again after every end."""
        loop = asyncio.get_running_loop()
        pause_s, last_id = PAUSE_FIRST_S, b""
        while True:
            began_s = loop.time()
            stream = self._stream = Stream(_heard_by(session), self._max_event_bytes)
            await self._hold(stream, last_id)
            status, events = stream.response.status, stream.response.events
            if rejects(status):
                # Either there is no such stream, or no such session any more.
                if status != NOT_ALLOWED and not await session.lives():
                    session.end(f"the server does not know the session (HTTP {status})")
                return
            if status and status < 400 and events is None:
                return  # whatever that was, it is no stream
            if loop.time() - began_s >= STEADY_S:
                pause_s = PAUSE_FIRST_S
            wanted_s = 0.0
            if events is not None:
                last_id, wanted_s = events.last_id, (events.retry_ms or 0) / 1000
                session.missed()  # whatever is said while nobody listens
            await anyio.sleep(max(pause_s, wanted_s))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _hold(self, stream: Stream, last_id: bytes) -> None:
        """Until the stream's end. It goes on after the event *last_id*, if the server can."""
        request = self._head("GET")
        if _EVENT_ID.fullmatch(last_id):
            request += b"Last-Event-ID: %b\r\n" % last_id
        deadline = asyncio.get_running_loop().time() + POST_S
        try:
            connection = await stream.open(
                self._pools.streams, request + b"\r\n", deadline, self._origin.signed
            )
        except UpstreamFailed:
            return
        try:
            await stream.over.wait()
        finally:
            connection.abandon(stream)

    async def _note(self, request: bytes, within_s: float, call: Call | None = None) -> None:
        note = Note()
        deadline = asyncio.get_running_loop().time() + within_s
        connection = await connected(self._pools.calls, deadline)
        connection.send(note, self._origin.signed(request, call))
        try:
            await note.taken(deadline)
        finally:
            connection.abandon(note)

    def _head(self, method: str) -> bytes:
        return self._origin.head(method, self._origin.target.path, *self._lines)


def _heard_by(session: OlderSession) -> Callable[[bytes, bytes], bool]:
    def hear(kind: bytes, text: bytes) -> bool:
        return kind == MESSAGE and session.hear(text)

    return hear


def _checked(session_id: bytes) -> bytes:
    """Raises: UpstreamFailed: it cannot go into a header."""
    if len(session_id) > MAX_SESSION_ID_BYTES or (
        session_id and not _SESSION_ID.fullmatch(session_id)
    ):
        raise broken("the session id has characters that a header cannot carry")
    return session_id
