"""HTTP+SSE of 2024-11-05: one stream for everything that the server says, one POST for each message.

    GET /sse                    ->  event: endpoint
                                    data: /messages?session_id=1868a90c
    POST /messages?session_id=  ->  202; the answer comes on the stream

The session ends with its stream.
"""

from __future__ import annotations

import asyncio

from gateway.domain.model import Call, Outcome
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.fetch import BadTarget
from gateway.upstream.message import UpstreamFailed, broken, died
from gateway.upstream.older import POST_S, Aside, OlderSession, Rejected, rejects
from gateway.upstream.origin import Origin, Pools, connected, with_body
from gateway.upstream.sse import MESSAGE
from gateway.upstream.stream import Note, Stream

ENDPOINT = b"endpoint"
MAX_ENDPOINT_BYTES = 4_096
OPEN_S = 10.0  # for the stream to say where messages go


class SseWire:
    """One session's way; usable after `open`, until the stream ends."""

    def __init__(self, origin: Origin, pools: Pools, max_event_bytes: int) -> None:
        self._origin = origin
        self._pools = pools
        self._stream = Stream(self._take, max_event_bytes, self._ended)
        self._connection: Connection | None = None
        self._session: OlderSession | None = None
        self._post_head = b""

    async def open(self, session: OlderSession, deadline: float) -> None:
        """Open the stream and learn where messages go. Raises: UpstreamFailed."""
        self._session = session
        request = self._origin.head("GET", self._origin.target.path) + b"\r\n"
        deadline = min(deadline, asyncio.get_running_loop().time() + OPEN_S)
        sign = self._origin.signed
        self._connection = await self._stream.open(self._pools.streams, request, deadline, sign)
        try:
            async with asyncio.timeout_at(deadline):
                await self._stream.spoken.wait()
        except TimeoutError:
            raise broken("no endpoint event") from None
        if self._stream.failure is not None:
            raise self._stream.failure

    @property
    def listening(self) -> bool:
        return self._stream.up

    async def carry(self, exchange: Exchange, body: bytes, aside: Aside) -> Outcome:
        note = Note(exchange.fail)
        request = with_body(self._post_head, body)
        connection = await connected(self._pools.calls, exchange.deadline)
        connection.send(note, self._origin.signed(request, exchange.call))
        exchange.sent = True
        try:
            return await conclude(exchange)
        except UpstreamFailed as failure:
            if rejects(note.status):
                raise Rejected(note.status, failure) from None
            raise
        finally:
            connection.release(note)

    async def post(self, body: bytes, call: Call | None = None) -> None:
        note = Note()
        deadline = asyncio.get_running_loop().time() + POST_S
        request = with_body(self._post_head, body)
        connection = await connected(self._pools.calls, deadline)
        connection.send(note, self._origin.signed(request, call))
        try:
            await note.taken(deadline)
        finally:
            connection.abandon(note)

    async def listen(self, session: OlderSession) -> None:
        """Hold the stream until the session is over."""
        try:
            await self._stream.over.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.abandon(self._stream)

    def _ended(self, failure: Exception) -> None:
        """With the stream ends the session, and whatever is under way in it."""
        if self._session is not None:
            self._session.fail_all(died(f"the stream of the session ended: {failure}"))
            self._session.end(f"its stream ended: {failure}")

    def _take(self, kind: bytes, text: bytes) -> bool:
        if self._session is not None and self._post_head:
            return kind == MESSAGE and self._session.hear(text)
        if kind != ENDPOINT:
            raise broken("the first event of the stream is not the endpoint")
        self._post_head = self._origin.head("POST", self._endpoint(text))
        return False

    def _endpoint(self, text: bytes) -> str:
        """The path that messages are posted to: of this very origin, whatever the server says."""
        if len(text) > MAX_ENDPOINT_BYTES:
            raise broken(f"an endpoint of {len(text)} bytes")
        try:
            return self._origin.within(text.decode("ascii").strip())
        except (BadTarget, UnicodeDecodeError) as err:
            why = err if isinstance(err, BadTarget) else "it is not ASCII"
            raise broken(f"the endpoint of the stream cannot be used: {why}") from None
