"""One call on the wire: what was sent, what has come back so far, and how it ends.

The connector delivers messages into an `Exchange` from its protocol callbacks; the calling task
reads them out with `conclude`, which relays notifications in order and returns the Outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Protocol

import msgspec

from gateway.domain import refusal
from gateway.domain.asking import Ask
from gateway.domain.model import Call, Outcome, Relay, Status, Usage
from gateway.upstream.message import (
    Message,
    UpstreamFailed,
    broken,
    decode_members,
    progress_token,
    read_error,
    read_status,
    unreachable,
)

PAUSED_S = 900.0  # beyond anything that a person is waited for
# Around the result: envelope, event framing, keep-alive comments of a stream.
FRAMING_BYTES = 65_536


class TooLarge(Exception):
    """More came back than the call may hold; it was cut and is withheld."""


class RelayFailed(Exception):
    """The caller did not take its frames: not the upstream's fault."""


class Interrupted(asyncio.CancelledError):
    """The calling task was cancelled; *outcome* says whether the upstream had been reached."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Asker(Protocol):
    """Who brings a question of an upstream to the caller, durably on both sides of it."""

    async def ask(self, ask: Ask) -> Outcome:
        """What the caller answered: OK with its result, RPC_ERROR with its error, or why nothing.

        Raises: Refused: the caller was not asked; the refusal is in the log.
        """
        ...


Run = Callable[["Exchange"], Awaitable[Outcome]]


class Conversation(Protocol):
    """What a session adds to an exchange whose upstream may ask questions."""

    async def hold(self) -> Outcome:
        """As `conclude`, with the questions on the way answered."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether the upstream waits for an answer."""
        ...

    def withdrawn(self, question_id: bytes) -> None:
        """The upstream does not want the answer to that question any more."""
        ...


class Bounds:
    """What exchanges with one upstream may take, and the clock that ends those which take longer.

    All deadlines of one Bounds are equally far away, so that they pass in the order in which the
    exchanges began: one timer for the oldest is enough, instead of one per call.
    """

    def __init__(self, timeout_s: float, max_message_bytes: int) -> None:
        self.timeout_s = timeout_s
        self.max_message_bytes = max_message_bytes
        self._open: dict[Exchange, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, exchange: Exchange) -> None:
        self._open[exchange] = None
        if self._timer is None:
            self._timer = exchange.loop.call_at(exchange.deadline, self._expire, exchange.loop)

    def release(self, exchange: Exchange) -> None:
        self._open.pop(exchange, None)

    def close(self) -> None:
        """Stop the clock. No exchange is begun afterwards."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for exchange in tuple(self._open):
            if exchange.deadline > now:
                self._timer = loop.call_at(exchange.deadline, self._expire, loop)
                return
            del self._open[exchange]
            exchange.expire()


class Exchange:
    """Made per call by the catalogue, filled by one connector, read by one task."""

    __slots__ = (
        "_bounds",
        "_pauses",
        "asker",
        "began_s",
        "call",
        "ceiling_bytes",
        "conversation",
        "counted",
        "deadline",
        "failure",
        "id",
        "loop",
        "max_wire_bytes",
        "messages",
        "received_bytes",
        "relay",
        "relayed_bytes",
        "sent",
        "waiter",
    )

    def __init__(
        self,
        call: Call,
        relay: Relay,
        bounds: Bounds,
        ceiling_bytes: int,
        asker: Asker | None = None,
    ) -> None:
        """*ceiling_bytes* bounds what the caller gets to see, frames and result together.

        *asker*: None when the caller of this call cannot be asked anything.
        """
        self.began_s = perf_counter()
        self.call = call
        self.relay = relay
        self.asker = asker
        self.conversation: Conversation | None = None  # set by a session that carries questions
        self.ceiling_bytes = ceiling_bytes
        self.max_wire_bytes = ceiling_bytes + FRAMING_BYTES
        if self.max_wire_bytes > bounds.max_message_bytes:
            self.max_wire_bytes = bounds.max_message_bytes
        self.id = b""  # of the JSON-RPC request, raw; also our progress token
        self.sent = False  # the upstream may have seen the request
        self.counted: Usage | None = None  # of a model: what its text came to so far
        self.received_bytes = 0
        self.relayed_bytes = 0
        self.messages: list[Message] = []  # delivered, not yet read
        self.failure: Exception | None = None  # why nothing more will come
        self.waiter: asyncio.Future[None] | None = None
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + bounds.timeout_s  # in the time of the loop
        self._pauses = 0
        self._bounds = bounds
        bounds.watch(self)

    # -- the connector's side ------------------------------------------------

    def count(self, n_bytes: int) -> bool:
        """Count what came back; False (and the exchange fails) when it is more than it may be."""
        self.received_bytes += n_bytes
        if self.received_bytes <= self.max_wire_bytes:
            return True
        self.fail(TooLarge())
        return False

    def deliver(self, message: Message) -> None:
        self.messages.append(message)
        self._wake()

    def fail(self, failure: Exception) -> None:
        """End the exchange, after what was delivered before; the first failure stays."""
        if self.failure is None:
            self.failure = failure
        self._wake()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.sent:
            self.fail(UpstreamFailed(refusal.UPSTREAM_TIMEOUT.id, "no answer before the deadline"))
        else:
            self.fail(unreachable("no connection was ready before the deadline"))

    def again(self) -> None:
        """It is certain that the upstream did not act on the request: it may be sent once more.

        Raises: UpstreamFailed: there is no time left.
        """
        if self.loop.time() >= self.deadline:
            raise UpstreamFailed(refusal.UPSTREAM_TIMEOUT.id, "no answer before the deadline")
        self.messages.clear()
        self.failure = None
        self.conversation = None
        self.sent = False

    # -- while somebody is asked ---------------------------------------------

    def pause(self) -> None:
        """Stop the clock: what a person takes to answer is not the upstream's time."""
        self._pauses += 1
        self._bounds.release(self)
        self.deadline = self.loop.time() + PAUSED_S

    def resume(self) -> None:
        """Once for each pause; after the last the upstream has its whole time again."""
        self._pauses -= 1
        if not self._pauses:
            self.deadline = self.loop.time() + self._bounds.timeout_s
            self._bounds.watch(self)

    def inner(self, relay: Relay, asker: Asker) -> Exchange:
        """An exchange of its own for the same call, with the same bounds."""
        return Exchange(self.call, relay, self._bounds, self.ceiling_bytes, asker)

    # -- the caller's side ---------------------------------------------------

    def take_up(self, payload_bytes: int) -> None:
        """Charge what the caller gets to see against the ceiling. Raises: TooLarge."""
        self.relayed_bytes += payload_bytes
        if self.relayed_bytes > self.ceiling_bytes:
            raise TooLarge

    def end(self, status: Status, code: str = "") -> Outcome:
        """The outcome of an exchange that gave no answer."""
        upstream_s = perf_counter() - self.began_s
        received_bytes = max(self.received_bytes, self.relayed_bytes)
        return Outcome(
            status,
            code=code,
            received_bytes=received_bytes,
            upstream_s=upstream_s,
            sent=self.sent,
            counted=self.counted,
        )

    def close(self) -> None:
        """Release the deadline. The exchange is not used afterwards."""
        self._bounds.release(self)

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def conclude(exchange: Exchange) -> Outcome:
    """Relay what belongs to this call, in order, until its answer; then the Outcome.

    Raises: UpstreamFailed, TooLarge, RelayFailed.
    """
    if exchange.conversation is not None:
        return await exchange.conversation.hold()
    return await until_answered(exchange, _unheard)


