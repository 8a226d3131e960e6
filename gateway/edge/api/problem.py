"""A no of the API, as RFC 9457 has it.

{"type":"urn:customhouse:refusal:etag_stale","title":"The resource is not what it was...",
 "status":412,"detail":"...","code":"etag_stale","call_id":"01JDB52Y0092J3WF17R8ZRH502",
 "instance":"urn:customhouse:call:01JDB52Y0092J3WF17R8ZRH502","fix":"Read it again..."}
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from gateway.domain import refusal as no
from gateway.domain.operator import Exit, OperationRefused
from gateway.domain.refusal import Refusal, Refused
from gateway.edge.api.etag import encoded
from gateway.edge.reply import Answer

PROBLEM_TYPE = b"application/problem+json"
_MAX_CHARS = 4_000
# Rows that have another status, or none of HTTP's, where they answer a JSON-RPC message.
_STATUS: Mapping[str, int] = MappingProxyType(
    {
        no.FORBIDDEN.id: HTTPStatus.FORBIDDEN,
        no.DENIED.id: HTTPStatus.FORBIDDEN,
        no.UNKNOWN_OBJECT.id: HTTPStatus.NOT_FOUND,
        no.UNKNOWN_METHOD.id: HTTPStatus.METHOD_NOT_ALLOWED,
        no.RATE_LIMITED.id: HTTPStatus.TOO_MANY_REQUESTS,
        no.OVER_BUDGET.id: HTTPStatus.TOO_MANY_REQUESTS,
    }
)
# What rows say of tools and messages, said of resources.
_SAID: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        no.FORBIDDEN.id: (
            "Policy does not allow this.",
            "Ask for a role whose rules allow the act on the object that is named.",
        ),
        no.DENIED.id: (
            "Policy does not allow this as things are.",
            "Ask for a role whose rules allow it, or when its conditions hold.",
        ),
        no.UNKNOWN_OBJECT.id: (
            "There is nothing of this name that you may see.",
            "Read the list, or /api/v1/openapi.json for the paths there are.",
        ),
        no.UNKNOWN_METHOD.id: (
            "The resource does not know this verb.",
            "Use one that Allow names.",
        ),
        no.MALFORMED.id: ("The request is not complete.", "Send it again, whole."),
        no.BAD_PARAMS.id: (
            "A parameter is missing, unknown or of the wrong type.",
            "See /api/v1/openapi.json for those that there are.",
        ),
    }
)
_ROW_OF: Mapping[Exit, Refusal] = MappingProxyType(
    {
        Exit.NO: no.UNKNOWN_OBJECT,
        Exit.USAGE: no.BAD_PARAMS,
        Exit.INVALID: no.NOT_VALID,
        Exit.NOT_OPERATOR: no.FORBIDDEN,
        Exit.UNREACHABLE: no.NOT_NOW,
        Exit.CONFLICT: no.IN_THE_WAY,
    }
)


class Declined(Refused):
    """A refusal in the words of the operation that was not done."""

    def __init__(self, said: OperationRefused) -> None:
        super().__init__(_ROW_OF.get(said.exit_code, no.NOT_NOW))
        self.words = said


def problem_answer(refused: Refused) -> Answer:
    """The answer to a request that is refused, for whatever reason."""
    row = refused.refusal
    status = int(_STATUS.get(row.id, row.http_status))
    title, fix = _SAID.get(row.id, (row.sentence, row.fix))
    detail = str(refused.detail.get("problem", "")) or title
    if isinstance(refused, Declined):
        detail, fix = f"{refused.words.what}: {refused.words.why}", refused.words.fix
    return Answer(status, _said(row.id, title, status, refused, detail, fix), is_refusal=True)


def fault_problem(call_id: str) -> Answer:
    """The answer when the gateway itself broke: nothing of what broke, and where to look."""
    title = "The gateway failed; whether the change took effect is in its log."
    faulty = Refused(no.NOT_NOW, call_id)
    status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
    return Answer(status, _said("fault", title, status, faulty, title, ""), is_refusal=True)


def _said(code: str, title: str, status: int, refused: Refused, detail: str, fix: str) -> bytes:
    said: dict[str, Any] = {
        "type": f"urn:customhouse:refusal:{code}",
        "title": title,
        "status": status,
        "detail": detail[:_MAX_CHARS],
        "code": code,
    }
    if fix:
        said["fix"] = fix[:_MAX_CHARS]
    if refused.call_id:
        said |= {"instance": f"urn:customhouse:call:{refused.call_id}", "call_id": refused.call_id}
    if "retry_after_ms" in refused.detail:
        said["retry_after_ms"] = refused.detail["retry_after_ms"]
    return encoded(said)
