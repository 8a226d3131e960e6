"""Agents that misbehave in the middle of a stream, and their skills called as tools."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.domain.card import META
from gateway.domain.definition import canonical
from gateway.domain.model import (
    Approval,
    Definition,
    Kind,
    Outcome,
    Status,
)
from gateway.upstream import peer_answer
from gateway.upstream.peer_answer import NOTHING_MORE
from gateway.upstream.spec import HttpTransport, PeerTransport, ServerSpec
from tests.fakes import Asked, Collected, FakeUpstream, border, chunk
from tests.servers.agent import Agent
from tests.upstream.peers.asking import (
    asking,
    message,
    met,
    result,
    spec,
    tool_call,
)

pytestmark = pytest.mark.anyio


# -- agents that misbehave ------------------------------------------------------------------------
def _working(number: int = 0) -> dict[str, Any]:
    status = {"state": "TASK_STATE_WORKING"}
    return {"statusUpdate": {"taskId": "t", "contextId": f"c{number}", "status": status}}


async def streamed(behave: Callable[[Asked], Awaitable[None]]) -> tuple[Outcome, Collected]:
    """What became of a stream from an agent that does as it is told."""
    async with FakeUpstream(behave) as fake:
        interface = {"url": fake.url, "binding": "JSONRPC", "tenant": "", "streams": True}
        body = canonical({"_meta": {META: {"interface": interface, "skill": {}}}})
        definition = Definition(
            "fake", Kind.PEER, "quote", "quote", body, "0" * 64, Approval.APPROVED
        )
        card = HttpTransport(fake.url, allow_private=True)
        events = Collected()
        async with border(ServerSpec("fake", PeerTransport(card), timeout_s=5.0)) as house:
            call = asking(definition, "SendStreamingMessage", message=message("hello"))
            return await house.call(call, relay=events), events


async def test_events_that_are_none_break_the_call() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": _working()})
        await asked.send(chunk(b"data: {half\n\n"))

    outcome, events = await streamed(behave)
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_broken")
    assert events.frames == [_working()]


async def test_an_event_of_another_request_breaks_the_call() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": "another", "result": _working()})

    outcome, events = await streamed(behave)
    assert (outcome.status, outcome.code, events.frames) == (Status.FAILED, "upstream_broken", [])


async def test_an_agent_that_goes_away_in_the_middle_is_told_from_one_that_ends_its_stream() -> (
    None
):
    async def ends(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": _working()})
        await asked.end_stream()

    async def goes(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": _working()})
        asked.writer.close()

    ended, gone = await streamed(ends), await streamed(goes)
    assert (ended[0].status, ended[0].result) == (Status.OK, NOTHING_MORE)
    assert (gone[0].status, gone[0].code) == (Status.FAILED, "upstream_died")
    assert ended[1].frames == gone[1].frames == [_working()]


async def test_a_stream_kept_open_after_its_last_event_is_over_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_answer, "LINGER_S", 0.05)
    last = {"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_COMPLETED"}}}

    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": last})
        await asyncio.Event().wait()

    outcome, events = await streamed(behave)
    assert (result(outcome), events.frames) == (last, [])


async def test_an_error_in_the_middle_of_a_stream_is_its_end() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": _working()})
        error = {"code": -32603, "message": "broke"}
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "error": error})

    outcome, _ = await streamed(behave)
    assert (outcome.status, json.loads(outcome.error)["message"]) == (Status.RPC_ERROR, "broke")


# -- as a tool ------------------------------------------------------------------------------------
async def test_a_skill_is_called_as_a_tool(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        call = tool_call(definitions["quote"], message="two apples", data={"kilos": 2})
        outcome = await house.call(call)
    told = result(outcome)
    assert told["content"][0] == {"type": "text", "text": "two apples"}
    assert told["structuredContent"]["state"] == "TASK_STATE_COMPLETED"
    assert told["structuredContent"]["taskId"]
    assert "isError" not in told
    [heard] = agent.told
    assert heard["messageId"] == call.id
    assert heard["metadata"]["io.customhouse/skill"] == "quote"
    assert heard["parts"] == [{"text": "two apples"}, {"data": {"kilos": 2}}]


async def test_a_streaming_agent_tells_its_progress(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        events = Collected()
        call = tool_call(definitions["echo"], {"progressToken": "p1"}, message="chunks")
        told = result(await house.call(call, relay=events))
    assert [block["text"] for block in told["content"]] == ["chunk-1 ", "chunk-2"]
    progress = [frame["params"] for frame in events.frames]
    assert {one["progressToken"] for one in progress} == {"p1"}
    assert [one["message"] for one in progress] == ["submitted", "working", "completed"]


@pytest.mark.parametrize(
    ("word", "state", "said"),
    [
        ("ask", "TASK_STATE_INPUT_REQUIRED", "Call this tool again with taskId"),
        ("login", "TASK_STATE_AUTH_REQUIRED", "an authorization that a person has to give"),
    ],
)
async def test_an_agent_that_waits_says_for_what_and_how_to_go_on(
    agent: Agent, word: str, state: str, said: str
) -> None:
    async with met(spec(agent)) as (house, definitions):
        first = result(await house.call(tool_call(definitions["quote"], message=word)))
        task_id = first["structuredContent"]["taskId"]
        again = tool_call(definitions["quote"], message="the red one", taskId=task_id)
        second = result(await house.call(again))
    assert first["structuredContent"]["state"] == state
    assert said in first["content"][-1]["text"]
    assert task_id in first["content"][-1]["text"]
    assert second["structuredContent"]["taskId"] == task_id
    assert second["structuredContent"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.parametrize(("word", "said"), [("fail", "it broke"), ("reject", "not for me")])
async def test_a_task_that_failed_is_an_error_that_can_be_read(
    agent: Agent, word: str, said: str
) -> None:
    async with met(spec(agent)) as (house, definitions):
        outcome = await house.call(tool_call(definitions["quote"], message=word))
    assert outcome.status is Status.TOOL_ERROR
    assert result(outcome)["isError"] is True
    assert result(outcome)["content"] == [{"type": "text", "text": said}]


async def test_an_error_of_the_agent_is_a_result_that_a_model_can_read(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        call = tool_call(definitions["quote"], message="hello", taskId="nobody's")
        outcome = await house.call(call)
    assert outcome.status is Status.TOOL_ERROR
    assert "answered with an error" in result(outcome)["content"][0]["text"]


async def test_a_call_that_says_nothing_is_not_sent(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        outcome = await house.call(tool_call(definitions["quote"]))
    assert (outcome.status, outcome.sent) == (Status.TOOL_ERROR, False)
    assert agent.told == []
