"""One kept connection to an upstream: asyncio Protocol on httptools.

It carries one request at a time and is never used again after anything unexpected: a byte that
nobody asked for, a second response, a response that was not read to its end.
"""

from __future__ import annotations

import asyncio
import select
import socket
from enum import Enum
from typing import Protocol, cast

import httptools

from gateway.upstream.message import UpstreamFailed, broken, died, ended
from gateway.upstream.response import Response
from gateway.upstream.sse import MESSAGE

MAX_HEAD_BYTES = 65_536  # of the head, and of whatever else is not body
IDLE_S = 4.0  # uvicorn and Node close after 5 s; a request must never meet a closing connection
MAX_IDLE_S = 60.0
DRAIN_S = 1.0  # for a stream to end after its answer, before the connection is given up
# Linux tells a half-closed peer apart; elsewhere readable says enough.
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


# A stream may be silent for hours: the kernel finds out within a minute when nobody is there any
# more, and meanwhile whoever translates addresses on the way does not forget it.
_KEEP_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
_KEEP_ALIVE += [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]


class State(Enum):
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"  # the answer is there, the end of the body is not
    CLOSED = "closed"


# Reading a member off an Enum class costs as much as a look-up.
_IDLE, _BUSY, _CLOSED = State.IDLE, State.BUSY, State.CLOSED


class Carried(Protocol):
    """What a request is for. It is told of its response as that comes, from protocol callbacks."""

    @property
    def max_wire_bytes(self) -> int:
        """A body that declares more is not read at all."""
        ...

    def begun(self) -> None:
        """The request is being written: from here on the upstream may have seen it."""
        ...

    def headed(self, response: Response) -> bool:
        """The head is there. True: nothing of the body is wanted. Raises: UpstreamFailed."""
        ...

    def count(self, n_bytes: int) -> bool:
        """So much of the body has come; False: it is more than may come."""
        ...

    def take(self, kind: bytes, text: bytes) -> bool:
        """One message of the body. True: the last that is wanted. Raises: UpstreamFailed."""
        ...

    def fail(self, failure: Exception) -> None:
        """Nothing more will come."""
        ...


class Unread:
    """What wants nothing of a body."""

    def count(self, n_bytes: int) -> bool:
        return True

    def take(self, kind: bytes, text: bytes) -> bool:
        return True


class _Nobody(Unread):
    """What is carried when nobody waits for it any more."""

    max_wire_bytes = MAX_HEAD_BYTES

    def begun(self) -> None:
        return

    def headed(self, response: Response) -> bool:
        return True

    def fail(self, failure: Exception) -> None:
        return


_NOBODY = _Nobody()


