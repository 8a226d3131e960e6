"""Refusals and failures as clients of OpenAI's API read them: the mapping for /v1.

HTTP 404  {"error":{"message":"...","type":"invalid_request_error","param":"model",
                    "code":"model_not_found"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.domain import refusal as no
from gateway.domain.model import Outcome, Status
from gateway.domain.refusal import BY_ID, Refused, status_in_code
from gateway.edge.line import Headers, retry_after
from gateway.edge.models.reach import RESPONSES
from gateway.edge.reply import Answer

NOT_FOUND = "There is no such model that you may use: GET /v1/models lists those."
_CALL = b"customhouse-call"
# Rows whose status is that of a JSON-RPC answer, and what HTTP has for them.
_STATUS: Mapping[str, int] = {
    no.UNKNOWN_OBJECT.id: 404,
    no.UNKNOWN_METHOD.id: 404,
    no.DENIED.id: 403,
    no.APPROVAL_NEEDED.id: 403,
    no.APPROVAL_DENIED.id: 403,
    no.RUN_STOPPED.id: 403,
    no.RATE_LIMITED.id: 429,
    no.OVER_BUDGET.id: 429,
    no.RUN_LIMIT.id: 429,
    no.LOOP.id: 429,
    no.INVALID_ARGUMENTS.id: 400,
    no.KEY_REUSED.id: 409,
    no.OUTCOME_UNKNOWN.id: 409,
    no.RESULT_GONE.id: 410,
    no.UPSTREAM_UNREACHABLE.id: 503,
    no.BREAKER_OPEN.id: 503,
    no.CREDENTIAL_MISSING.id: 503,
    no.UPSTREAM_TIMEOUT.id: 504,
    no.UPSTREAM_BROKEN.id: 502,
    no.UPSTREAM_DIED.id: 502,
    no.UPSTREAM_REFUSED.id: 502,
    no.RESULT_TOO_LARGE.id: 502,
}
_TYPE: Mapping[int, str] = {401: "authentication_error", 403: "permission_error"}
# Clients of this API repeat 409, 429 and every 5xx by themselves. That is right only where nothing
# was done and waiting helps.
_WORTH_REPEATING = frozenset(
    row.id
    for row in (
        no.RATE_LIMITED,
        no.UPSTREAM_UNREACHABLE,
        no.BREAKER_OPEN,
        no.LOG_UNAVAILABLE,
        no.POLICY_CHANGED,
        no.DRAINING,
    )
)
_WORDS: Mapping[str, str] = {
    no.UNKNOWN_METHOD.id: "There is no such path here, or not with this method.",
    no.UPSTREAM_BROKEN.id: "What the provider of the model answered is not valid.",
    no.RESULT_TOO_LARGE.id: "The model answered more than was asked for, or than is allowed.",
}


class Said(NamedTuple):
    """A no on the wire."""

    status: int
    error: Mapping[str, Any]
    headers: Headers

    @property
    def answer(self) -> Answer:
        return Answer(self.status, msgspec.json.encode({"error": self.error}), is_refusal=True)

    def event(self, api: str) -> bytes:
        """The same where a stream has begun: it has no other end."""
        if api != RESPONSES:
            return b"data: %b\n\n" % msgspec.json.encode({"error": self.error})
        said = {"type": "error", "sequence_number": 0, **self._flat, "error": self.error}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(said)

    @property
    def _flat(self) -> Mapping[str, Any]:
        return {key: self.error[key] for key in ("code", "message", "param")}


_FIXES: Mapping[str, str] = {
    no.UNKNOWN_METHOD.id: (
        "There are POST /v1/chat/completions, /v1/responses and /v1/embeddings, and GET /v1/models: "
        "base_url ends in /v1."
    ),
}


def refused_said(refused: Refused, words: str = "") -> Said:
    """*words*: what happened, where that is known better than its row says."""
    row = refused.shown
    status = _STATUS.get(row.id, row.http_status)
    if row is no.UNKNOWN_OBJECT:
        error = _error(status, NOT_FOUND, "model_not_found", "model")
    else:
        words, fix = words or _WORDS.get(row.id, ""), _FIXES.get(row.id, row.fix)
        error = _error(status, f"{words} {fix}" if words else refused.say(), row.id)
    if row is no.OVER_BUDGET:
        error["type"] = "insufficient_quota"
    return Said(
        status, error, [*retry_after(refused), *_repeating(row.id), *named(refused.call_id)]
    )


def failed_said(outcome: Outcome, call_id: str) -> Said:
    """What a call came to whose provider gave no answer."""
    if outcome.status is Status.RPC_ERROR:
        return _providers_own(outcome.error, call_id)
    refused = Refused(BY_ID.get(outcome.code, no.UPSTREAM_BROKEN), call_id)
    status = status_in_code(outcome.code)
    words = f"The provider of the model failed: it answered HTTP {status}." if status else ""
    return refused_said(refused, words)


def fault_said(call_id: str) -> Said:
    words = "The gateway failed; whether the call took effect is unknown."
    return Said(500, _error(500, words, "fault"), [*_repeating("fault"), *named(call_id)])


def named(call_id: str) -> Headers:
    return [(_CALL, call_id.encode("ascii"))] if call_id else []


class _Told(msgspec.Struct):
    code: int
    message: str
    data: dict[str, str] = {}


def _providers_own(error: bytes, call_id: str) -> Said:
    told = msgspec.json.decode(error, type=_Told)
    said = _error(told.code, told.message, told.data.get("code", "provider_refused"))
    said |= {key: told.data[key] for key in ("type", "param") if key in told.data}
    # Repeating what the provider does not know at all leads nowhere.
    again = _repeating("") if told.code >= 500 else []
    return Said(told.code, said, [*again, *named(call_id)])


def _error(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    return {"message": message, "type": _TYPE.get(status, kind), "param": param, "code": code}


def _repeating(refusal_id: str) -> Headers:
    return [] if refusal_id in _WORTH_REPEATING else [(b"x-should-retry", b"false")]
