"""uvicorn's HTTP protocol with one difference: what one turn of the loop writes leaves as one piece.

uvicorn writes the head of a response and its body apart. Two small segments cost two system calls
and two wake-ups of the peer, and up to 40 ms where Nagle meets a delayed ACK.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HELD_BYTES = 65_536


class OneWrite(HttpToolsProtocol):
    """Give it to uvicorn as `http=OneWrite`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(Held(transport, self.loop))  # type: ignore[arg-type]  # quacks like one


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
