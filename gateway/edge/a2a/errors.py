"""A no, or the error of a peer, as A2A says it: the one mapping for both of its bindings.

JSON-RPC     200 {"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":...,"data":[ErrorInfo]}}
HTTP+JSON    404 {"error":{"code":404,"status":"NOT_FOUND","message":...,"details":[ErrorInfo]}}
ErrorInfo    {"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":...,"reason":...,"metadata":{}}
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.domain import refusal as no
from gateway.domain.a2a import BY_CODE, INTERNAL, VERSION, Error, members_of
from gateway.domain.refusal import Refused
from gateway.edge.reply import Answer

INFO_TYPE = "type.googleapis.com/google.rpc.ErrorInfo"
PROTOCOL, OURS = "a2a-protocol.org", "customhouse"
NO_TASK, NO_CARD, NO_VERSION = -32001, -32007, -32009
# What A2A 0.3 calls the methods of 1.0.
FORMER: Mapping[str, str] = MappingProxyType(
    {
        "message/send": "SendMessage",
        "message/stream": "SendStreamingMessage",
        "tasks/get": "GetTask",
        "tasks/list": "ListTasks",
        "tasks/cancel": "CancelTask",
        "tasks/resubscribe": "SubscribeToTask",
        "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
        "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
        "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
        "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
    }
)
# What the protocol has a word for; everything else is said in the gateway's own words.
_CODES: Mapping[str, int] = MappingProxyType(
    {
        no.UNPARSABLE.id: -32700,
        no.MALFORMED.id: -32600,
        no.UNKNOWN_METHOD.id: -32601,
        no.BAD_PARAMS.id: -32602,
        no.BAD_CURSOR.id: -32602,
        no.UNKNOWN_OBJECT.id: -32602,
        no.UNSUPPORTED_MEDIA.id: -32005,
        no.UNSUPPORTED_VERSION.id: NO_VERSION,
        no.UPSTREAM_BROKEN.id: -32006,
    }
)
_PARSE = Error(-32700, 400, "INVALID_ARGUMENT", "INVALID_REQUEST")
_STATUS: Mapping[int, str] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        409: "ABORTED",
        413: "INVALID_ARGUMENT",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)


class NoTask(Refused):
    """There is no such task, as far as the caller may know."""

    def __init__(self, call_id: str = "") -> None:
        super().__init__(no.UNKNOWN_OBJECT, call_id)


class NoCard(Refused):
    """The agent has no card for those it knows."""

    def __init__(self, call_id: str) -> None:
        super().__init__(no.UNKNOWN_OBJECT, call_id)


class NotSpoken(Refused):
    """The version of the protocol that the caller speaks is not spoken here."""

    def __init__(self, version: str, method: str) -> None:
        problem = f"this is 1.0, and the request says {version or 'nothing, which means 0.3'}"
        super().__init__(no.UNSUPPORTED_VERSION, detail={"problem": problem})
        self.method = method

    def say(self) -> str:
        said = super().say().removesuffix(self.refusal.fix)
        return f"{said}Send the header A2A-Version: {VERSION}.{_called_now(self.method)}"


class NotCalled(Refused):
    """There is no such method here; one of 0.3 has another name in 1.0."""

    def __init__(self, method: str) -> None:
        super().__init__(no.UNKNOWN_METHOD)
        self.method = method

    def say(self) -> str:
        here = f"This is A2A {VERSION}, with methods such as SendMessage and GetTask."
        return f"{self.refusal.sentence} {here}{_called_now(self.method)}"


def _called_now(method: str) -> str:
    now = FORMER.get(method)
    return f" {method} of A2A 0.3 is {now} in {VERSION}." if now else ""


class Said(msgspec.Struct, frozen=True):
    """One error, before it is put into an envelope."""

    code: int
    http_status: int
    status: str
    message: str
    details: list[Any]

    def as_rpc(self) -> bytes:
        told: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            told["data"] = self.details
        return msgspec.json.encode(told)

    def as_rest(self) -> bytes:
        told: dict[str, Any] = {
            "code": self.http_status,
            "status": self.status,
            "message": self.message,
        }
        if self.details:
            told["details"] = self.details
        return msgspec.json.encode({"error": told})


def said_of(refused: Refused) -> Said:
    """How *refused* reads; what is hidden is not to be told from what is not there."""
    row = refused.shown
    code = _OWN.get(type(refused)) or _CODES.get(row.id, 0)
    metadata = {key: str(value) for key, value in refused.shown_detail.items()}
    metadata["callId"] = refused.call_id
    if code:
        known = _known(code)
        reason, domain = known.reason, PROTOCOL
        http_status, status = known.http_status, known.status
        if row is no.UNSUPPORTED_MEDIA:
            http_status = row.http_status
        message = _SENTENCES.get(code) or refused.say()
    else:
        code, reason, domain, message = row.code, row.id.upper(), OURS, refused.say()
        http_status = row.code // 100 if row.code > 0 else row.http_status
        status = _STATUS.get(
            http_status, "INTERNAL" if http_status >= 500 else "FAILED_PRECONDITION"
        )
    return Said(code, http_status, status, message, [_detail(reason, domain, metadata)])


def said_by_peer(error: bytes) -> Said:
    """The error of a peer; nothing of it is said in the gateway's name."""
    said: Mapping[str, Any] = {}
    with suppress(msgspec.DecodeError):
        said = members_of(msgspec.json.decode(error))
    code, message, data = said.get("code"), said.get("message"), said.get("data")
    code = code if isinstance(code, int) else INTERNAL.code
    known = _known(code)
    details = [one for one in data if not _is_ours(one)] if isinstance(data, list) else []
    words = message if isinstance(message, str) else ""
    return Said(code, known.http_status, known.status, words, details)


def fault_said(call_id: str) -> Said:
    """The gateway itself broke: nothing of what broke, and where to look."""
    message = "The gateway failed; whether the call took effect is unknown."
    detail = _detail(INTERNAL.reason, PROTOCOL, {"callId": call_id})
    return Said(INTERNAL.code, INTERNAL.http_status, INTERNAL.status, message, [detail])


def rpc_frame(message_id: bytes, said: Said) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (message_id or b"null", said.as_rpc())


def rest_answer(said: Said) -> Answer:
    return Answer(said.http_status, said.as_rest(), is_refusal=True)


def rpc_answer(message_id: bytes, said: Said) -> Answer:
    """JSON-RPC says in the body what is wrong; clients take another status for a broken line."""
    return Answer(HTTPStatus.OK, rpc_frame(message_id, said), is_refusal=True)


def _detail(reason: str, domain: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {"@type": INFO_TYPE, "reason": reason, "domain": domain, "metadata": metadata}


def _known(code: int) -> Error:
    return _PARSE if code == _PARSE.code else BY_CODE.get(code, INTERNAL)


def _is_ours(detail: Any) -> bool:
    return members_of(detail).get("domain") == OURS


_OWN: Mapping[type[Refused], int] = MappingProxyType({NoTask: NO_TASK, NoCard: NO_CARD})
_NO_TASK = (
    "There is no such task. Its id is the one that the gateway answered with when it was made; "
    "in the older dialect the task_id of agents/tasks/create."
)
_SENTENCES: Mapping[int, str] = MappingProxyType(
    {NO_TASK: _NO_TASK, NO_CARD: "The agent has no extended card."}
)