async def until_answered(exchange: Exchange, asked: Callable[[Message], None]) -> Outcome:
    """As `conclude`; *asked* is given each request that the upstream makes meanwhile."""
    messages = exchange.messages
    while True:
        while not messages:
            if exchange.failure is not None:
                raise exchange.failure.with_traceback(None)  # it may have ended others, too
            exchange.waiter = exchange.loop.create_future()
            await exchange.waiter
        message = messages.pop(0)
        if not message.method:
            return _outcome(exchange, message)
        if message.id:
            asked(message)
            continue
        frame = _frame_for_caller(exchange, message)
        if frame is not None:
            exchange.take_up(len(frame))
            await pass_on(exchange, frame)


def _unheard(question: Message) -> None:
    """On a wire that cannot say for which call a request is, nobody may answer it."""


async def pass_on(exchange: Exchange, frame: bytes) -> None:
    """To the caller, before the deadline. Raises: RelayFailed."""
    try:
        async with asyncio.timeout_at(exchange.deadline):
            await exchange.relay.notify(frame)
    except Exception as err:  # whatever a relay raises, the call must settle
        raise RelayFailed from err


def _frame_for_caller(exchange: Exchange, message: Message) -> bytes | None:
    """The notification as the caller may see it; None when it is not one for this call."""
    method = message.method
    if not method.startswith("notifications/") or method == "notifications/cancelled":
        return None
    params = bytes(message.params)
    if method == "notifications/progress":
        token = exchange.call.meta.get("progressToken")
        if token is None or progress_token(message) != exchange.id:
            return None
        members = decode_members(params)
        members["progressToken"] = msgspec.Raw(token)
        params = msgspec.json.encode(members)
    tail = b',"params":' + params + b"}" if params else b"}"
    return b'{"jsonrpc":"2.0","method":' + msgspec.json.encode(method) + tail


def _outcome(exchange: Exchange, message: Message) -> Outcome:
    result, error = bytes(message.result), b""
    if message.error and bytes(message.error) != b"null":
        if result:
            raise broken("the answer has both result and error")
        error, status = read_error(message), Status.RPC_ERROR
    else:
        status = read_status(result)
    exchange.take_up(len(result) or len(error))
    upstream_s = perf_counter() - exchange.began_s
    return Outcome(status, result, error, "", exchange.relayed_bytes, upstream_s)
