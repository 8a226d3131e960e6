"""Rounds that the gateway makes itself: for a client of the older era, at a server of the newest.

    server   {"resultType":"input_required","inputRequests":{"name":{"method":"elicitation/create",...}}}
    client   is asked on the stream of its call; what it says goes back with the call, made again

Each round is a call to the server with two entries of its own, and so is each question: a call of its
own under the first, as in the older era, and no more of them than there.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import anyio
import msgspec

from gateway.domain.asking import MAX_ASKS, Ask
from gateway.domain.model import Call, Outcome, Reply, Status
from gateway.domain.refusal import (
    BY_ID,
    NOT_SUPPORTED_ACROSS_ERAS,
    TOO_MANY_ROUNDS,
    UNANSWERED,
    UPSTREAM_BROKEN,
    Refused,
)
from gateway.edge.state import MAX_ROUNDS

_STATE, _RESPONSES = "requestState", "inputResponses"
_BREATH_S = 0.25  # before a server that asks nothing, and is not ready, is asked again
_URL, _ID = b'"url"', "elicitationId"  # the older era wants an id where the newest has none

Govern = Callable[[Call], Awaitable[Reply]]
Question = Callable[[Call, Ask], Awaitable[Outcome]]
"""Brings what the server of a call asks to its caller, between two entries."""

_Params = Mapping[str, bytes]


class Unbridged(Exception):
    """The call cannot go on; *refused* is not in the log yet."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.refusal.id)
        self.refused = refused


class _Question(msgspec.Struct):
    method: str
    params: dict[str, msgspec.Raw] = {}


class _Asked(msgspec.Struct):
    questions: dict[str, _Question] | None = msgspec.field(name="inputRequests", default=None)
    state: msgspec.Raw = msgspec.field(name="requestState", default=msgspec.Raw())


async def bridged(reply: Reply, question: Question, govern: Govern) -> Reply:
    """How the call ends that asks for input in *reply*, with what the caller answers.

    Raises: Unbridged. Refused: as `govern`.
    """
    asked_before = 0
    while reply.outcome.status is Status.INPUT_REQUIRED:
        call = reply.call
        if call.round >= MAX_ROUNDS:
            raise Unbridged(Refused(TOO_MANY_ROUNDS, call.id, {"limit": MAX_ROUNDS}))
        asked = _read(reply)
        asked_before += len(asked.questions or ())
        if asked_before > MAX_ASKS:  # before the caller sees any of them
            raise Unbridged(Refused(TOO_MANY_ROUNDS, call.id, {"questions": MAX_ASKS}))
        if not asked.questions:
            if not asked.state:
                raise Unbridged(Refused(NOT_SUPPORTED_ACROSS_ERAS, call.id))
            await anyio.sleep(_BREATH_S)
        answers = await _answers(asked.questions or {}, question, call)
        reply = await govern(_next_round(call, asked, answers))
    return reply


def _read(reply: Reply) -> _Asked:
    try:
        return msgspec.json.decode(reply.outcome.result, type=_Asked)
    except msgspec.MsgspecError:
        raise Unbridged(Refused(UPSTREAM_BROKEN, reply.call.id)) from None


async def _answers(
    questions: Mapping[str, _Question], question: Question, call: Call
) -> dict[str, msgspec.Raw]:
    """One after the other: a person fills in one form at a time."""
    answers: dict[str, msgspec.Raw] = {}
    for key, asked in questions.items():
        params = _as_older({name: bytes(raw) for name, raw in asked.params.items()})
        outcome = await question(call, Ask(asked.method, params))
        if outcome.status is Status.RPC_ERROR:
            detail = {"problem": "the client answered with an error"}
            raise Unbridged(Refused(UNANSWERED, call.id, detail))
        if outcome.status is not Status.OK:
            raise Unbridged(Refused(BY_ID.get(outcome.code, UNANSWERED), call.id))
        answers[key] = msgspec.Raw(outcome.result)
    return answers


def _as_older(params: _Params) -> _Params:
    if params.get("mode") != _URL or _ID in params:
        return params
    return {**params, _ID: msgspec.json.encode(secrets.token_hex(16))}


def _next_round(call: Call, asked: _Asked, answers: Mapping[str, msgspec.Raw]) -> Call:
    params = {key: raw for key, raw in call.params.items() if key not in (_STATE, _RESPONSES)}
    if asked.state:
        params[_STATE] = bytes(asked.state)
    if answers:
        params[_RESPONSES] = msgspec.json.encode(answers)
    return replace(call, params=params, round=call.round + 1)
