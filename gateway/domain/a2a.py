"""A2A 1.0, as far as the border has to understand it: methods, states, errors, and ids in bodies.

A request is the same whichever way it travels; only its envelope differs:

    POST /rpc                {"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"t1"}}
    GET  /tasks/t1
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

VERSION = "1.0"
VERSION_HEADER = "A2A-Version"
JSONRPC = "JSONRPC"
HTTP_JSON = "HTTP+JSON"

SEND = "SendMessage"
STREAM = "SendStreamingMessage"
SUBSCRIBE = "SubscribeToTask"

# Members of message.metadata that mean something to the border.
SKILL = "io.customhouse/skill"
RUN = "io.customhouse/run"
CALL = "io.customhouse/call"
DATA_CLASS = "io.customhouse/data-class"

PUSHED = "push"  # the method under which what a peer tells of a task is a call


@dataclass(frozen=True, slots=True)
class Method:
    """One operation, and its place in the HTTP+JSON binding; {names} are members of its params."""

    name: str
    verb: str
    path: str
    members: frozenset[str]  # of its params, beside `tenant`
    streams: bool = False


def _m(*names: str) -> frozenset[str]:
    return frozenset(names)


_SAID = _m("message", "configuration", "metadata")
_LISTED = _m("contextId", "status", "pageSize", "pageToken", "historyLength")
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            Method(SEND, "POST", "/message:send", _SAID),
            Method(STREAM, "POST", "/message:stream", _SAID, streams=True),
            Method("GetTask", "GET", "/tasks/{id}", _m("id", "historyLength")),
            Method(
                "ListTasks",
                "GET",
                "/tasks",
                _LISTED | _m("statusTimestampAfter", "includeArtifacts"),
            ),
            Method("CancelTask", "POST", "/tasks/{id}:cancel", _m("id", "metadata")),
            Method(SUBSCRIBE, "GET", "/tasks/{id}:subscribe", _m("id"), streams=True),
            Method(
                "CreateTaskPushNotificationConfig",
                "POST",
                "/tasks/{taskId}/pushNotificationConfigs",
                _m("id", "taskId", "url", "token", "authentication"),
            ),
            Method(
                "GetTaskPushNotificationConfig",
                "GET",
                "/tasks/{taskId}/pushNotificationConfigs/{id}",
                _m("taskId", "id"),
            ),
            Method(
                "ListTaskPushNotificationConfigs",
                "GET",
                "/tasks/{taskId}/pushNotificationConfigs",
                _m("taskId", "pageSize", "pageToken"),
            ),
            Method(
                "DeleteTaskPushNotificationConfig",
                "DELETE",
                "/tasks/{taskId}/pushNotificationConfigs/{id}",
                _m("taskId", "id"),
            ),
            Method("GetExtendedAgentCard", "GET", "/extendedAgentCard", _m()),
        )
    }
)

COMPLETED = "TASK_STATE_COMPLETED"
FAILED = "TASK_STATE_FAILED"
CANCELED = "TASK_STATE_CANCELED"
REJECTED = "TASK_STATE_REJECTED"
INPUT_REQUIRED = "TASK_STATE_INPUT_REQUIRED"
AUTH_REQUIRED = "TASK_STATE_AUTH_REQUIRED"
TERMINAL = frozenset({COMPLETED, FAILED, CANCELED, REJECTED})
INTERRUPTED = frozenset({INPUT_REQUIRED, AUTH_REQUIRED})


class Error(NamedTuple):
    """One row of the protocol's errors (s5.4)."""

    code: int  # JSON-RPC
    http_status: int
    status: str  # google.rpc
    reason: str


