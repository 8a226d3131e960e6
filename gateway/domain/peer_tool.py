"""A skill of another agent, called as a tool: arguments to a message, and a Task or Message to a result.

{"content": [{"type": "text", "text": "..."}], "structuredContent": {"taskId": "...", "state": ...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.domain.a2a import (
    AUTH_REQUIRED,
    CANCELED,
    FAILED,
    INPUT_REQUIRED,
    REJECTED,
    SKILL,
    TERMINAL,
    Rename,
    encoded,
    members_of,
)
from gateway.domain.model import Call

_FAILED = frozenset({FAILED, REJECTED, CANCELED})
_MAX_SAID_CHARS = 500


def message_for(call: Call) -> dict[str, Any] | None:
    """The params of SendMessage that a tools/call of a skill means; None: it says nothing.

    Its messageId is the id of the call, so that the same call is the same message.
    """
    arguments = call.arguments
    parts: list[dict[str, Any]] = []
    if arguments.get("message"):
        parts.append({"text": arguments["message"]})
    if "data" in arguments:
        parts.append({"data": arguments["data"]})
    if not parts:
        return None
    message: dict[str, Any] = {
        "messageId": call.id,
        "role": "ROLE_USER",
        "parts": parts,
        "metadata": {SKILL: call.name},
    }
    for name in ("taskId", "contextId"):
        if arguments.get(name):
            message[name] = arguments[name]
    return {"message": message}


def progress_text(event: Mapping[str, Any]) -> str:
    """What an event says of how far the task is; "" when it says nothing worth a word."""
    update = event.get("statusUpdate") or event.get("task")
    if not isinstance(update, dict):
        return ""
    status = members_of(update.get("status"))
    state = _state(status)
    said = " ".join(_texts(members_of(status.get("message")).get("parts")))[:_MAX_SAID_CHARS]
    return f"{_plain(state)}: {said}" if said else _plain(state)


class Gathered:
    """What a stream of events adds up to: the Task at its end, or a Message."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.n_events = 0
        self._task: dict[str, Any] = {}
        self._artifacts: dict[str, dict[str, Any]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        self.n_events += 1
        if isinstance(event.get("message"), dict):
            self.answer = {"message": event["message"]}
            return
        if isinstance(event.get("task"), dict):
            self._task = dict(event["task"])
            listed = self._task.get("artifacts")
            self._artifacts = {}
            for one in listed if isinstance(listed, list) else []:
                self._artifact(one, appended=False)
        elif isinstance(event.get("statusUpdate"), dict):
            update = event["statusUpdate"]
            self._told(update)
            self._task["status"] = update.get("status")
        elif isinstance(event.get("artifactUpdate"), dict):
            update = event["artifactUpdate"]
            self._told(update)
            self._artifact(update.get("artifact"), appended=update.get("append") is True)
        self.answer = {"task": {**self._task, "artifacts": list(self._artifacts.values())}}

    def _told(self, update: Mapping[str, Any]) -> None:
        self._task.setdefault("id", update.get("taskId"))
        self._task.setdefault("contextId", update.get("contextId"))

    def _artifact(self, artifact: Any, *, appended: bool) -> None:
        if not isinstance(artifact, dict):
            return
        name = str(artifact.get("artifactId"))
        before = self._artifacts.get(name)
        if appended and before is not None:
            parts = [*_list(before.get("parts")), *_list(artifact.get("parts"))]
            artifact = {**before, **artifact, "parts": parts}
        self._artifacts[name] = artifact


def tool_result(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to SendMessage as the result of a tool."""
    if isinstance(answer.get("message"), dict):
        return _of_message(answer["message"])
    return _of_task(members_of(answer.get("task")))


def renamed(result: bytes, task: Rename, context: Rename) -> bytes:
    """A result of `tool_result` with its ids renamed, in what is read by programs and by models."""
    members: dict[str, Any] = json.loads(result)
    told = members_of(members.get("structuredContent"))
    was = told.get("taskId", "")
    changed = dict(told)
    for name, rename in (("taskId", task), ("contextId", context)):
        if changed.get(name):
            changed[name] = rename(changed[name])
    members["structuredContent"] = changed
    last, state = _onward(str(told.get("state", "")), was), str(told.get("state", ""))
    content = members.get("content", [])
    if last and content and content[-1].get("text") == last:
        content[-1] = {"type": "text", "text": _onward(state, changed.get("taskId", ""))}
    return encoded(members)


# -- inside ---------------------------------------------------------------------------------------
def _of_message(message: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: message[name] for name in ("taskId", "contextId") if _is_text(message.get(name))}
    data = _data([message])
    if data:
        told["data"] = data
    return {"content": _content([message]), "structuredContent": told}


def _of_task(task: Mapping[str, Any]) -> dict[str, Any]:
    status = members_of(task.get("status"))
    state = _state(status)
    said = [one for one in (status.get("message"),) if isinstance(one, dict)]
    artifacts = [one for one in _list(task.get("artifacts")) if isinstance(one, dict)]
    told: dict[str, Any] = {"state": state}
    for name, member in (("taskId", "id"), ("contextId", "contextId")):
        if _is_text(task.get(member)):
            told[name] = task[member]
    if artifacts:
        told["artifacts"] = artifacts
    data = _data([*artifacts, *said])
    if data:
        told["data"] = data
    content = _content([*artifacts, *said])
    onward = _onward(state, told.get("taskId", ""))
    if onward:
        content.append({"type": "text", "text": onward})
    result: dict[str, Any] = {"content": content or _word(state), "structuredContent": told}
    if state in _FAILED:
        result["isError"] = True
    return result


def _onward(state: str, task_id: str) -> str:
    """What can be done now with a task that is not over; "" when it is."""
    if state in TERMINAL or not task_id:
        return ""
    if state == INPUT_REQUIRED:
        return f"The agent needs an answer. Call this tool again with taskId {task_id}."
    if state == AUTH_REQUIRED:
        return (
            "The agent needs an authorization that a person has to give. "
            f"Afterwards call this tool again with taskId {task_id}."
        )
    return f"The task is not over ({_plain(state)}); its taskId is {task_id}."


def _content(holders: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for holder in holders:
        found += [one for one in map(_block, _list(holder.get("parts"))) if one]
    return found


def _block(part: Any) -> dict[str, Any]:
    """One part as a block of content; files are named, and stand whole in structuredContent."""
    if not isinstance(part, dict):
        return {}
    if _is_text(part.get("text")):
        return {"type": "text", "text": part["text"]}
    if "data" in part:
        return {"type": "text", "text": json.dumps(part["data"], ensure_ascii=False)}
    name, kind = part.get("filename") or "unnamed", part.get("mediaType") or "unknown type"
    place = part["url"] if _is_text(part.get("url")) else "in the artifacts"
    return {"type": "text", "text": f"[file {name}, {kind}: {place}]"}


def _texts(parts: Any) -> list[str]:
    return [
        one["text"] for one in _list(parts) if isinstance(one, dict) and _is_text(one.get("text"))
    ]


def _data(holders: list[Mapping[str, Any]]) -> list[Any]:
    parts = [one for holder in holders for one in _list(holder.get("parts"))]
    return [one["data"] for one in parts if isinstance(one, dict) and "data" in one]


def _word(state: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": f"The task is {_plain(state)}."}]


def _plain(state: str) -> str:
    return state.removeprefix("TASK_STATE_").replace("_", " ").lower() or "unknown"


def _state(status: Mapping[str, Any]) -> str:
    state = status.get("state")
    return state if isinstance(state, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
