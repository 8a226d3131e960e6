"""One negotiated child: many calls over its two pipes, every message to the call it belongs to.

Nothing in the handshake era says which call a request of the server, or a log message, is for. A
session that callers share offers nothing: sampling, elicitation and roots are refused, and log
messages go nowhere. In a session of one caller they are for its only call that is going on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from enum import Enum

import msgspec

from gateway.domain.asking import ASKS
from gateway.domain.model import Outcome
from gateway.upstream.asks import NOT_OFFERED, NOT_TIED, Asks, going_on, response, withdraw
from gateway.upstream.changes import Dam
from gateway.upstream.child import Child
from gateway.upstream.envelope import legacy_request, modern_request, notification
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.follow import ACKNOWLEDGED, UPDATED, read_head, tell_followers
from gateway.upstream.message import (
    Message,
    UpstreamFailed,
    broken,
    cancelled_id,
    died,
    parse,
    progress_token,
    single_line,
    unreachable,
)
from gateway.upstream.subscribe import Told

MAX_BAD_LINES = 100  # in a row: banners and prints are ignored, noise is not a server
MAX_ABANDONED = 1024
# The specification forbids cancelling what opens the conversation.
_NOT_CANCELLED = frozenset({"initialize", "server/discover"})


class Era(Enum):
    MODERN = "modern"  # 2026-07-28
    LEGACY = "legacy"  # 2025-11-25 and before


class Session:
    """Talks to one child from its start to its end."""

    child: Child  # from `started` on

    def __init__(self, changed: Callable[[], None], offer: bytes | None = None) -> None:
        """*offer*: what its one caller can be asked, as capabilities; None when callers share it."""
        self.era = Era.MODERN
        self.offer = offer
        self.over = asyncio.Event()
        self.why = ""  # it ended
        self.answered = 0
        self.dropped = 0  # answers that nobody waits for
        self.bad_lines = 0
        self._changed = changed
        self._ids = itertools.count(1)
        self._in_flight: dict[bytes, Exchange] = {}
        self._abandoned: dict[bytes, None] = {}  # cancelled or expired: a late answer is no offence
        self._bad_in_a_row = 0
        self.followed: dict[str, Told] = {}  # by URI, in the handshake era
        self._dam = Dam(lambda for_s: self.child.rest(for_s))

    # -- for the connector ---------------------------------------------------

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        exchange.id = request_id = b"%d" % next(self._ids)
        line = self._request(exchange)
        if self.over.is_set() or not self.child.write(line):
            raise unreachable("the server is gone or does not read its input")
        exchange.sent = True
        self._in_flight[request_id] = exchange
        if self._hears_questions and exchange.asker is not None:
            exchange.conversation = Asks(exchange, exchange.asker, self._reply)
        try:
            return await conclude(exchange)
        finally:
            if self._in_flight.pop(request_id, None) is not None:
                self._abandon(request_id, exchange.call.method)

    def tell(self, line: bytes) -> None:
        """Send one notification or request of ours whose answer does not matter."""
        self.child.write(line)

    def next_id(self) -> bytes:
        """An id for a request whose answer does not matter."""
        request_id = b"%d" % next(self._ids)
        self._abandoned[request_id] = None
        return request_id

    # -- child.Listener ------------------------------------------------------

    def started(self, child: Child) -> None:
        self.child = child

    def line(self, line: bytes) -> None:
        try:
            message = parse(line)
        except UpstreamFailed:
            self._bad_line()
            return
        self._bad_in_a_row = 0
        if message.method and message.id:
            self._asked(message, len(line))
        elif message.method:
            self._notified(message, len(line))
        else:
            self._answered(message, len(line))

    def ended(self, why: str) -> None:
        self._fail_all(died(f"the server ended before its answer: {why}"))
        self.why = why
        self.over.set()

    # -- inside --------------------------------------------------------------

    @property
    def _hears_questions(self) -> bool:
        """In the newest era questions travel in results, and on no other way."""
        return self.offer is not None and self.era is Era.LEGACY

    def _request(self, exchange: Exchange) -> bytes:
        if self.era is Era.MODERN:
            request = modern_request(exchange.call, exchange.id, logs=False)
        else:
            request = legacy_request(exchange.call, exchange.id)
        # A caller's arguments may hold line breaks between their tokens: one line stays one message.
        if b"\n" in request or b"\r" in request:
            request = single_line(request)
        return request + b"\n"

    def _answered(self, message: Message, n_bytes: int) -> None:
        request_id = bytes(message.id)
        exchange = self._in_flight.pop(request_id, None)
        if exchange is not None:
            self.answered += 1
            if exchange.count(n_bytes):
                exchange.deliver(message)
        elif request_id in self._abandoned:
            del self._abandoned[request_id]
        else:
            self.dropped += 1

    def _notified(self, message: Message, n_bytes: int) -> None:
        if message.method == "notifications/progress":
            exchange = self._in_flight.get(progress_token(message))
            if exchange is not None and exchange.count(n_bytes):
                exchange.deliver(message)
            return
        self._dam.word(asyncio.get_running_loop().time())
        if message.method == "notifications/message":
            exchange = going_on(self._in_flight.values())
            if exchange is not None and exchange.count(n_bytes):
                exchange.deliver(message)
        elif message.method == "notifications/cancelled":
            withdraw(self._in_flight.values(), cancelled_id(message))
        elif message.method.endswith("/list_changed"):
            self._changed()
        elif message.method in (ACKNOWLEDGED, UPDATED):
            self._listened(message, n_bytes)

    def _listened(self, message: Message, n_bytes: int) -> None:
        """What came of a subscription of ours, to the request of it or to who followed it."""
        head = read_head(message)
        exchange = self._in_flight.get(head.subscription)
        if exchange is None:
            tell_followers(self.followed, head.uri)
        elif exchange.count(n_bytes):
            exchange.deliver(message)

    def _asked(self, message: Message, n_bytes: int) -> None:
        """A request of the server: pings are answered, questions are for the call they belong to."""
        question_id = bytes(message.id)
        if message.method == "ping":
            self._send(response(question_id, b'"result":{}'))
        elif not self._hears_questions or message.method not in ASKS:
            self._send(response(question_id, NOT_OFFERED))
        elif (exchange := going_on(self._in_flight.values())) is None:
            self._send(response(question_id, NOT_TIED))
        elif exchange.count(n_bytes):
            exchange.deliver(message)

    async def _reply(self, line: bytes) -> None:
        self._send(line)

    def _send(self, line: bytes) -> None:
        if not self.child.write(line + b"\n"):
            self.child.kill("it asks, and does not read the answers")

    def _abandon(self, request_id: bytes, method: str) -> None:
        if self.over.is_set():
            return
        while len(self._abandoned) >= MAX_ABANDONED:
            del self._abandoned[next(iter(self._abandoned))]
        self._abandoned[request_id] = None
        if method not in _NOT_CANCELLED:
            params: dict[str, object] = {
                "requestId": msgspec.Raw(request_id),
                "reason": "cancelled",
            }
            self.child.write(notification("notifications/cancelled", params))

    def _bad_line(self) -> None:
        self.bad_lines += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= MAX_BAD_LINES:
            self._fail_all(broken(f"{MAX_BAD_LINES} lines in a row are not JSON-RPC"))
            self.child.kill("it does not speak JSON-RPC")

    def _fail_all(self, failure: UpstreamFailed) -> None:
        in_flight, self._in_flight = self._in_flight, {}
        for exchange in in_flight.values():
            exchange.fail(failure)
