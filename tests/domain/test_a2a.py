"""The protocol between agents, the older dialect, and results made of tasks."""

import json
from typing import Any

import pytest

from gateway.domain.a2a import (
    ERRORS,
    METHODS,
    BadMember,
    as_spelled,
    rest_request,
    rpc_error,
    state_of,
    with_ids,
)
from gateway.domain.a2a_legacy import CREATE, RESULT, BadTask, from_legacy, to_legacy
from gateway.domain.peer_tool import Gathered, renamed, tool_result


# -- errors and requests --------------------------------------------------------------------------
def test_the_table_of_errors_is_that_of_the_sdk() -> None:
    from a2a.utils.errors import A2A_ERROR_MAPPING, JSON_RPC_ERROR_CODE_MAP

    theirs = {
        (JSON_RPC_ERROR_CODE_MAP[kind], *row)
        for kind, row in A2A_ERROR_MAPPING.items()
        if kind in JSON_RPC_ERROR_CODE_MAP
    }
    assert {tuple(row) for row in ERRORS} == theirs


@pytest.mark.parametrize("row", ERRORS, ids=[row.reason for row in ERRORS])
def test_an_error_of_one_binding_is_that_of_the_other(row: Any) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": row.reason}
    error = {"code": row.code, "message": "no", "data": [detail]}
    said = {"code": row.http_status, "status": row.status, "message": "no", "details": [detail]}
    assert rpc_error(row.http_status, {"error": said}) == error


@pytest.mark.parametrize("body", [None, [], {"error": "x"}, {"error": {"message": 1}}])
def test_what_is_no_error_is_not_taken_for_one(body: Any) -> None:
    assert rpc_error(400, body) is None


def test_members_become_path_query_or_body() -> None:
    def request(method: str, **params: Any) -> Any:
        return rest_request(METHODS[method], params)

    assert request("GetTask", id="t:1", historyLength=2, tenant="x") == (
        "/tasks/t%3A1?historyLength=2",
        None,
    )
    assert request("ListTasks", includeArtifacts=True) == ("/tasks?includeArtifacts=true", None)
    assert request("CancelTask", id="t") == ("/tasks/t:cancel", {})
    assert request("DeleteTaskPushNotificationConfig", taskId="t", id="c") == (
        "/tasks/t/pushNotificationConfigs/c",
        None,
    )
    with pytest.raises(BadMember, match="taskId"):
        request("GetTaskPushNotificationConfig", id="c")
    for wrong in ("", ".", "..", "a/b", "a\\b", "a%2f", "a?b", "a#b", "a b", "a\n", "x" * 257, 1):
        with pytest.raises(BadMember, match="fit a path"):
            request("GetTask", id=wrong)


def test_both_spellings_of_a_member_are_read_as_one_and_free_data_is_left_alone() -> None:
    free = {"task_id": "free"}
    part = {"data": free, "media_type": "application/json"}
    message = {"task_id": "t", "parts": [part], "metadata": free}
    config = {"task_push_notification_config": {"task_id": "t", "url": "u"}}
    said = {"task_id": "t", "message": message, "configuration": config, "metadata": free}
    assert as_spelled(said) == {
        "taskId": "t",
        "message": {
            "taskId": "t",
            "parts": [{"data": free, "mediaType": "application/json"}],
            "metadata": free,
        },
        "configuration": {"taskPushNotificationConfig": {"taskId": "t", "url": "u"}},
        "metadata": free,
    }


@pytest.mark.parametrize(
    "params",
    [
        {"taskId": "mine", "task_id": "theirs"},
        {"message": {"task_id": "theirs", "taskId": "mine"}},
        {"message": {"parts": [{"media_type": "a", "mediaType": "b"}]}},
    ],
)
def test_a_member_in_two_spellings_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(BadMember, match="two spellings"):
        as_spelled(params)


# -- ids ------------------------------------------------------------------------------------------
def test_ids_are_renamed_wherever_the_protocol_has_them_and_nowhere_else() -> None:
    message = {"messageId": "m", "taskId": "t", "contextId": "c", "referenceTaskIds": ["t", "u"]}
    artifact = {"artifactId": "t", "parts": [{"data": {"taskId": "t", "id": "t"}}]}
    task = {
        "id": "t",
        "contextId": "c",
        "status": {"state": "TASK_STATE_WORKING", "message": message},
        "history": [message],
        "artifacts": [artifact],
        "metadata": {"taskId": "t"},
    }
    there = {"taskId": "T", "contextId": "C", "referenceTaskIds": ["T", "U"], "messageId": "m"}
    own = {
        **task,
        "id": "T",
        "contextId": "C",
        "status": {"state": "TASK_STATE_WORKING", "message": there},
        "history": [there],
    }

    def named(value: Any) -> Any:
        return with_ids(value, str.upper, str.upper)

    assert named({"task": task}) == {"task": own}
    assert named({"tasks": [task], "nextPageToken": "t"}) == {"tasks": [own], "nextPageToken": "t"}
    assert named({"artifactUpdate": {"taskId": "t", "artifact": artifact}}) == {
        "artifactUpdate": {"taskId": "T", "artifact": artifact}
    }
    assert named({"configs": [{"id": "cfg", "taskId": "t"}]}) == {
        "configs": [{"id": "cfg", "taskId": "T"}]
    }