ERRORS = (
    Error(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    Error(-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    Error(-32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED"),
    Error(-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    Error(-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    Error(-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    Error(-32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
    Error(-32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED"),
    Error(-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
    Error(-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS"),
    Error(-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
    Error(-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND"),
    Error(-32603, 500, "INTERNAL", "INTERNAL_ERROR"),
)
BY_CODE: Mapping[int, Error] = MappingProxyType({row.code: row for row in ERRORS})
BY_REASON: Mapping[str, Error] = MappingProxyType({row.reason: row for row in ERRORS})
INTERNAL = BY_CODE[-32603]
INVALID_PARAMS = -32602


def rpc_error(status: int, body: Any) -> dict[str, Any] | None:
    """The body of an HTTP+JSON error as a JSON-RPC error; None: it is none."""
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict) or not isinstance(said.get("message"), str):
        return None
    details = said.get("details")
    details = details if isinstance(details, list) else []
    reasons = [one.get("reason") for one in details if isinstance(one, dict)]
    row = next(
        (BY_REASON[one] for one in reasons if isinstance(one, str) and one in BY_REASON), None
    )
    if row is None:
        row = BY_CODE[-32603 if status >= 500 else -32600]
    return {"code": row.code, "message": said["message"], "data": details}


# -- how members are spelled ----------------------------------------------------------------------
class BadMember(ValueError):
    """A member of the params is missing, is no text, or is there in two spellings."""


CONFIG = "taskPushNotificationConfig"
# Members that hold messages of the protocol again, and theirs; in all others anything may be.
INNER: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "message": _m("messageId", "contextId", "taskId", "role", "parts", "metadata")
        | _m("extensions", "referenceTaskIds"),
        "parts": _m("text", "raw", "url", "data", "metadata", "filename", "mediaType"),
        "configuration": _m("acceptedOutputModes", CONFIG, "historyLength", "returnImmediately"),
        CONFIG: _m("tenant", "id", "taskId", "url", "token", "authentication"),
        "authentication": _m("scheme", "credentials"),
    }
)
_NAMES = frozenset({"tenant"}).union(*INNER.values(), *(one.members for one in METHODS.values()))
_SPELLED: Mapping[str, str] = MappingProxyType(
    {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name): name for name in _NAMES}
)
_FOLDED = frozenset(name.casefold() for name in _NAMES)


def as_spelled(params: Mapping[str, Any]) -> dict[str, Any]:
    """*params* in the one spelling that is looked at: whoever reads ProtoJSON takes `task_id`, too.

    Else `{"taskId": "mine", "task_id": "another's"}` would be judged as one and read as the other.
    Raises: BadMember: a member is there in both, or is one but for its case: who reads may fold it.
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        plain = _SPELLED.get(name, name)
        if plain in found:
            raise BadMember(f"{plain} is there in two spellings")
        if plain not in _NAMES and _fold(plain) in _FOLDED:
            raise BadMember(
                "a member is spelled neither as the protocol does nor as ProtoJSON does"
            )
        found[plain] = _inner(plain, value) if plain in INNER else value
    return found


def _fold(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def _inner(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_inner(name, one) for one in value]
    if not isinstance(value, dict):
        return value
    # As the protocol asks, what it does not know is ignored, and so it is not passed on either.
    return {one: said for one, said in as_spelled(value).items() if one in INNER[name]}


# What an id may hold where it becomes part of a path: nothing by which servers split or fold one.
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/\\%?#\x00-\x20\x7f-\x9f\ud800-\udfff]{1,256}")


def is_segment(value: object) -> bool:
    """Whether *value* is an id that stays what it is in a path, however that is read."""
    return isinstance(value, str) and _SEGMENT.fullmatch(value) is not None


# -- HTTP+JSON requests ---------------------------------------------------------------------------
def rest_request(method: Method, params: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Path with query, and the body (None: it has none), of *method* with *params*.

    Raises: BadMember.
    """
    left = {name: value for name, value in params.items() if name != "tenant"}
    path = method.path
    for name in ("taskId", "id"):
        place = f"{{{name}}}"
        if place in path:
            value = left.pop(name, None)
            if not is_segment(value):
                raise BadMember(f"{name} must be a text of 1 to 256 characters that fit a path")
            path = path.replace(place, quote(value, safe=""))
    if method.verb == "POST":
        return path, left
    return path + _query(left), None


def _query(members: Mapping[str, Any]) -> str:
    pairs = [(name, _in_query(value)) for name, value in members.items() if _is_plain(value)]
    return "?" + urlencode(pairs) if pairs else ""


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _in_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- values ---------------------------------------------------------------------------------------
def members_of(value: Any) -> Mapping[str, Any]:
    """*value* where it is an object; else nothing."""
    return value if isinstance(value, dict) else {}


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# -- what an answer says --------------------------------------------------------------------------
def state_of(answer: Any) -> str:
    """The state that a Task, an event or the answer to SendMessage tells; "" when it tells none."""
    if not isinstance(answer, dict):
        return ""
    inner = answer.get("task") or answer.get("statusUpdate") or answer
    status = inner.get("status") if isinstance(inner, dict) else None
    state = status.get("state") if isinstance(status, dict) else None
    return state if isinstance(state, str) else ""


def is_message(answer: Any) -> bool:
    """Whether an event or an answer is a message, after which nothing comes."""
    return isinstance(answer, dict) and isinstance(answer.get("message"), dict)


# -- ids ------------------------------------------------------------------------------------------
Rename = Callable[[str], str]
_TASK_MEMBERS = ("task", "statusUpdate", "artifactUpdate", "message", "status")
_TASK_LISTS = ("tasks", "history", "configs")


def with_ids(value: Any, task: Rename, context: Rename) -> Any:
    """An answer or event with its task and context ids renamed, wherever the protocol puts them.

    Parts, metadata and artifacts are the agent's own words: nothing in them is looked at.
    """
    if not isinstance(value, dict):
        return value
    renamed = dict(value)
    _rename(renamed, "taskId", task)
    _rename(renamed, "contextId", context)
    if "status" in renamed and "taskId" not in renamed:  # a Task itself
        _rename(renamed, "id", task)
    others = renamed.get("referenceTaskIds")
    if isinstance(others, list):
        renamed["referenceTaskIds"] = [task(one) if isinstance(one, str) else one for one in others]
    for name in _TASK_MEMBERS:
        if name in renamed:
            renamed[name] = with_ids(renamed[name], task, context)
    for name in _TASK_LISTS:
        if isinstance(renamed.get(name), list):
            renamed[name] = [with_ids(one, task, context) for one in renamed[name]]
    return renamed


def _rename(members: dict[str, Any], name: str, rename: Rename) -> None:
    value = members.get(name)
    if isinstance(value, str) and value:
        members[name] = rename(value)
