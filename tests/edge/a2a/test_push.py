"""Answers about push configurations: only configurations, and only as their owner made them."""

from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.edge.a2a.asked import Asked
from gateway.edge.a2a.push import BadAnswer, Pushes, Reach
from gateway.edge.a2a.tasks import TaskBook, Tasks
from tests.fakes import ALICE

HERS: dict[str, Any] = {
    "id": "c-1",
    "taskId": "t-1",
    "url": "https://hooks.example.com/told",
    "token": "secret-token",
    "authentication": {"scheme": "Bearer", "credentials": "secret-credentials"},
}
GET = Asked("billing", "GetTaskPushNotificationConfig", {"taskId": "t-1", "id": "c-1"})
LIST = Asked("billing", "ListTaskPushNotificationConfigs", {"taskId": "t-1"})
DELETE = Asked("billing", "DeleteTaskPushNotificationConfig", GET.params)


@pytest.fixture
def pushes() -> Pushes:
    # No name of a configuration is kept: the book is never opened.
    tasks = Tasks(cast(TaskBook, None), bytes(32), lambda: 0, lambda: "1")
    return Pushes(tasks, Reach("https://gateway.example", lambda _peer, _url: ""))


def test_a_configuration_comes_back_as_it_was_made(pushes: Pushes) -> None:
    inward = pushes.inward(ALICE, "billing", HERS)
    assert inward.keys() == {"id", "taskId", "url"}
    assert "hooks" not in inward["url"]
    assert pushes.outward(ALICE, GET, inward) == HERS
    assert pushes.outward(ALICE, LIST, {"configs": [inward]}) == {"configs": [HERS]}
    assert pushes.outward(ALICE, LIST, {}) == {"configs": []}
    assert pushes.outward(ALICE, DELETE, {}) == {}


def test_what_is_no_configuration_is_not_passed_on(pushes: Pushes) -> None:
    inward = pushes.inward(ALICE, "billing", HERS)
    anothers = pushes.inward(replace(ALICE, subject="bob"), "billing", HERS)
    task = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
    answers: list[Any] = [
        {"tasks": [task]},
        task,
        {},
        None,
        [inward],
        {**inward, "history": []},
        {**inward, "id": "c-2"},
        {**inward, "taskId": "t-2"},
        {**inward, "url": 7},
        anothers,
    ]
    for answer in answers:
        with pytest.raises(BadAnswer):
            pushes.outward(ALICE, GET, answer)
    lists: list[Any] = [{"configs": [task]}, {"configs": [], "tasks": [task]}, {"configs": {}}]
    for answer in lists:
        with pytest.raises(BadAnswer):
            pushes.outward(ALICE, LIST, answer)
    assert pushes.outward(ALICE, LIST, {"configs": [anothers]}) == {"configs": []}
    with pytest.raises(BadAnswer):
        pushes.outward(ALICE, DELETE, task)


def test_other_credentials_make_another_mark_and_are_not_in_it(pushes: Pushes) -> None:
    mark = pushes.marked(ALICE, "billing", HERS)
    assert mark == pushes.marked(replace(ALICE, credential="another"), "billing", HERS)
    assert mark != pushes.marked(ALICE, "billing", {**HERS, "token": "other"})
    assert "secret-" not in str(mark)