@pytest.mark.parametrize("answer", [None, [], {}, {"task": []}, {"status": {"state": 1}}])
def test_what_tells_no_state_has_none(answer: Any) -> None:
    assert state_of(answer) == ""


# -- results --------------------------------------------------------------------------------------
def test_events_add_up_to_the_task_that_a_plain_answer_would_have_been() -> None:
    gathered = Gathered()
    who = {"taskId": "t", "contextId": "c"}
    one, two = {"text": "chunk-1 "}, {"text": "chunk-2"}
    for event in (
        {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}},
        {"artifactUpdate": {**who, "artifact": {"artifactId": "a", "parts": [one]}}},
        {
            "artifactUpdate": {
                **who,
                "append": True,
                "artifact": {"artifactId": "a", "parts": [two]},
            }
        },
        {"statusUpdate": {**who, "status": {"state": "TASK_STATE_COMPLETED"}}},
    ):
        gathered.take(event)
    assert gathered.answer == {
        "task": {
            "id": "t",
            "contextId": "c",
            "status": {"state": "TASK_STATE_COMPLETED"},
            "artifacts": [{"artifactId": "a", "parts": [one, two]}],
        }
    }


def test_files_are_named_in_the_text_and_whole_beside_it() -> None:
    file = {"raw": "dGNr", "filename": "output.txt", "mediaType": "text/plain"}
    artifacts = [{"artifactId": "a", "parts": [file]}]
    task = {"id": "t", "status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": artifacts}
    told = tool_result({"task": task})
    assert told["content"] == [
        {"type": "text", "text": "[file output.txt, text/plain: in the artifacts]"}
    ]
    assert told["structuredContent"]["artifacts"] == artifacts


def test_a_result_is_renamed_for_programs_and_for_models() -> None:
    task = {"id": "t-1", "contextId": "c-1", "status": {"state": "TASK_STATE_INPUT_REQUIRED"}}
    said = {"role": "ROLE_AGENT", "parts": [{"text": "which of t-1?"}]}
    told = tool_result({"task": {**task, "status": {**task["status"], "message": said}}})  # type: ignore[dict-item] # it is a dict
    own = json.loads(renamed(json.dumps(told).encode(), str.upper, str.upper))
    assert own["structuredContent"]["taskId"] == "T-1"
    assert own["structuredContent"]["contextId"] == "C-1"
    assert [one["text"] for one in own["content"]] == [
        "which of t-1?",
        "The agent needs an answer. Call this tool again with taskId T-1.",
    ]


@pytest.mark.parametrize("answer", [{}, {"task": 7}, {"task": {"artifacts": "x", "status": []}}])
def test_whatever_an_agent_answers_becomes_a_result(answer: dict[str, Any]) -> None:
    assert tool_result(answer)["content"] == [{"type": "text", "text": "The task is unknown."}]


# -- the older dialect ----------------------------------------------------------------------------
def test_an_older_task_is_a_message() -> None:
    asked = from_legacy(
        CREATE,
        {
            "agent_id": "research-agent",
            "task": {
                "id": "task-123",
                "description": "Find it",
                "context": {"session_id": "s-1"},
                "priority": "high",
            },
            "input_data": {"topic": "agents"},
        },
    )
    assert (asked.method, asked.agent) == ("SendMessage", "research-agent")
    assert asked.params["message"] == {
        "messageId": "task-123",
        "role": "ROLE_USER",
        "parts": [{"text": "Find it"}, {"data": {"topic": "agents"}}],
        "metadata": {
            "io.customhouse/context": {"session_id": "s-1"},
            "io.customhouse/priority": "high",
        },
    }
    assert from_legacy(RESULT, {"task_id": "t"})[:2] == ("GetTask", {"id": "t"})


@pytest.mark.parametrize(
    ("method", "params", "missing"),
    [
        (CREATE, {}, "params.task"),
        (CREATE, {"task": {"id": "t"}}, "description"),
        (CREATE, {"task": {"description": "d"}}, "id"),
        (RESULT, {"task_id": 7}, "task_id"),
    ],
)
def test_an_older_request_that_lacks_something_says_what(
    method: str, params: dict[str, Any], missing: str
) -> None:
    with pytest.raises(BadTask, match=missing):
        from_legacy(method, params)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("SUBMITTED", "pending"),
        ("WORKING", "in_progress"),
        ("INPUT_REQUIRED", "in_progress"),
        ("COMPLETED", "completed"),
        ("CANCELED", "failed"),
    ],
)
def test_the_state_of_a_task_in_the_older_words(state: str, word: str) -> None:
    task = {"id": "t", "status": {"state": f"TASK_STATE_{state}"}}
    told = to_legacy("task-123", {"task": task})
    assert (told["id"], told["task_id"], told["status"]) == ("task-123", "t", word)
    assert ("error" in told) == (word == "failed")


def test_what_came_of_a_task_in_the_older_words() -> None:
    artifacts = [{"parts": [{"text": "found"}, {"data": {"n": 1}}]}]
    task = {"id": "t", "status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": artifacts}
    assert to_legacy("x", task)["result"] == {"text": "found", "data": {"n": 1}}
