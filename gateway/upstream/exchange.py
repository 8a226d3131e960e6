"""One call on the wire: what was sent, what has come back so far, and how it ends.

The connector delivers messages into an `Exchange` from its protocol callbacks; the calling task
reads them out with `conclude`, which relays notifications in order and returns the Outcome.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

import msgspec

from gateway.domain import refusal
from gateway.domain.model import Call, Outcome, Relay, Status
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


@dataclass(frozen=True, slots=True)
class Bounds:
    """What any exchange with one upstream may take."""

    timeout_s: float
    max_message_bytes: int


class Exchange:
    """Made per call by the catalogue, filled by one connector, read by one task."""

    __slots__ = (
        "_failure",
        "_loop",
        "_messages",
        "_timer",
        "_waiter",
        "began_s",
        "call",
        "ceiling_bytes",
        "deadline",
        "id",
        "max_wire_bytes",
        "received_bytes",
        "relay",
        "relayed_bytes",
        "sent",
    )

    def __init__(self, call: Call, relay: Relay, bounds: Bounds, ceiling_bytes: int) -> None:
        """*ceiling_bytes* bounds what the caller gets to see, frames and result together."""
        loop = asyncio.get_running_loop()
        self.began_s = perf_counter()
        self.call = call
        self.relay = relay
        self.ceiling_bytes = ceiling_bytes
        self.max_wire_bytes = ceiling_bytes + FRAMING_BYTES
        if self.max_wire_bytes > bounds.max_message_bytes:
            self.max_wire_bytes = bounds.max_message_bytes
        self.id = b""  # of the JSON-RPC request, raw; also our progress token
        self.sent = False  # the upstream may have seen the request
        self.received_bytes = 0
        self.relayed_bytes = 0
        self.deadline = loop.time() + bounds.timeout_s  # in the time of the event loop
        self._loop = loop
        self._timer = loop.call_later(bounds.timeout_s, self._expire)
        self._messages: list[Message] = []
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        return self._failure is not None

    # -- the connector's side ------------------------------------------------

    def count(self, n_bytes: int) -> bool:
        """Count what came back; False (and the exchange fails) when it is more than it may be."""
        self.received_bytes += n_bytes
        if self.received_bytes <= self.max_wire_bytes:
            return True
        self.fail(TooLarge())
        return False

    def deliver(self, message: Message) -> None:
        self._messages.append(message)
        self._wake()

    def fail(self, failure: Exception) -> None:
        """End the exchange, after what was delivered before; the first failure stays."""
        if self._failure is None:
            self._failure = failure
        self._wake()

    # -- the caller's side ---------------------------------------------------

    async def next(self) -> Message:
        """The next message of the upstream for this call. Raises: the failure that ended it."""
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._messages.pop(0)

    def take_up(self, payload_bytes: int) -> None:
        """Charge what the caller gets to see against the ceiling. Raises: TooLarge."""
        self.relayed_bytes += payload_bytes
        if self.relayed_bytes > self.ceiling_bytes:
            raise TooLarge

    def end(self, status: Status, code: str = "") -> Outcome:
        """The outcome of an exchange that gave no answer."""
        upstream_s = perf_counter() - self.began_s
        received_bytes = max(self.received_bytes, self.relayed_bytes)
        return Outcome(status, b"", b"", code, received_bytes, upstream_s)

    def close(self) -> None:
        """Release the timer. The exchange is not used afterwards."""
        self._timer.cancel()

    def _expire(self) -> None:
        if self.sent:
            self.fail(UpstreamFailed(refusal.UPSTREAM_TIMEOUT.id, "no answer before the deadline"))
        else:
            self.fail(unreachable("no connection was ready before the deadline"))

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def conclude(exchange: Exchange) -> Outcome:
    """Relay what belongs to this call, in order, until its answer; then the Outcome.

    Raises: UpstreamFailed, TooLarge, RelayFailed.
    """
    while True:
        message = await exchange.next()
        if not message.method:
            return _outcome(exchange, message)
        frame = _frame_for_caller(exchange, message)
        if frame is not None:
            exchange.take_up(len(frame))
            await _relay(exchange, frame)


async def _relay(exchange: Exchange, frame: bytes) -> None:
    try:
        async with asyncio.timeout_at(exchange.deadline):
            await exchange.relay.notify(frame)
    except Exception as err:  # whatever a relay raises, the call must settle
        raise RelayFailed from err


def _frame_for_caller(exchange: Exchange, message: Message) -> bytes | None:
    """The notification as the caller may see it; None when it is not one for this call."""
    method = message.method
    if message.id or not method.startswith("notifications/") or method == "notifications/cancelled":
        return None  # a request of the upstream: on this wire nobody may answer it
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
    if message.error:
        if result:
            raise broken("the answer has both result and error")
        error, status = read_error(message), Status.RPC_ERROR
    else:
        status = read_status(result)
    exchange.take_up(len(result) or len(error))
    upstream_s = perf_counter() - exchange.began_s
    return Outcome(status, result, error, "", exchange.relayed_bytes, upstream_s)
