"""The older dialect between agents, mapped onto A2A: agents/tasks/create and agents/tasks/result.

{"method": "agents/tasks/create", "params": {"task": {"id": "t-1", "description": "Find it",
 "context": {"session_id": "s-1"}, "priority": "high", "input_data": {"topic": "..."}}}}

Who a user is comes from the credential; a `user_id` in the context is passed on as a remark only.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.domain.a2a import CANCELED, COMPLETED, FAILED, REJECTED, SEND, state_of

CREATE = "agents/tasks/create"
RESULT = "agents/tasks/result"
LEGACY = MappingProxyType({CREATE: SEND, RESULT: "GetTask"})
CONTEXT = "io.customhouse/context"
PRIORITY = "io.customhouse/priority"
_STATES: Mapping[str, str] = MappingProxyType(
    {
        "TASK_STATE_SUBMITTED": "pending",
        COMPLETED: "completed",
        FAILED: "failed",
        CANCELED: "failed",
        REJECTED: "failed",
    }
)


class BadTask(ValueError):
    """The params are not those of the older dialect; the sentence says which member is missing."""


class Asked(NamedTuple):
    """An older request as an A2A one."""

    method: str
    params: dict[str, Any]
    agent: str = ""  # whom it names; "": whoever it was sent to


def from_legacy(method: str, params: Mapping[str, Any]) -> Asked:
    """The A2A request that *method* with *params* means. Raises: BadTask."""
    return _created(params) if method == CREATE else _wanted(params)


def to_legacy(asked_id: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a task, as the older dialect says it.

    *asked_id*: what its client calls the task; the id under which to ask for it is `task_id`.
    """
    if isinstance(answer.get("message"), dict):
        said = answer["message"]
        return {"id": asked_id, "task_id": "", "status": "completed", "result": _result(said, [])}
    task = answer["task"] if isinstance(answer.get("task"), dict) else answer
    artifacts = task.get("artifacts")
    told: dict[str, Any] = {
        "id": asked_id,
        "task_id": task.get("id", ""),
        "status": _state(state_of(task)),
    }
    status = task.get("status")
    message = status.get("message") if isinstance(status, dict) else None
    result = _result(message, artifacts if isinstance(artifacts, list) else [])
    if told["status"] == "failed":
        told["error"] = result.get("text") or "the task has failed"
    elif result:
        told["result"] = result
    return told


def _state(state: str) -> str:
    return _STATES.get(state, "in_progress")


def _created(params: Mapping[str, Any]) -> Asked:
    task = params.get("task")
    if not isinstance(task, dict):
        raise BadTask("params.task must be an object")
    task_id = _text(task, "id")
    parts: list[dict[str, Any]] = [{"text": _text(task, "description")}]
    given = task.get("input_data", params.get("input_data"))  # either place is in use
    if given is not None:
        parts.append({"data": given})
    metadata = {
        name: task[member]
        for name, member in ((CONTEXT, "context"), (PRIORITY, "priority"))
        if member in task
    }
    message: dict[str, Any] = {"messageId": task_id, "role": "ROLE_USER", "parts": parts}
    if metadata:
        message["metadata"] = metadata
    agent = params.get("agent_id")
    # It only ever answered at once, and was asked for the result later.
    configuration = {"returnImmediately": True}
    return Asked(
        SEND,
        {"message": message, "configuration": configuration},
        agent if isinstance(agent, str) else "",
    )


def _wanted(params: Mapping[str, Any]) -> Asked:
    return Asked("GetTask", {"id": _text(params, "task_id")})


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise BadTask(f"{name} must be a text")
    return value


def _result(message: Any, artifacts: list[Any]) -> dict[str, Any]:
    """The texts and data of a message and of artifacts."""
    holders = [one for one in (*artifacts, message) if isinstance(one, dict)]
    listed = [one.get("parts") for one in holders]
    parts = [part for some in listed if isinstance(some, list) for part in some]
    parts = [one for one in parts if isinstance(one, dict)]
    found: dict[str, Any] = {}
    texts = [one["text"] for one in parts if isinstance(one.get("text"), str)]
    data = [one["data"] for one in parts if "data" in one]
    if texts:
        found["text"] = "\n".join(texts)
    if data:
        found["data"] = data[0] if len(data) == 1 else data
    return found
