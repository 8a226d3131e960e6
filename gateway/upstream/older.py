"""One negotiated session of the handshake era over HTTP, whichever way its messages travel.

    call            -- Wire.carry -->   answer on the wire, or Rejected (HTTP 4xx)
    word, pong, no  -- Outbox     -->   Wire.post
    heard           <-- Wire.listen     what the server says by itself: pings, changes, answers

Nothing is sent twice but a request that was not executed: see `run`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import anyio
import msgspec

from gateway.domain import refusal
from gateway.domain.asking import ASKS
from gateway.domain.model import Call, Outcome
from gateway.upstream import own
from gateway.upstream.asks import NOT_OFFERED, NOT_TIED, Asks, going_on, response, withdraw
from gateway.upstream.envelope import legacy_request, notification
from gateway.upstream.exchange import Bounds, Exchange
from gateway.upstream.follow import UPDATED, read_head, subscribe_in, tell_followers
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import (
    Message,
    UpstreamFailed,
    cancelled_id,
    parse,
    progress_token,
)
from gateway.upstream.own import own_call
from gateway.upstream.signature import said_in
from gateway.upstream.spec import Offer
from gateway.upstream.subscribe import Told

PING_S = 5.0
PING_BYTES = 65_536
POST_S = 10.0  # for the server to take a message that has no answer
MAX_UNSENT = 256
MAX_BAD = 100  # in a row: noise is not a server
# Said about the request itself, which a server may do without having lost anything.
_ABOUT_THE_REQUEST = frozenset({408, 413, 429})
# The server may still be at work on it, for nobody.
_UNDECIDED = frozenset({refusal.UPSTREAM_TIMEOUT.id, refusal.UPSTREAM_DIED.id})
# The specification forbids cancelling what opens the conversation.
_NOT_CANCELLED = frozenset({"initialize", "ping"})


class Rejected(UpstreamFailed):
    """HTTP 4xx: by its status the server says that it did not act on the request."""

    def __init__(self, status: int, said: Outcome | UpstreamFailed) -> None:
        super().__init__(refusal.UPSTREAM_BROKEN.id, f"HTTP {status}")
        self.status = status
        self.said = said

    def answer(self) -> Outcome:
        """What it said besides, as the end of the call. Raises: UpstreamFailed."""
        if isinstance(self.said, UpstreamFailed):
            raise self.said from None
        return self.said


class SessionLost(UpstreamFailed):
    """The session is over, and the call was not executed: in a new one it may be sent once more."""


Aside = Callable[[Exchange, Message], bool]


class Wire(Protocol):
    """How messages of one session travel."""

    @property
    def listening(self) -> bool:
        """Whether what the server says by itself is heard now."""
        ...

    async def carry(self, exchange: Exchange, body: bytes, aside: Aside) -> Outcome:
        """One request and its answer. Raises: Rejected. UpstreamFailed, TooLarge, RelayFailed.

        *aside* is shown what comes before the answer, if that comes on a stream of its own.
        """
        ...

    async def post(self, body: bytes, call: Call | None = None) -> None:
        """One message that has no answer. Raises: UpstreamFailed.

        *call*: as whose it is signed; None: the gateway's own.
        """
        ...

    async def listen(self, session: OlderSession) -> None:
        """Pass on what the server says by itself, until there is nothing more to hear."""
        ...

    async def close(self) -> None:
        """End a session that the server still knows, and tell it so where there is a word for it."""
        ...


def rejects(status: int) -> bool:
    """Whether *status* says that the request was not executed, for a reason that may be the session."""
    return 400 <= status < 500 and status not in _ABOUT_THE_REQUEST


class Outbox:
    """Messages without an answer, posted one after the other; the newest are dropped when it is full."""

    def __init__(self, post: Callable[[bytes, Call | None], Awaitable[None]]) -> None:
        self._post = post
        self._waiting: deque[tuple[bytes, Call | None]] = deque()
        self._filled = asyncio.Event()

    def put(self, body: bytes, call: Call | None = None) -> None:
        # A server that asks faster than it takes answers goes without some.
        if len(self._waiting) < MAX_UNSENT:
            self._waiting.append((body, call))
            self._filled.set()

    async def work(self) -> None:
        """Post what was put, until cancelled; what the server does not take is lost."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                try:
                    await self._post(*self._waiting.popleft())
                except UpstreamFailed:
                    continue


