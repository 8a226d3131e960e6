"""Refusals and failures as the wire says them: the one mapping.

tools/call, listed but refused now      a result with isError true, one sentence for the model
anything else                           a JSON-RPC error
both carry                              {"io.customhouse/refusal": {"code":...,"call_id":...}}
what must not be told apart             -32602 and a call id, nothing else; through call_tool a
                                        result with isError true, for the model chose the name
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.domain.model import Reply, Status
from gateway.domain.refusal import (
    BY_ID,
    INSUFFICIENT_SCOPE,
    RATE_LIMITED,
    UNKNOWN_OBJECT,
    UPSTREAM_BROKEN,
    Refused,
)
from gateway.edge.reply import (
    CALL_META,
    OWN_META_PREFIX,
    SERVER_INFO_META,
    Answer,
    Identification,
    result_frame,
)

REFUSAL_META = "io.customhouse/refusal"
INTERNAL_ERROR = -32603
CANCELLED = -32800
NOT_FOUND = "There is no such tool for you: find its name with search_tools."
NO_ID = b"null"

# MCP 2026-07-28: the code of an error decides the HTTP status, whoever made the error.
_STATUS_OF_CODE: Mapping[int, int] = MappingProxyType(
    {-32700: 400, -32600: 400, -32601: 404, -32602: 400, -32020: 400, -32021: 400, -32022: 400}
)


_STATUS_AT_DOOR: Mapping[str, int] = MappingProxyType(
    {UNKNOWN_OBJECT.id: HTTPStatus.NOT_FOUND, RATE_LIMITED.id: HTTPStatus.TOO_MANY_REQUESTS}
)


class Asking(msgspec.Struct, frozen=True):
    """What an answer must know of the request it answers."""

    id: bytes
    method: str
    modern: bool
    uri: str = ""  # of a resources/read: its refusal says again what was asked (SEP-2164)
    inner: bool = False  # a call through call_tool: its client listed no name of what it calls


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Error(msgspec.Struct):
    code: int


def refused_answer(
    refused: Refused, asking: Asking, own: Identification, left: Mapping[str, int] | None = None
) -> Answer:
    """The answer to a request that the border, or an upstream that failed, says no to."""
    row = refused.shown
    is_hidden = asking.inner and row is UNKNOWN_OBJECT
    if asking.method == "tools/call" and (row.as_result or is_hidden):
        return Answer(HTTPStatus.OK, _refused_result(refused, asking, own, left), is_refusal=True)
    body = _error_frame(asking.id or NO_ID, row.code, refused.say(), _machine(refused), asking.uri)
    if asking.modern:
        return Answer(_STATUS_OF_CODE.get(row.code, row.http_status), body, is_refusal=True)
    told_by_status = row.http_status >= 500 or row is INSUFFICIENT_SCOPE
    status = row.http_status if told_by_status else HTTPStatus.OK
    return Answer(status, body, is_refusal=True)


def door_answer(refused: Refused, message_id: bytes = NO_ID) -> Answer:
    """The answer to a request that is refused before its era matters: plain HTTP semantics."""
    row = refused.shown
    # At the door UNKNOWN_OBJECT means the endpoint itself, and RATE_LIMITED that nothing was read.
    status = _STATUS_AT_DOOR.get(row.id, row.http_status)
    body = _error_frame(message_id or NO_ID, row.code, refused.say(), _machine(refused))
    return Answer(status, body, is_refusal=True)


def failed_answer(reply: Reply, asking: Asking, own: Identification) -> Answer:
    """The answer when the upstream did not give a result: its own error, or what went wrong."""
    outcome = reply.outcome
    if outcome.status is Status.RPC_ERROR:
        error = _not_ours(outcome.error)
        body = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (asking.id, error)
        return Answer(_status_of(error) if asking.modern else HTTPStatus.OK, body)
    row = BY_ID.get(outcome.code, UPSTREAM_BROKEN)
    return refused_answer(Refused(row, reply.call.id), asking, own, reply.settlement.left)


def _not_ours(error: bytes) -> bytes:
    """An upstream's error, raw, but for what it says in the gateway's name."""
    try:
        members = _MEMBERS.decode(error)
        data = _MEMBERS.decode(members["data"])
    except (msgspec.DecodeError, ValueError, KeyError, RecursionError):
        return error  # no data, or none that a client could take for ours
    kept = {key: raw for key, raw in data.items() if not key.startswith(OWN_META_PREFIX)}
    if len(kept) == len(data):
        return error
    return msgspec.json.encode({**members, "data": kept})


def cancelled_answer(asking: Asking) -> Answer:
    """The answer to a request that its caller took back: the older era ends it with one."""
    error = b'{"code":%d,"message":"Request cancelled"}' % CANCELLED
    body = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (asking.id, error)
    return Answer(HTTPStatus.OK, body, is_refusal=True)


def ended_answer() -> Answer:
    """The answer to a request that was open when its session was ended."""
    said = b"Session terminated before the request completed"
    error = b'{"code":%d,"message":"%b"}' % (INTERNAL_ERROR, said)
    body = b'{"jsonrpc":"2.0","id":null,"error":%b}' % error
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, body, is_refusal=True)


def fault_answer(asking: Asking, call_id: str) -> Answer:
    """The answer when the gateway itself broke: nothing of what broke, and where to look."""
    said = "The gateway failed; whether the call took effect is unknown."
    machine = {"code": "fault", "call_id": call_id}
    body = _error_frame(asking.id or NO_ID, INTERNAL_ERROR, said, machine)
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, body, is_refusal=True)


def _refused_result(
    refused: Refused, asking: Asking, own: Identification, left: Mapping[str, int] | None
) -> bytes:
    meta: dict[str, Any] = {REFUSAL_META: _machine(refused)}
    if left is not None:
        meta[CALL_META] = {"call_id": refused.call_id, "left": dict(left)}
    said = NOT_FOUND if refused.shown is UNKNOWN_OBJECT else refused.say()
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": said}],
        "isError": True,
        "_meta": meta,
    }
    if asking.modern:
        result["resultType"] = "complete"
        meta[SERVER_INFO_META] = msgspec.Raw(own.raw)
    return result_frame(asking.id, msgspec.json.encode(result))


def _machine(refused: Refused) -> dict[str, Any]:
    if refused.shown is UNKNOWN_OBJECT:
        return {"call_id": refused.call_id}
    return {**refused.shown_detail, "code": refused.shown.id, "call_id": refused.call_id}


def _error_frame(
    message_id: bytes, code: int, message: str, machine: dict[str, Any], uri: str = ""
) -> bytes:
    data: dict[str, Any] = {"uri": uri} if uri else {}
    if "extension" in machine:
        data["requiredCapabilities"] = {"extensions": {machine["extension"]: {}}}
    error = {"code": code, "message": message, "data": {**data, REFUSAL_META: machine}}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (message_id, msgspec.json.encode(error))


def _status_of(error: bytes) -> int:
    try:
        return _STATUS_OF_CODE.get(msgspec.json.decode(error, type=_Error).code, HTTPStatus.OK)
    except msgspec.DecodeError:
        return HTTPStatus.OK
