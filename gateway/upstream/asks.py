"""What a server of the handshake era asks in the middle of a call, and the answers that go back.

{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{...}}       from the server
{"jsonrpc":"2.0","id":"q1","result":{"action":"accept","content":{...}}}       to the server

A question is the caller's to answer, so that the clock of the call stands still meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
import msgspec
from anyio.abc import TaskGroup

from gateway.domain import refusal
from gateway.domain.asking import ASKS, MAX_ASKS, Ask, declared
from gateway.domain.model import Outcome, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.upstream.exchange import (
    Asker,
    Exchange,
    RelayFailed,
    TooLarge,
    until_answered,
)
from gateway.upstream.message import (
    METHOD_NOT_FOUND,
    Message,
    UpstreamFailed,
    decode_members,
    single_line,
)

INVALID_REQUEST = -32600
_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603

Reply = Callable[[bytes], Awaitable[None]]
"""Sends one JSON-RPC response to the server, in the session that asked."""


class Asks:
    """The questions of one call's upstream, from the first to the end of the call."""

    def __init__(self, exchange: Exchange, asker: Asker, reply: Reply) -> None:
        self._exchange = exchange
        self._asker = asker
        self._reply = reply
        self._group: TaskGroup | None = None
        self._asked = 0
        self._open: dict[bytes, anyio.CancelScope] = {}  # by id, as the server wrote it

    @property
    def waiting(self) -> bool:
        """Whether the server waits for an answer in this call: then it is not what goes on."""
        return bool(self._open)

    async def hold(self) -> Outcome:
        """Raises: UpstreamFailed, TooLarge, RelayFailed."""
        failure: UpstreamFailed | TooLarge | RelayFailed
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                return await until_answered(self._exchange, self._asks)
            except (UpstreamFailed, TooLarge, RelayFailed) as err:
                failure = err  # raised outside, or the group would wrap it
            finally:
                group.cancel_scope.cancel()
        raise failure

    def withdrawn(self, question_id: bytes) -> None:
        scope = self._open.get(question_id)
        if scope is not None:
            scope.cancel()

    def _asks(self, question: Message) -> None:
        question_id = bytes(question.id)
        if self._group is None or question_id in self._open:
            return  # the second of one id could not be told from the first
        self._open[question_id] = anyio.CancelScope()
        self._group.start_soon(self._one, question_id, question)

    async def _one(self, question_id: bytes, question: Message) -> None:
        self._exchange.pause()
        try:
            with self._open[question_id]:
                answer = await self._answer(question)
                await self._reply(response(question_id, answer))
        finally:
            del self._open[question_id]
            self._exchange.resume()

    async def _answer(self, question: Message) -> bytes:
        """The member of the response that answers: `"result":...` or `"error":...`, raw."""
        self._asked += 1
        if question.method not in ASKS:
            return NOT_OFFERED
        if self._asked > MAX_ASKS:
            return error(_INTERNAL_ERROR, f"more than {MAX_ASKS} requests in one call")
        try:
            params = decode_members(question.params or b"{}")
        except msgspec.MsgspecError:
            return error(_INVALID_PARAMS, "params must be an object")
        ask = Ask(question.method, {key: bytes(raw) for key, raw in params.items()})
        try:
            return told(await self._asker.ask(ask))
        except Refused as refused:
            return self._not_asked(ask, refused)

    def _not_asked(self, ask: Ask, refused: Refused) -> bytes:
        """To the server all refusals are one: limits and rules of the caller are not its business."""
        if refused.refusal is not refusal.NOT_ASKABLE:
            return error(_INTERNAL_ERROR, "the caller cannot be asked now")
        modes = declared(self._exchange.call.client.capabilities).get(ASKS[ask.method], ())
        if ask.method == "elicitation/create" and modes and ask.mode not in modes:
            return error(_INVALID_PARAMS, "this client does not support the mode")
        return NOT_OFFERED


def going_on(in_flight: Iterable[Exchange]) -> Exchange | None:
    """The one call of a session's caller that does not wait for an answer; None if unclear."""
    here = [held for held in in_flight if held.conversation is not None]
    found = [held for held in here if held.conversation and not held.conversation.waiting] or here
    return found[0] if len(found) == 1 else None  # one that waits may ask once more


def withdraw(in_flight: Iterable[Exchange], question_id: bytes) -> None:
    """The server does not want the answer to that question any more, whichever call it was in."""
    for exchange in in_flight:
        if exchange.conversation is not None:
            exchange.conversation.withdrawn(question_id)


def response(question_id: bytes, answer: bytes) -> bytes:
    """One line, whatever the caller put between the tokens of its answer."""
    return single_line(b'{"jsonrpc":"2.0","id":%b,%b}' % (question_id, answer))


def error(code: int, message: str) -> bytes:
    return b'"error":' + msgspec.json.encode({"code": code, "message": message})


NOT_OFFERED = error(METHOD_NOT_FOUND, "not offered by this client")
NOT_TIED = error(INVALID_REQUEST, "it cannot be said to which call this request belongs")


def told(outcome: Outcome) -> bytes:
    """What the server gets to know of what came of its question."""
    if outcome.status is Status.OK:
        return b'"result":' + outcome.result
    if outcome.status is Status.RPC_ERROR:
        return b'"error":' + outcome.error
    if outcome.code == refusal.NOT_SUPPORTED_ACROSS_ERAS.id:
        return NOT_OFFERED
    row = BY_ID.get(outcome.code, refusal.UNANSWERED)
    return error(_INTERNAL_ERROR, f"no answer: {row.id}")
