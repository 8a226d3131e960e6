"""One kept connection to a Streamable HTTP upstream: asyncio Protocol on httptools.

It carries one exchange at a time and is never used again after anything unexpected: a byte that
nobody asked for, a second response, a response that was not read to its end.
"""

from __future__ import annotations

import asyncio
import select
from enum import Enum
from typing import Protocol, cast

import httptools

from gateway.domain import refusal
from gateway.upstream.exchange import Exchange
from gateway.upstream.message import Message, UpstreamFailed, broken, died, parse
from gateway.upstream.sse import EventReader

MAX_HEAD_BYTES = 65_536  # of the head, and of whatever else is not body
IDLE_S = 4.0  # uvicorn and Node close after 5 s; a request must never meet a closing connection
MAX_IDLE_S = 60.0
DRAIN_S = 1.0  # for a stream to end after its answer, before the connection is given up
# Linux tells a half-closed peer apart; elsewhere readable says enough.
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class State(Enum):
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"  # the answer is there, the end of the body is not
    CLOSED = "closed"


# Reading a member off an Enum class costs as much as a look-up.
_IDLE, _BUSY, _CLOSED = State.IDLE, State.BUSY, State.CLOSED


class Pool(Protocol):
    """Whom a connection tells what became of it; called from its protocol callbacks."""

    def freed(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Made by `fetch.connect`. The pool sends on IDLE ones; everything else happens here."""

    __slots__ = (
        "_body",
        "_complete",
        "_drain_timer",
        "_events",
        "_exchange",
        "_framed",
        "_head_done",
        "_idle_s",
        "_idle_since",
        "_is_json",
        "_kept",
        "_loop",
        "_not_body_bytes",
        "_parser",
        "_poll",
        "_pool",
        "_problem",
        "_seen_bytes",
        "_status",
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

    def _reset(self, exchange: Exchange | None) -> None:
        self._exchange = exchange
        self._status = 0
        self._problem = ""
        self._is_json = False
        self._events: EventReader | None = None
        self._body: bytes | bytearray = b""
        self._head_done = False
        self._framed = False
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

    def send(self, exchange: Exchange, request: bytes) -> None:
        """Send one whole request in one write. From here on the upstream may have seen it."""
        self._reset(exchange)
        self.state = _BUSY
        exchange.sent = True
        self._transport.write(request)

    def abandon(self, exchange: Exchange) -> None:
        """Cancel *exchange*: in this protocol, closing its connection says so."""
        if self._exchange is exchange:
            self.close()

    def close(self) -> None:
        """Close at once, without sending what is still buffered."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._exchange = None
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
        self._poll.register(transport.get_extra_info("socket").fileno(), wanted)

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
        elif self._exchange is None and self.state is State.BUSY:
            self.state = State.DRAINING
            self._drain_timer = self._loop.call_later(DRAIN_S, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None and self.state is State.BUSY:
            if self._head_done and self._is_json and not self._framed and exc is None:
                self._deliver(bytes(self._body))  # HTTP/1.0 style: the end of the body is the end
            exchange.fail(died("the connection ended before the answer"))
        self.close()

    # -- httptools -----------------------------------------------------------

    def on_message_begin(self) -> None:
        self._unasked = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer
        take = _FIELDS.get(name) or _FIELDS.get(name.lower())
        if take is not None:
            take(self, value)

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:  # 1xx: the real one follows, and nothing of this one counts
            self._problem, self._is_json, self._events, self._framed = "", False, None, False
            return
        self._head_done = True
        exchange = self._exchange
        if exchange is None or exchange.failure is not None:
            self.close()
        elif self._problem:
            self.end(broken(self._problem))
        elif not self._is_json and (self._events is None or self._status >= 300):
            self.end(_by_status(self._status))

    def on_body(self, data: bytes) -> None:
        self._seen_bytes += len(data)
        exchange = self._exchange
        if exchange is None:
            if self._seen_bytes > MAX_HEAD_BYTES:
                self.close()
            return
        if not exchange.count(len(data)):
            self.close()
        elif self._events is not None:
            for text in self._events.feed(data):
                self._deliver(text)
        elif self._body:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        else:
            self._body = data

    def on_message_complete(self) -> None:
        if self._status < 200:
            return
        self._complete = True
        self._kept = self._parser.should_keep_alive()  # only now: the parser forgets
        if self._is_json and self._exchange is not None:
            self._deliver(bytes(self._body))

    # -- inside --------------------------------------------------------------

    def _content_type(self, value: bytes) -> None:
        essence = value.partition(b";")[0].strip().lower()
        self._is_json = essence == b"application/json"
        self._events = EventReader() if essence == b"text/event-stream" else None

    def _content_length(self, value: bytes) -> None:
        self._framed = True  # a second framing is refused by the parser
        exchange = self._exchange
        if exchange is not None and int(value) > exchange.max_wire_bytes:
            exchange.count(exchange.max_wire_bytes + 1)  # as if read up to the bound and cut

    def _transfer_encoding(self, value: bytes) -> None:
        self._framed = True
        if value.strip().lower() != b"chunked":
            self._problem = "the body has an unknown transfer encoding"

    def _content_encoding(self, value: bytes) -> None:
        # We asked for identity. What expands while it is read is a bomb sooner or later.
        if value.strip().lower() != b"identity":
            self._problem = "the body is compressed, which was not asked for"

    def _keep_alive(self, value: bytes) -> None:
        _, found, seconds = value.lower().partition(b"timeout=")
        seconds = seconds.partition(b",")[0].strip()
        if found and seconds.isdigit() and len(seconds) < 6:
            self._idle_s = min(max(float(seconds) - 1.0, 0.0), MAX_IDLE_S)

    def _deliver(self, text: bytes) -> None:
        """One message of this response. The answer ends the exchange, not yet the response."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            message = parse(text)
        except UpstreamFailed as err:
            self.end(err if self._status < 400 else _by_status(self._status))
            return
        answers = not message.method
        if answers and bytes(message.id) != exchange.id and not _refuses_unread(message):
            self.end(broken("the answer is for another request"))
        elif answers and self._status >= 400 and not message.error:
            self.end(_by_status(self._status))
        else:
            exchange.deliver(message)
            if answers:
                self._exchange = None

    def _finish(self) -> None:
        if self.state is _CLOSED:
            return
        if self._exchange is not None:
            self.end(broken("the response ended without an answer"))
        elif self._unasked or not self._kept:
            self.close()
        else:
            if self._drain_timer is not None:
                self._drain_timer.cancel()
                self._drain_timer = None
            self._idle_since = self._loop.time()
            self.state = _IDLE
            self._pool.freed(self)

    def end(self, failure: UpstreamFailed) -> None:
        if self._exchange is not None:
            self._exchange.fail(failure)
        self.close()


_FIELDS = {
    b"content-type": Connection._content_type,
    b"content-length": Connection._content_length,
    b"transfer-encoding": Connection._transfer_encoding,
    b"content-encoding": Connection._content_encoding,
    b"keep-alive": Connection._keep_alive,
}


def _refuses_unread(message: Message) -> bool:
    """An error without an id: the upstream refused the request before it read that far."""
    return bool(message.error) and bytes(message.id) in {b"", b"null"}


def _by_status(status: int) -> UpstreamFailed:
    if status in {401, 403}:
        sentence = f"the upstream refused the gateway's credential (HTTP {status})"
        return UpstreamFailed(refusal.UPSTREAM_REFUSED.id, sentence)
    if 300 <= status < 400:
        return broken(f"HTTP {status}: redirects are not followed; configure the final URL")
    return broken(f"HTTP {status} without a JSON-RPC answer")
