"""What an agent answers: one document, or events until its task is over, or waits for somebody.

{"jsonrpc":"2.0","id":"...","result":{"task":{...}}}        JSON-RPC, also as an event
{"task":{...}}                                              HTTP+JSON, also as an event
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import msgspec

from gateway.domain.a2a import INTERRUPTED, STREAM, TERMINAL, is_message, rpc_error, state_of
from gateway.domain.model import Outcome, Status
from gateway.upstream.exchange import Exchange, TooLarge
from gateway.upstream.message import (
    Ended,
    Message,
    UpstreamFailed,
    broken,
    ended,
    parse,
    read_error,
    single_line,
)
from gateway.upstream.response import Response
from gateway.upstream.sse import MESSAGE

LINGER_S = 1.0  # for a stream to end after what should have been its last event
NOTHING_MORE = b"{}"  # the result of a stream whose every event was passed on as it came
_FAILED = b"error"  # the kind of an event with which HTTP+JSON tells an error


class PeerAnswer:
    """One call, from where its connection sees it."""

    __slots__ = ("_is_rest", "_max_message_bytes", "_response", "exchange")

    def __init__(self, exchange: Exchange, max_message_bytes: int, *, is_rest: bool) -> None:
        self.exchange = exchange
        self._is_rest = is_rest
        self._max_message_bytes = max_message_bytes
        self._response = Response()

    @property
    def max_wire_bytes(self) -> int:
        return self.exchange.max_wire_bytes

    def begun(self) -> None:
        self.exchange.sent = True

    def headed(self, response: Response) -> bool:
        self._response = response
        if response.status == 401 or 300 <= response.status < 400:
            raise response.failure()
        if response.status >= 300 or response.events is None:
            # Whatever type the body is said to be of, it is one document, which ends with the body.
            response.is_json, response.events = True, None
        return False

    def count(self, n_bytes: int) -> bool:
        return self.exchange.count(n_bytes)

    def take(self, kind: bytes, text: bytes) -> bool:
        if kind not in {MESSAGE, _FAILED}:
            return False
        if self._max_message_bytes and len(text) > self._max_message_bytes:
            self.exchange.fail(TooLarge())
            return True
        message = self._plain(kind, text) if self._is_rest else self._enveloped(text)
        self.exchange.deliver(message)
        if self._response.events is None:
            self.exchange.fail(ended())
        return bool(message.error) or self._response.events is None

    def fail(self, failure: Exception) -> None:
        self.exchange.fail(failure)

    def _enveloped(self, text: bytes) -> Message:
        """A JSON-RPC response. Raises: UpstreamFailed: it is none, or of another request."""
        refused = self._response.status >= 400
        try:
            message = parse(text)
        except UpstreamFailed as err:
            raise (self._response.failure() if refused else err) from None
        unread = bool(message.error) and bytes(message.id) in {b"", b"null"}
        if message.method or not (unread or bytes(message.id) == self.exchange.id):
            raise broken("the answer is for another request")
        if refused and not message.error:
            raise self._response.failure()
        if bool(message.result) == bool(message.error):
            raise broken("the answer has not one of result and error")
        return message

    def _plain(self, kind: bytes, text: bytes) -> Message:
        """The body, or an event, of HTTP+JSON. Raises: UpstreamFailed."""
        said = _read(text or b"{}")
        if self._response.status >= 400 or kind == _FAILED:
            error = rpc_error(self._response.status, said)
            if error is None:
                raise self._response.failure()
            return Message(error=msgspec.Raw(msgspec.json.encode(error)))
        return Message(result=msgspec.Raw(single_line(text) if said else b"{}"))


async def next_event(exchange: Exchange, *, may_be_over: bool) -> Message | None:
    """What comes next, or None: the stream is over.

    *may_be_over*: what came before was the last, by what it says; it is waited for a moment.
    Raises: UpstreamFailed, TooLarge.
    """
    until_s = exchange.loop.time() + LINGER_S if may_be_over else None
    while not exchange.messages:
        if exchange.failure is not None:
            if may_be_over or isinstance(exchange.failure, Ended):
                return None
            raise exchange.failure.with_traceback(None)
        exchange.waiter = exchange.loop.create_future()
        try:
            async with asyncio.timeout_at(until_s):
                await exchange.waiter
        except TimeoutError:
            return None
    return exchange.messages.pop(0)


def says_last(method: str, event: Any) -> bool:
    """Whether *event* should be the last of a stream (s9.4.2): over, or waiting for somebody."""
    state = state_of(event)
    if is_message(event) or state in TERMINAL:
        return True
    # A stream may begin with the task as it waits; whoever subscribes wants to see it go on.
    return method == STREAM and state in INTERRUPTED and "statusUpdate" in event


def read_event(message: Message) -> dict[str, Any]:
    """Raises: UpstreamFailed: it is no object."""
    event = _read(bytes(message.result))
    if not isinstance(event, dict):
        raise broken("an event is not an object")
    return event


def concluded(exchange: Exchange, result: bytes, status: Status = Status.OK) -> Outcome:
    """The outcome of a call that was answered with *result*. Raises: TooLarge."""
    exchange.take_up(len(result))
    return _outcome(exchange, status, result=result)


def refused(exchange: Exchange, message: Message) -> Outcome:
    """The outcome of a call that was answered with an error. Raises: UpstreamFailed, TooLarge."""
    error = read_error(message)
    exchange.take_up(len(error))
    return _outcome(exchange, Status.RPC_ERROR, error=error)


def _outcome(
    exchange: Exchange, status: Status, result: bytes = b"", error: bytes = b""
) -> Outcome:
    upstream_s = perf_counter() - exchange.began_s
    return Outcome(status, result, error, "", exchange.relayed_bytes, upstream_s)


def _read(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        raise broken(f"expected JSON, got {len(text)} bytes of something else") from None
