"""uvicorn's HTTP protocol, with one write for one response, and with bounds on what strangers send.

uvicorn writes the head of a response and its body apart. Two small segments cost two system calls
and two wake-ups of the peer, and up to 40 ms where Nagle meets a delayed ACK.

Its parser keeps a head until that is complete, however long that is and takes; so heads are
measured here, before the parser sees them, and connections that ask nothing are closed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.edge.crowd import Crowd, room_here

MAX_HEAD_BYTES = 65_536
MAX_HEAD_LINES = 100
MAX_WAITING_REQUESTS = 64  # pipelined behind the one that is being answered
_PIECE_BYTES = 16_384
_MOST_HELD_BYTES = 65_536
# uvicorn makes one state for each server, and hands it to all protocols of that server.
_crowds: WeakKeyDictionary[ServerState, Crowd] = WeakKeyDictionary()


class _Unbounded(Exception):
    """More of it than there may be; the parser is left on the spot."""


class OneWrite(HttpToolsProtocol):
    """Give it to uvicorn as `http=OneWrite`."""

    _kept_bytes = 0  # fed since the parser last had something to show for it
    _refusal = HTTPStatus.BAD_REQUEST
    _is_turned_away = False
    _unsent_bytes = 1 << 62  # at the last look, once it was closed
    heads = 0
    heads_seen = 0
    idle_sweeps = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self.headers = []  # uvicorn's own are None until the first request begins
        super().connection_made(Held(transport, self.loop))  # type: ignore[arg-type]  # quacks like one
        self._crowd = _crowds.get(self.server_state)
        if self._crowd is None:
            self._crowd = _crowds[self.server_state] = Crowd(room_here())
        if not self._crowd.admit(self, self.client[0] if self.client else ""):
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._crowd is not None:
            self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) <= _PIECE_BYTES:
            self._feed(data)
            return
        # In pieces, so that the parser never holds much more than it may.
        for start in range(0, len(data), _PIECE_BYTES):
            self._feed(data[start : start + _PIECE_BYTES])

    def on_headers_complete(self) -> None:
        if len(self.headers) > MAX_HEAD_LINES:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _Unbounded
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            self._refusal = HTTPStatus.TOO_MANY_REQUESTS
            raise _Unbounded
        self._kept_bytes = 0
        self.heads += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._kept_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        self._turn_away(self._refusal)

    @property
    def is_waiting(self) -> bool:
        return self._is_turned_away or not self._owes_answer

    def tire(self) -> None:
        if self.transport.is_closing():
            unsent_bytes = self.transport.get_write_buffer_size()
            if unsent_bytes >= self._unsent_bytes:  # nobody reads the goodbye
                self.transport.abort()
            self._unsent_bytes = unsent_bytes
        elif self._kept_bytes:
            self._turn_away(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    @property
    def _owes_answer(self) -> bool:
        cycle: Any = self.cycle  # None until there was a request, whatever uvicorn's types say
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    def _feed(self, piece: bytes) -> None:
        """Let the parser see *piece*: what it keeps of it are heads, and trailers of chunks."""
        if self._is_turned_away:
            return
        super().data_received(piece)
        self._kept_bytes += len(piece)
        if self._kept_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEAD_LINES:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _turn_away(self, status: HTTPStatus) -> None:
        """Say no as plain HTTP does, and hang up. Answers that are still owed are not given."""
        self._is_turned_away = True
        if not self._owes_answer:  # else it would be read as the answer to another request
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                % (status, status.phrase.encode())
            )
        self.transport.close()


class Held:
    """A transport that writes at the end of the turn, or earlier when much is waiting."""

    __slots__ = ("_bytes", "_call_soon", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._pieces: list[bytes] = []
        self._bytes = 0

    def write(self, piece: bytes) -> None:
        if not self._pieces:
            self._call_soon(self._flush)
        self._pieces.append(piece)
        self._bytes += len(piece)
        if self._bytes > _MOST_HELD_BYTES:
            self._flush()  # so that a fast stream meets the flow control of the real transport

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            whole = b"".join(self._pieces)
            self._pieces.clear()
            self._bytes = 0
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