class Pool(Protocol):
    """Whom a connection tells what became of it; called from its protocol callbacks."""

    def freed(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Made by `fetch.connect`. The pool sends on IDLE ones; everything else happens here."""

    __slots__ = (
        "_body",
        "_carried",
        "_complete",
        "_drain_timer",
        "_head_done",
        "_idle_s",
        "_idle_since",
        "_kept",
        "_loop",
        "_not_body_bytes",
        "_parser",
        "_poll",
        "_pool",
        "_response",
        "_seen_bytes",
        "_transport",
        "_unasked",
        "state",
    )

    def __init__(self, pool: Pool) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._poll = select.poll()
        self._drain_timer: asyncio.TimerHandle | None = None
        self._idle_since = self._loop.time()
        self._idle_s = IDLE_S
        self.state = State.IDLE
        self._reset(None)

    def _reset(self, carried: Carried | None) -> None:
        self._carried = carried
        self._response = Response()
        self._body: bytes | bytearray = b""
        self._head_done = False
        self._complete = False
        self._kept = False
        self._unasked = False
        self._seen_bytes = 0
        self._not_body_bytes = 0

    # -- the pool's side -----------------------------------------------------

    def usable(self) -> bool:
        """Whether a request sent now meets a connection that the peer has kept open and silent."""
        if self.state is not _IDLE or self._loop.time() - self._idle_since > self._idle_s:
            return False
        return not self._poll.poll(0)  # the end of the peer may be in the kernel, unread by us

    def send(self, carried: Carried, request: bytes) -> None:
        """Send one whole request in one write. From here on the upstream may have seen it."""
        self._reset(carried)
        self.state = _BUSY
        carried.begun()
        self._transport.write(request)

    def abandon(self, carried: Carried) -> bool:
        """Stop waiting for *carried*, by closing; False when its response needs no more waiting."""
        if self._carried is not carried:
            return False
        self.close()
        return True

    def release(self, carried: Carried) -> None:
        """Stop waiting for *carried*, and read its response to the end: it will be a short one."""
        if self._carried is carried:
            self._carried = _NOBODY
            self._drain()

    def rest(self, for_s: float) -> None:
        """Read nothing for a while, so that the peer has to wait, too."""
        if self.state is not State.CLOSED:
            self.pause()
            self._loop.call_later(for_s, self.read_on)

    def pause(self) -> None:
        """Read nothing until `read_on`."""
        if self.state is not State.CLOSED:
            self._transport.pause_reading()

    def read_on(self) -> None:
        if self.state is not State.CLOSED:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close at once, without sending what is still buffered."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._carried = None
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._transport.abort()
        self._pool.lost(self)

    # -- asyncio.Protocol ----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        encrypted = transport.get_extra_info("sslcontext") is not None
        # Under TLS a session ticket may wait to be read: only an end of the peer is a sign.
        wanted = _GONE if encrypted else _GONE | select.POLLIN
        peer = transport.get_extra_info("socket")
        self._poll.register(peer.fileno(), wanted)
        for level, name, value in _KEEP_ALIVE:
            peer.setsockopt(level, name, value)

    def data_received(self, data: bytes) -> None:
        if self.state is not _BUSY and self.state is not State.DRAINING:
            self.close()  # nobody asked: it must not become the answer to the next request
            return
        seen_bytes = self._seen_bytes
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as err:
            self.end(broken(f"not a valid HTTP response: {err}"))
            return
        if self._seen_bytes == seen_bytes:
            self._not_body_bytes += len(data)
            if self._not_body_bytes > MAX_HEAD_BYTES:
                self.end(broken(f"more than {MAX_HEAD_BYTES} bytes of headers"))
        if self._complete:
            self._finish()
        elif self._carried is None and self.state is State.BUSY:
            self.state = State.DRAINING
            self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        carried = self._carried
        if carried is not None and self.state is State.BUSY:
            response = self._response
            if self._head_done and response.is_json and not response.framed and exc is None:
                # HTTP/1.0: the end of the connection is the end.
                self._deliver(MESSAGE, bytes(self._body))
            carried.fail(died("the connection ended before the answer"))
        self.close()

    # -- httptools -----------------------------------------------------------

    def on_message_begin(self) -> None:
        self._unasked = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # else a trailer
            self._response.field(name, value)

    def on_headers_complete(self) -> None:
        response, carried = self._response, self._carried
        response.status = self._parser.get_status_code()
        if response.status < 200:
            response.clear()
            return
        self._head_done = True
        if carried is None:
            self.close()
        elif response.problem:
            self.end(broken(response.problem))
        elif response.content_length > carried.max_wire_bytes:
            carried.count(carried.max_wire_bytes + 1)  # as if read up to the bound and cut
            self.close()
        else:
            self._judge_head(carried, response)

    def on_body(self, data: bytes) -> None:
        self._seen_bytes += len(data)
        carried = self._carried
        if carried is None:
            if self._seen_bytes > MAX_HEAD_BYTES:
                self.close()
            return
        if not carried.count(len(data)):
            self.close()
        elif self._response.events is not None:
            for kind, text in self._response.events.feed(data):
                self._deliver(kind, text)
        elif self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        else:
            self._body = data

    def on_message_complete(self) -> None:
        if not self._head_done:
            return  # of an interim response
        self._complete = True
        self._kept = self._parser.should_keep_alive()  # only now: the parser forgets
        if self._response.is_json and self._carried is not None:
            self._deliver(MESSAGE, bytes(self._body))

    # -- inside --------------------------------------------------------------

    def _drain(self) -> None:
        if self._drain_timer is None:
            self._drain_timer = self._loop.call_later(DRAIN_S, self.close)

    def _judge_head(self, carried: Carried, response: Response) -> None:
        try:
            if carried.headed(response):
                self._carried = None
        except UpstreamFailed as err:
            self.end(err)

    def _deliver(self, kind: bytes, text: bytes) -> None:
        """One message of this response. The answer ends the waiting, not yet the response."""
        carried = self._carried
        if carried is None:
            return
        try:
            if carried.take(kind, text):
                self._carried = None
        except UpstreamFailed as err:
            self.end(err)

    def _finish(self) -> None:
        if self.state is _CLOSED:
            return
        if self._carried is not None:
            self.end(ended())
        elif self._unasked or not self._kept:
            self.close()
        else:
            if self._drain_timer is not None:
                self._drain_timer.cancel()
                self._drain_timer = None
            self._idle_since = self._loop.time()
            told_s = self._response.keep_alive_s
            if told_s is not None:
                self._idle_s = min(max(told_s - 1.0, 0.0), MAX_IDLE_S)
            self.state = _IDLE
            self._pool.freed(self)

    def end(self, failure: UpstreamFailed) -> None:
        if self._carried is not None:
            self._carried.fail(failure)
        self.close()
