"""Tasks of a server, and whose they are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.asking import APPS, TASKS
from gateway.domain.model import Approval, Call, Outcome, Relay, Status
from tests.edge.definitions import catalogue, tool
from tests.edge.fakes import Knocker, Response, Stand, modern
from tests.edge.older import initialize

pytestmark = pytest.mark.anyio

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
DECLARED: dict[str, Any] = {CAPABILITIES: {"extensions": {TASKS: {}}}}
CREATED = {
    "resultType": "task",
    "taskId": "786512e2",
    "status": "working",
    "ttlMs": 60_000,
    "vendor": 1.50,
}
RUNNING = {"taskId": "786512e2", "status": "working", "ttlMs": 60_000}


async def jobs(call: Call, relay: Relay) -> Outcome:
    """A server that makes a task of every call."""
    if call.method == "tools/call":
        return Outcome(Status.OK, json.dumps(CREATED).encode())
    said = {"resultType": "complete"} | (RUNNING if call.method == "tasks/get" else {})
    return Outcome(Status.OK, json.dumps(said).encode())


def at_work() -> Stand:
    stand = Stand()
    stand.pipeline.upstream = jobs
    return stand


async def created(who: Knocker, name: str = "time_now") -> str:
    answer = await who.call(name, {"zone": "UTC"}, **DECLARED)
    assert answer.result["resultType"] == "task"
    return str(answer.result["taskId"])


async def ask(
    who: Knocker, method: str, task: Any, declared: Any = None, **params: Any
) -> Response:
    meta = DECLARED if declared is None else {CAPABILITIES: declared}
    body, headers = modern(who, method, {"taskId": task, **params}, **meta)
    named = [(k, v) for k, v in headers if k != b"mcp-name"]
    return await who.raw(body, [*named, (b"mcp-name", str(task).encode())])


async def test_a_task_has_an_id_of_ours_and_all_else_of_the_servers() -> None:
    stand = at_work()
    async with stand.open() as alice:
        answer = await alice.call("time_now", {}, **DECLARED)
    sealed = answer.result["taskId"]
    assert sealed.startswith("cht1.")
    assert "786512e2" not in answer.body.decode()
    assert b'"vendor":1.5' in answer.body
    assert {k: v for k, v in answer.result.items() if k not in ("taskId", "_meta")} == {
        k: v for k, v in CREATED.items() if k != "taskId"
    }


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_task_is_a_later_round_of_its_call_at_its_server(method: str) -> None:
    stand = at_work()
    async with stand.open() as alice:
        task = await created(alice)
        answer = await ask(alice, method, task, inputResponses={"q": {"action": "accept"}})
    begun, later = stand.pipeline.governed
    assert (later.id, later.round, later.method) == (begun.id, 2, method)
    assert (later.server, later.name) == ("time", "786512e2")
    assert later.definition == begun.definition
    assert json.loads(later.params["inputResponses"]) == {"q": {"action": "accept"}}
    assert answer.result["resultType"] == "complete"
    if method == "tasks/get":
        assert (answer.result["taskId"], answer.result["status"]) == (task, "working")
    else:
        assert "taskId" not in answer.result


async def test_a_task_outlives_the_gateway() -> None:
    before, after = at_work(), at_work()
    async with before.open() as alice:
        task = await created(alice)
    async with after.open() as alice:
        assert (await ask(alice, "tasks/get", task)).result["status"] == "working"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_what_is_no_task_of_the_callers_is_all_the_same(method: str) -> None:
    stand = at_work()
    async with stand.open() as alice:
        bob = Knocker(stand.border, "bob-key")
        here = Knocker(stand.border, "alice-key", "/mcp/s/docs")
        task, other = await created(alice), await created(alice, "docs_search")
        changed = task[:-1] + ("A" if task[-1] != "A" else "B")
        answers = [
            await ask(bob, method, task),
            await ask(bob, method, other),
            await ask(here, method, task),
            await ask(alice, method, changed),
            await ask(alice, method, task + "="),
            await ask(alice, method, task.replace("cht1.", "ch1.")),
            await ask(alice, method, "786512e2"),
            await ask(alice, method, "cht1."),
            await ask(alice, method, "cht1." + "A" * 9000),
            await ask(alice, method, ""),
        ]
        stand.catalogue = catalogue([tool("time", "now", approval=Approval.QUARANTINED)], 2)
        answers.append(await ask(alice, method, task))
        stand.catalogue = catalogue([tool("time", "zones")], 3)
        answers.append(await ask(alice, method, task))
    said = set()
    for answer in answers:
        assert answer.status == 400
        error = answer.error
        error["data"]["io.customhouse/refusal"].pop("call_id")
        said.add(json.dumps(error, sort_keys=True))
    assert len(said) == 1
    assert [call.method for call in stand.pipeline.governed] == ["tools/call"] * 2
    assert set(stand.pipeline.refusals) == {"unknown_object"}


async def test_a_client_that_did_not_declare_tasks_is_told_what_is_missing() -> None:
    stand = at_work()
    async with stand.open() as alice:
        task = await created(alice)
        undeclared: list[dict[str, Any]] = [
            {},
            {"extensions": {}},
            {"extensions": {TASKS: True}},
        ]
        for said in undeclared:
            answer = await ask(alice, "tasks/get", task, said)
            assert (answer.status, answer.error["code"]) == (400, -32021)
            wanted: dict[str, Any] = {"extensions": {TASKS: {}}}
            assert answer.error["data"]["requiredCapabilities"] == wanted
        made = await alice.call("time_now")
        assert made.result["_meta"]["io.customhouse/refusal"]["code"] == "upstream_broken"
        assert b"786512e2" not in made.body


@pytest.mark.parametrize("name", [None, "other", ""])
async def test_the_header_names_the_task_of_the_body(name: str | None) -> None:
    stand = at_work()
    async with stand.open() as alice:
        task = await created(alice)
        body, headers = modern(alice, "tasks/get", {"taskId": task}, **DECLARED)
        named = [(b"mcp-name", name.encode())] if name is not None else []
        answer = await alice.raw(body, [*headers, *named])
    assert (answer.status, answer.error["code"]) == (400, -32020)


@pytest.mark.parametrize("task", [7, None, {"a": 1}])
async def test_an_id_is_a_string(task: Any) -> None:
    stand = at_work()
    async with stand.open() as alice:
        assert (await ask(alice, "tasks/get", task)).status == 400
    assert stand.pipeline.governed == []


@pytest.mark.parametrize("task", [7, "", "x" * 600, None])
async def test_a_server_whose_task_has_no_usable_id_is_broken(task: Any) -> None:
    async def odd(call: Call, relay: Relay) -> Outcome:
        return Outcome(Status.OK, json.dumps({**CREATED, "taskId": task}).encode())

    stand = Stand()
    stand.pipeline.upstream = odd
    async with stand.open() as alice:
        answer = await alice.call("time_now", {}, **DECLARED)
    assert answer.result["_meta"]["io.customhouse/refusal"]["code"] == "upstream_broken"


async def test_extensions_are_advertised_where_a_server_that_is_seen_has_them() -> None:
    stand = Stand()
    servers = dict(stand.catalogue.servers)
    servers["time"] = replace(servers["time"], extensions=frozenset({APPS}))
    servers["docs"] = replace(servers["docs"], extensions=frozenset({TASKS, APPS}))
    servers["hidden"] = replace(servers["hidden"], extensions=frozenset({TASKS}))
    stand.catalogue = replace(stand.catalogue, servers=servers, version=2)

    async def advertised(who: Knocker) -> tuple[Any, Any]:
        newest = (await who.ask("server/discover")).result["capabilities"]
        older = (await initialize(who)).result["capabilities"]
        return newest.get("extensions"), older.get("extensions")

    async with stand.open() as alice:
        assert await advertised(alice) == ({APPS: {}, TASKS: {}}, {APPS: {}})
        bob = Knocker(stand.border, "bob-key")  # does not see docs
        assert await advertised(bob) == ({APPS: {}}, {APPS: {}})
        there = Knocker(stand.border, "alice-key", "/mcp/s/time")
        assert await advertised(there) == ({APPS: {}}, {APPS: {}})
        stand.catalogue = catalogue(stand.catalogue.definitions, 3)
        assert await advertised(alice) == (None, None)
