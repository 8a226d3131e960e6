"""A call through call_tool is the call itself: to the pipeline, the server and whoever is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.asking import TASKS
from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, UNKNOWN_OBJECT, Refusal, Refused
from tests.edge.fakes import modern
from tests.edge.older import Older, session
from tests.edge.searching import LEGS, PLACES, at, either_way, of_era, searched, through, told_by

pytestmark = pytest.mark.anyio


def _judged(call: Call) -> Call:
    return replace(call, id="")


@either_way
@pytest.mark.parametrize("path", PLACES)
async def test_a_call_through_it_is_the_call_itself(leg: str, era: str, path: str) -> None:
    """The same call is made of it, and the same answer comes of that."""
    answers, calls = [], []
    for place, wrapped in ((path.removesuffix("/search"), False), (path, True)):
        stand = searched(leg)
        async with stand.open() as alice:
            who = await of_era(at(alice, place), era)
            name, arguments = PLACES[path][0], {"a": [1.50, None, {"\u00e9": "\\"}]}
            params = through(name, arguments) if wrapped else {"name": name, "arguments": arguments}
            meta = {"progressToken": 3, "v/a": [1]}
            asked = {**params, "inputResponses": {"k": {}}, "task": {}}
            if isinstance(who, Older):
                answer = await who.ask("tools/call", {**asked, "_meta": meta})
            else:
                answer = await who.ask("tools/call", asked, **meta)
        answers.append(told_by(answer))
        calls += [_judged(call) for call in stand.pipeline.governed]
    assert answers[0] == answers[1]
    assert calls[0] == calls[1]
    assert calls[0].object == "tool/time/now"
    assert calls[0].definition is not None


@either_way
async def test_the_bytes_of_the_arguments_are_sent_on_as_they_came(leg: str, era: str) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        who = await of_era(at(alice), era)
        body, headers = modern(at(alice), "tools/call", through("time_now", {"a": 1}))
        if isinstance(who, Older):
            body, headers = who.body("tools/call", through("time_now", {"a": 1})), who.headers()
        spelled = b'{"a" : 1.50e1, "b":"\\u0061"}'
        assert body.count(b'{"a": 1}') == 1
        await alice.raw(body.replace(b'{"a": 1}', spelled), headers, path="/mcp/search")
    [call] = stand.pipeline.governed
    assert call.params["arguments"] == spelled
    assert call.params["name"] == b'"now"'
    assert call.arguments == {"a": 15.0, "b": "a"}


@either_way
@pytest.mark.parametrize(
    "name",
    ["nope", "hidden_secret", "docs_poisoned", "docs_proposed", "call_tool", "search_tools"],
)
async def test_what_may_not_be_called_is_logged_as_at_the_endpoint_itself(
    leg: str, era: str, name: str
) -> None:
    seen = []
    for path, params in (
        ("/mcp", {"name": name, "arguments": {}}),
        ("/mcp/search", through(name)),
    ):
        stand = searched(leg)
        async with stand.open() as alice:
            who = await of_era(at(alice, path), era)
            answer = await who.ask("tools/call", params)
        assert (path == "/mcp") == (b'"error"' in answer.body)
        seen.append(([call.object for call in stand.pipeline.governed], stand.pipeline.refusals))
    assert seen[0] == seen[1]


@either_way
@pytest.mark.parametrize(
    "row", [row for row in BY_ID.values() if row.shown is UNKNOWN_OBJECT], ids=lambda row: row.id
)
async def test_a_tool_that_the_caller_has_not_is_said_to_the_model_and_alike_for_every_reason(
    leg: str, era: str, row: Refusal
) -> None:
    """A client raises an error of the protocol, which ends the agent; a model chose this name."""

    def refusing(call: Call) -> Refused | None:
        is_call = call.method == "tools/call"
        return Refused(row, detail={"problem": "secret"}) if is_call else None

    told = []
    for name in ("nope", "time_now"):
        stand = searched(leg)
        if name != "nope":
            stand.pipeline.refusing = refusing
        async with stand.open() as alice:
            who = await of_era(at(alice), era)
            answer = await who.ask("tools/call", through(name))
        told.append(told_by(answer))
        assert answer.status == 200
        assert answer.result["isError"] is True
        [content] = answer.result["content"]
        assert content["text"] == (
            "There is no such tool for you: find its name with search_tools."
        )
        assert list(answer.result["_meta"]["io.customhouse/refusal"]) == ["call_id"]
    assert told[0] == told[1]


@either_way
@pytest.mark.parametrize("name", ["time_now", "hidden_secret", "nope", "docs_poisoned"])
async def test_only_the_two_tools_can_be_called_by_their_names(
    leg: str, era: str, name: str
) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        who = await of_era(at(alice), era)
        answers = [told_by(await who.call(one, {})) for one in (name, "other")]
    assert answers[0] == answers[1]
    assert [call.definition for call in stand.pipeline.governed] == [None, None]


@either_way
@pytest.mark.parametrize(
    "arguments",
    [
        None,
        {},
        {"name": 7},
        {"name": ""},
        {"name": "time_now", "arguments": [1]},
        {"name": "time_now", "arguments": "{}"},
        {"name": "time_now", "arguments": None},
        {"name": "time_now", "requestState": "x"},
        {"name": "time_now", "_meta": {}},
    ],
    ids=str,
)
async def test_what_does_not_fit_call_tool_is_said_to_the_model(
    leg: str, era: str, arguments: Any
) -> None:
    stand = searched(leg)
    params = {"name": "call_tool", **({} if arguments is None else {"arguments": arguments})}
    async with stand.open() as alice:
        who = await of_era(at(alice), era)
        answer = (await who.ask("tools/call", params)).result
    assert answer["isError"] is True
    assert answer["_meta"]["io.customhouse/refusal"]["code"] == "invalid_arguments"
    assert stand.pipeline.governed == []
    assert stand.pipeline.refusals == ["invalid_arguments"]


@either_way
@pytest.mark.parametrize("name", ["call_tool", "search_tools"])
async def test_arguments_that_are_no_object_are_no_request(leg: str, era: str, name: str) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        who = await of_era(at(alice), era)
        answer = await who.ask("tools/call", {"name": name, "arguments": [1]})
    assert answer.error["code"] == -32602
    assert stand.pipeline.governed == []


@pytest.mark.parametrize("leg", LEGS)
async def test_a_key_twice_in_the_inner_arguments_is_refused(leg: str) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        body, headers = modern(at(alice), "tools/call", through("time_now", {"a": 1}))
        for twice in (b'{"a": 1, "a": 2}', b'{"a": 1}, "name": "docs_search"'):
            spelled = body.replace(b'{"a": 1}', twice)
            answer = await alice.raw(spelled, headers, path="/mcp/search")
            assert answer.error["code"] == -32700
    assert stand.pipeline.governed == []


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize(("header", "status"), [("call_tool", 200), ("time_now", 400), (None, 400)])
async def test_the_header_names_what_the_request_calls(
    leg: str, header: str | None, status: int
) -> None:
    stand = searched(leg)
    async with stand.open() as alice:
        body, headers = modern(at(alice), "tools/call", through("time_now"))
        kept = [(k, v) for k, v in headers if k != b"mcp-name"]
        named = [(b"mcp-name", header.encode())] if header else []
        answer = await alice.raw(body, [*kept, *named], path="/mcp/search")
    assert answer.status == status
    assert len(stand.pipeline.governed) == (status == 200)


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("mirrored", [None, "eu", "us"])
async def test_a_parameter_of_the_tool_behind_is_not_looked_for_in_a_header(
    leg: str, mirrored: str | None
) -> None:
    """The caller's tool is call_tool, which mirrors nothing; the gateway mirrors to the server."""
    stand = searched(leg)
    async with stand.open() as alice:
        asked = through("docs_mirrored", {"region": "eu"})
        body, headers = modern(at(alice), "tools/call", asked)
        extra = [(b"mcp-param-region", mirrored.encode())] if mirrored else []
        answer = await alice.raw(body, [*headers, *extra], path="/mcp/search")
    assert answer.status == 200
    [call] = stand.pipeline.governed
    assert call.object == "tool/docs/mirrored"


