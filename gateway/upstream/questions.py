"""Questions that travel in results (2026-07-28), and what a server is told of whom it may ask.

{"resultType":"input_required","inputRequests":{"name":{"method":"elicitation/create","params":{...}}}}

A server that asks what it may not has its call ended: the caller sees none of the question.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from gateway.domain import refusal
from gateway.domain.asking import ACROSS_ERAS, ASKS, Ask, problem_of, without_others
from gateway.domain.model import Call, Outcome, Status

_NOTHING = (b"", b"{}")
_ASKING = {"tasks/get": Status.OK}  # what a task asks for is beside its status


class _Question(msgspec.Struct):
    method: str
    params: dict[str, msgspec.Raw] | None = None


class _Result(msgspec.Struct):
    questions: dict[str, _Question] | None = msgspec.field(name="inputRequests", default=None)


_decode = msgspec.json.Decoder(_Result).decode


def as_told(call: Call, requests: frozenset[str]) -> Call:
    """*call* with the capabilities that the server may use: a client that is not asked, cannot be."""
    capabilities = call.client.capabilities
    if capabilities in _NOTHING:
        return call
    allowed = without_others(capabilities, requests)
    if allowed is capabilities:
        return call
    return replace(call, client=replace(call.client, capabilities=allowed))


def checked(outcome: Outcome, call: Call, requests: frozenset[str]) -> Outcome:
    """*outcome*; where it asks for input, only if all of that may be asked of *call*'s client."""
    if outcome.status is not _ASKING.get(call.method, Status.INPUT_REQUIRED):
        return outcome
    code = _refusal_of(outcome.result, call, requests)
    if not code:
        return outcome
    return replace(outcome, status=Status.FAILED, result=b"", code=code)


def _refusal_of(result: bytes, call: Call, requests: frozenset[str]) -> str:
    try:
        questions = (_decode(result).questions or {}).values()
    except msgspec.MsgspecError:
        return refusal.UPSTREAM_BROKEN.id
    for question in questions:
        params = {key: bytes(raw) for key, raw in (question.params or {}).items()}
        ask = Ask(question.method, params)
        if problem_of(ask, call.client.capabilities, requests):
            return refusal.NOT_ASKABLE.id
        if not call.client.modern and ASKS[question.method] not in ACROSS_ERAS:
            return refusal.NOT_SUPPORTED_ACROSS_ERAS.id
    return ""
