"""Tasks on their way to a server: the request that names one, and what its results may ask."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.model import Act, Call, Client, Kind, Outcome, Status
from gateway.upstream.kept import KeptResults
from tests.fakes import (
    Asked,
    FakeUpstream,
    border,
    http_spec,
    make_call,
    make_definition,
    make_permit,
)

pytestmark = pytest.mark.anyio

READS = replace(make_definition(b'{"name":"echo"}'), cache_s=60)


def of_task(method: str = "tasks/get", capabilities: bytes = b"{}") -> Call:
    """As the edge makes it: the task is the object, under the definition of its tool."""
    return replace(
        make_call(name="task 1", definition=READS),
        method=method,
        kind=Kind.SERVER,
        act=Act.LIST,
        params={"taskId": b'"sealed by us"', "inputResponses": b'{"q":{}}'},
        client=Client(capabilities=capabilities),
        round=2,
    )


def says(**result: Any) -> Any:
    async def behave(asked: Asked) -> None:
        await asked.answer({"resultType": "complete", "taskId": "task 1", **result})

    return behave


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_server_is_asked_by_its_own_name_for_the_task(method: str) -> None:
    async with FakeUpstream(says()) as server, border(http_spec(server.url)) as house:
        outcome = await house.call(of_task(method))
        [asked] = [one for one in server.asked if one.body["method"] == method]
    assert outcome.status is Status.OK
    assert (asked.headers["mcp-method"], asked.headers["mcp-name"]) == (method, "task 1")
    assert asked.params["taskId"] == "task 1"
    assert asked.params["inputResponses"] == {"q": {}}


@pytest.mark.parametrize(
    ("capabilities", "method", "code"),
    [
        (b'{"elicitation":{}}', "elicitation/create", ""),
        (b"{}", "elicitation/create", "not_askable"),
        (b'{"sampling":{}}', "sampling/createMessage", "not_askable"),
    ],
)
async def test_a_task_asks_only_what_its_call_could(
    capabilities: bytes, method: str, code: str
) -> None:
    asks = says(status="input_required", inputRequests={"q": {"method": method, "params": {}}})
    async with FakeUpstream(asks) as server, border(http_spec(server.url)) as house:
        outcome = await house.call(of_task(capabilities=capabilities))
    assert outcome.code == code


@pytest.mark.parametrize(
    ("result", "keeps"),
    [
        (b'{"content":[]}', True),
        (b'{"content":[],"resultType":"complete"}', True),
        (b'{"resultType":"task","taskId":"t"}', False),
        (b'{"result\\u0054ype":"task","taskId":"t"}', False),
    ],
)
def test_a_task_answers_nobody_else(result: bytes, keeps: bool) -> None:
    kept, call = KeptResults(lambda _: "equal"), make_call(definition=READS)
    key = kept.key(call)
    kept.keep(key, call, Outcome(Status.OK, result))
    assert (kept.find(key, make_permit(call)) is not None) is keeps
    assert json.loads(result)