async def _asking(call: Call, relay: Relay) -> Outcome:
    asked = b'{"resultType":"input_required","requestState":"s","inputRequests":{}}'
    return Outcome(Status.INPUT_REQUIRED, asked) if call.round == 1 else Outcome(Status.OK, b"{}")


@pytest.mark.parametrize("leg", LEGS)
async def test_a_round_goes_on_through_call_tool(leg: str) -> None:
    stand = searched(leg)
    stand.pipeline.upstream = _asking
    async with stand.open() as alice:
        who = at(alice)
        state = (await who.ask("tools/call", through("time_now"))).result["requestState"]
        other = await who.ask("tools/call", {**through("time_zones"), "requestState": state})
        assert other.error["code"] == -32602
        again = {**through("time_now"), "requestState": state, "inputResponses": {}}
        assert (await who.ask("tools/call", again)).status == 200
    first, second = stand.pipeline.governed
    assert (second.id, second.round, second.object) == (first.id, 2, "tool/time/now")
    assert second.params["requestState"] == b'"s"'


async def _task(call: Call, relay: Relay) -> Outcome:
    said = {"taskId": "own", "status": "working", "ttlMs": 1, "resultType": "complete"}
    if call.method == "tools/call":
        said["resultType"] = "task"
    return Outcome(Status.OK, json.dumps(said).encode())


async def test_a_task_that_came_of_it_can_be_asked_for_there() -> None:
    stand = searched()
    stand.pipeline.upstream = _task
    declared: dict[str, Any] = {
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}
    }
    async with stand.open() as alice:
        who = at(alice)
        task = (await who.ask("tools/call", through("time_now"), **declared)).result["taskId"]
        body, headers = modern(who, "tasks/get", {"taskId": task}, **declared)
        answer = await who.raw(body, [*headers, (b"mcp-name", task.encode())])
    assert answer.result["taskId"] == task
    assert [call.server for call in stand.pipeline.governed] == ["time", "time"]


async def test_a_session_of_the_endpoint_itself_is_none_of_its_search() -> None:
    async with searched().open() as alice:
        older = await session(alice)
        older.who.path = "/mcp/search"
        assert (await older.ask("tools/list")).status == 404