class OlderSession:
    """`run` may be called by any number of tasks, from the greeting until `over`."""

    def __init__(
        self, server: str, wire: Wire, changed: Callable[[], None], offer: Offer | None
    ) -> None:
        """*offer*: of the one caller whose session it is; None when callers share it."""
        self.over = asyncio.Event()
        self.why = ""  # it ended
        self.introduction = Introduction("")  # set by whoever greets
        self.followed: dict[str, Told] = {}  # by URI
        self._server = server
        self._wire = wire
        self._changed = changed
        self._offer = offer
        self._ids = itertools.count(1)
        self._in_flight: dict[bytes, Exchange] = {}
        self._bad_in_a_row = 0
        self._outbox = Outbox(wire.post)

    # -- for the connector ---------------------------------------------------

    @property
    def listening(self) -> bool:
        return self._wire.listening

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: SessionLost. UpstreamFailed, TooLarge, RelayFailed.

        A 404 ends a session, says the specification; servers in use say 400, 401, 403 or 405 as well,
        and some of these of single requests. So whoever is rejected asks with a ping whether the
        session is still known. If not, the request was not executed: no server acts in a session
        that it does not have. In every other case what was said stands.
        """
        if self.over.is_set():
            raise SessionLost(refusal.UPSTREAM_BROKEN.id, "the session had ended")
        try:
            return await self.once(exchange)
        except Rejected as rejected:
            left_s = exchange.deadline - exchange.loop.time()
            if await self.lives(min(left_s, PING_S)):
                return rejected.answer()
            self.end(f"the server does not know the session (HTTP {rejected.status})")
            raise SessionLost(refusal.UPSTREAM_BROKEN.id, rejected.sentence) from None

    async def once(self, exchange: Exchange) -> Outcome:
        """As `run`, for what opens a session or asks after it. Raises: Rejected, as well."""
        exchange.id = request_id = b"%d" % next(self._ids)
        self._in_flight[request_id] = exchange
        if self._offer is not None and exchange.asker is not None:
            exchange.conversation = Asks(
                exchange, exchange.asker, partial(self._reply, exchange.call)
            )
        is_settled = False
        try:
            body = legacy_request(exchange.call, request_id)
            outcome = await self._wire.carry(exchange, body, self.aside)
            is_settled = True
        except UpstreamFailed as err:
            is_settled = err.code not in _UNDECIDED
            raise
        finally:
            del self._in_flight[request_id]
            if exchange.sent and not is_settled:
                self._cancel(request_id, exchange.call)
        return outcome

    def tell(self, line: bytes, call: Call | None = None) -> None:
        """Send one message whose answer does not matter. *call*: it is said in; None: in none."""
        self._outbox.put(line, said_in(call) if call else None)

    def next_id(self) -> bytes:
        """An id for a request whose answer does not matter."""
        return b"%d" % next(self._ids)

    async def introduce(self, ask: Ask) -> Introduction:
        """Who the server said it was when it was greeted."""
        return self.introduction

    async def follow(self, uri: str, told: Told) -> None:
        await subscribe_in(self, self._server, uri, told)

    async def serve(self) -> None:
        """Be there until the session is over: what is told goes out, what is said is heard."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._outbox.work)
            group.start_soon(self._wire.listen, self)
            await self.over.wait()
            group.cancel_scope.cancel()

    async def close(self) -> None:
        if not self.over.is_set():
            await self._wire.close()
            self.end("the gateway closed it")

    def end(self, why: str) -> None:
        if not self.over.is_set():
            self.why = why
            self.over.set()
            if self.introduction.version:
                self._changed()  # whoever it is next time may have become another

    # -- for the wire --------------------------------------------------------

    def hear(self, text: bytes) -> bool:
        """A message that came on no call's own stream; whether a call waits for it.

        Raises: UpstreamFailed: too much of what comes is none.
        """
        try:
            message = parse(text)
        except UpstreamFailed:
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= MAX_BAD:
                raise
            return False
        self._bad_in_a_row = 0
        if message.method and message.id:
            if not self._settled(message, None):
                self._deliver(going_on(self._in_flight.values()), message, len(text))
        elif message.method and message.method != "notifications/progress":
            if not self._noted(message):
                self._deliver(going_on(self._in_flight.values()), message, len(text))
        else:
            token = bytes(message.id) or progress_token(message)
            return self._deliver(self._in_flight.get(token), message, len(text))
        return False

    def missed(self) -> None:
        """For a while the server could not be heard."""
        self._changed()

    def aside(self, exchange: Exchange, message: Message) -> bool:
        """What came on the stream of *exchange* before its answer; False: it is for the call."""
        if message.id:
            return self._settled(message, exchange)
        return self._noted(message)

    def fail_all(self, failure: UpstreamFailed) -> None:
        """Nothing more will come for the calls that are under way."""
        for exchange in tuple(self._in_flight.values()):
            exchange.fail(failure)

    async def lives(self, within_s: float = PING_S) -> bool:
        """Whether the server still knows this session, or cannot be asked."""
        if self.over.is_set():
            return False
        ping = own_call(self._server, "ping", {})
        try:
            await own.ask(self.once, ping, Bounds(within_s, PING_BYTES))
        except Rejected:
            return False
        except UpstreamFailed:
            return True
        return True

    # -- inside --------------------------------------------------------------

    def _settled(self, question: Message, exchange: Exchange | None) -> bool:
        """Answer a request of the server, but those that are for a call to answer: False."""
        if question.method == "ping":
            answer = b'"result":{}'
        elif self._offer is None or question.method not in ASKS:
            answer = NOT_OFFERED
        elif (exchange or going_on(self._in_flight.values())) is None:
            answer = NOT_TIED
        elif exchange is not None and exchange.conversation is None:
            answer = NOT_OFFERED
        else:
            return False
        self.tell(response(bytes(question.id), answer), exchange.call if exchange else None)
        return True

    def _noted(self, word: Message) -> bool:
        """Take up what is for the session as a whole; False: it is for the call that goes on."""
        if word.method.endswith("/list_changed"):
            self._changed()
        elif word.method == UPDATED:
            tell_followers(self.followed, read_head(word).uri)
        elif word.method == "notifications/cancelled":
            withdraw(self._in_flight.values(), cancelled_id(word))
        elif word.method == "notifications/message":
            return self._offer is None  # nobody's, where callers share the session
        else:
            return False
        return True

    def _deliver(self, exchange: Exchange | None, message: Message, n_bytes: int) -> bool:
        if exchange is None:
            return False
        if exchange.count(n_bytes):
            exchange.deliver(message)
        return True

    async def _reply(self, call: Call, line: bytes) -> None:
        self.tell(line, call)

    def _cancel(self, request_id: bytes, call: Call) -> None:
        if self.over.is_set() or call.method in _NOT_CANCELLED:
            return
        raw = msgspec.Raw(request_id)
        word = notification("notifications/cancelled", {"requestId": raw, "reason": "cancelled"})
        self.tell(word, call)
