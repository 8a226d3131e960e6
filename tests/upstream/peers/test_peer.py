"""Another agent behind the border: its card is its list of skills, each call is one request of it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.a2a import METHODS
from gateway.domain.card import skill_of
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import (
    Outcome,
    Status,
)
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.spec import PeerTransport
from tests.fakes import Collected, border
from tests.servers.agent import Agent, served_card, serving
from tests.upstream.peers.asking import (
    CREDENTIAL,
    TRACE,
    asking,
    listed,
    message,
    met,
    result,
    spec,
)

pytestmark = pytest.mark.anyio


# -- the card -------------------------------------------------------------------------------------
async def test_skills_are_tools_that_a_model_can_call(agent: Agent) -> None:
    async with met(spec(agent)) as (_, definitions):
        tools = {name: json.loads(one.body) for name, one in definitions.items() if name}
    assert set(tools) == {"quote", "refund", "echo"}
    quote = tools["quote"]
    assert quote["title"] == "Quote"
    assert quote["description"].startswith("Says what something costs.\nTags: price")
    assert set(quote["inputSchema"]["properties"]) == {"message", "data", "taskId", "contextId"}
    assert skill_of(definitions["quote"].body)["examples"] == ["What does a kilo of apples cost?"]


async def test_what_is_pinned_of_an_agent_changes_with_its_card_but_not_with_its_skills(
    agent: Agent,
) -> None:
    async with border(spec(agent)) as house:
        before = await listed(house)
        agent.served = json.dumps(served_card(agent, description="Now does more.")).encode()
        described = await listed(house)
        agent.served = json.dumps(
            served_card(agent, skills=served_card(agent)["skills"][:1])
        ).encode()
        fewer = await listed(house)
    assert described[""].body != before[""].body
    assert described["quote"].body == before["quote"].body
    assert fewer[""].body == before[""].body
    assert set(fewer) == {"", "quote"}


async def test_a_card_that_moves_its_interface_changes_every_skill_and_reaches_nobody_else(
    agent: Agent,
) -> None:
    with serving(Agent()) as thief:
        async with border(spec(agent)) as house:
            before = await listed(house)
            place = {"url": f"{agent.url}/elsewhere", "protocolBinding": "JSONRPC"}
            moved = served_card(agent, supportedInterfaces=[{**place, "protocolVersion": "1.0"}])
            agent.served = json.dumps(moved).encode()
            after = await listed(house)
            assert all(after[name].body != before[name].body for name in before)
            # What was approved is what is called, whatever the card says by now.
            call = asking(before["quote"], "SendMessage", message=message("hello"))
            assert (await house.call(call)).status is Status.OK
    assert [one[":path"] for one in agent.asked] == ["/rpc"]
    assert thief.asked == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"supportedInterfaces": []}, "offers no interface"),
        (
            {"supportedInterfaces": [{"url": "https://a.example/", "protocolBinding": "GRPC"}]},
            "offers no interface",
        ),
        (
            {
                "supportedInterfaces": [
                    {
                        "url": "https://10.0.0.1/rpc",
                        "protocolBinding": "JSONRPC",
                        "protocolVersion": "1.0",
                    }
                ]
            },
            "private or loopback",
        ),
        (
            {
                "supportedInterfaces": [
                    {
                        "url": "http://127.0.0.1:1/rpc",
                        "protocolBinding": "JSONRPC",
                        "protocolVersion": "1.0",
                    }
                ]
            },
            "without https",
        ),
        ({"name": ""}, "no name"),
        ({"skills": []}, "0 skills"),
        ({"description": "x" * 300_000}, "more than 262144 bytes"),
    ],
    ids=[
        "no-interface",
        "only-grpc",
        "a-private-address",
        "another-port",
        "nameless",
        "no-skills",
        "oversize",
    ],
)
async def test_a_card_that_cannot_be_used_says_why(
    agent: Agent, changes: dict[str, Any], why: str
) -> None:
    agent.served = json.dumps(served_card(agent, **changes)).encode()
    async with border(spec(agent)) as house:
        with pytest.raises(UpstreamFailed, match=why):
            await listed(house)


async def test_a_card_that_redirects_is_not_followed(agent: Agent) -> None:
    with serving(Agent()) as other:
        agent.moved = other.card_url
        async with border(spec(agent)) as house:
            with pytest.raises(UpstreamFailed, match="redirects are not followed"):
                await listed(house)
    assert other.cards == 0


async def test_a_card_on_a_private_address_that_nobody_declared_is_not_fetched(
    agent: Agent,
) -> None:
    before = agent.cards
    there = spec(agent)
    assert isinstance(there.transport, PeerTransport)
    card = replace(there.transport.card, allow_private=False)
    async with border(replace(there, transport=PeerTransport(card))) as house:
        with pytest.raises(UpstreamFailed, match="private or loopback"):
            await listed(house)
    assert agent.cards == before


# -- one request for one call ---------------------------------------------------------------------
async def test_a_message_is_one_request_with_the_gateways_own_credential(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        call = asking(definitions["quote"], "SendMessage", message=message("hello"))
        outcome = await house.call(call)
    assert result(outcome)["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert outcome.sent
    [asked] = agent.asked
    assert asked["authorization"] == CREDENTIAL
    assert asked["a2a-version"] == "1.0"
    assert asked["traceparent"] == TRACE
    [told] = agent.told
    assert told["metadata"] == {
        "io.customhouse/call": call.id,
        "io.customhouse/run": "run-of-alice",
        "io.customhouse/skill": "quote",
    }


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_every_method_is_spoken_in_both_bindings(binding: str) -> None:
    with serving(Agent(bindings=(binding,))) as agent:
        async with met(spec(agent)) as (house, definitions):

            async def ask(method: str, **params: Any) -> Outcome:
                return await house.call(asking(definitions[""], method, **params))

            task = result(await ask("SendMessage", message=message("ask")))["task"]
            assert result(await ask("GetTask", id=task["id"]))["id"] == task["id"]
            found = result(await ask("ListTasks", contextId=task["contextId"], pageSize=10))
            assert [one["id"] for one in found["tasks"]] == [task["id"]]
            config = {"id": "c1", "url": "http://127.0.0.1:1/hook", "taskId": task["id"]}
            made = result(await ask("CreateTaskPushNotificationConfig", **config))
            assert made["url"] == config["url"]
            one = {"taskId": task["id"], "id": "c1"}
            assert result(await ask("GetTaskPushNotificationConfig", **one))["id"] == "c1"
            many = result(await ask("ListTaskPushNotificationConfigs", taskId=task["id"]))
            assert [each["id"] for each in many["configs"]] == ["c1"]
            assert (await ask("DeleteTaskPushNotificationConfig", **one)).status is Status.OK
            over = result(await ask("CancelTask", id=task["id"]))
            assert over["status"]["state"] == "TASK_STATE_CANCELED"
            events = Collected()
            streaming = asking(
                definitions["echo"], "SendStreamingMessage", message=message("chunks")
            )
            last = await house.call(streaming, relay=events)
            unknown = await ask("GetTask", id="nobody's")
    assert [next(iter(event)) for event in events.frames] == [
        "task",
        "statusUpdate",
        "artifactUpdate",
        "artifactUpdate",
    ]
    assert result(last)["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert unknown.status is Status.RPC_ERROR
    assert json.loads(unknown.error)["code"] == -32001
    paths = {one[":path"] for one in agent.asked}
    assert paths == {"/rpc"} if binding == "JSONRPC" else "/rest/message:stream" in paths


async def test_a_stream_that_waits_for_somebody_ends_with_that(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        events = Collected()
        call = asking(definitions["quote"], "SendStreamingMessage", message=message("login"))
        outcome = await house.call(call, relay=events)
    assert result(outcome)["statusUpdate"]["status"]["state"] == "TASK_STATE_AUTH_REQUIRED"
    assert [next(iter(event)) for event in events.frames] == ["task"]


async def test_a_stream_that_never_ends_is_cut_at_the_deadline(agent: Agent) -> None:
    async with met(spec(agent, timeout_s=0.4)) as (house, definitions):
        events = Collected()
        call = asking(definitions["quote"], "SendStreamingMessage", message=message("endless"))
        outcome = await house.call(call, relay=events)
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_timeout")
    assert len(events.frames) > 2


async def test_a_stream_that_holds_more_than_the_call_may_is_cut(agent: Agent) -> None:
    async with met(spec(agent, timeout_s=30.0)) as (house, definitions):
        call = asking(definitions["quote"], "SendStreamingMessage", message=message("endless"))
        outcome = await house.call(call, ceiling_tokens=500)
    assert (outcome.status, outcome.code) == (Status.TOO_LARGE, "result_too_large")


async def test_an_answer_larger_than_the_rules_allow_is_withheld(agent: Agent) -> None:
    rules = MessageRules(max_bytes=100_000)
    async with met(spec(agent, rules=rules)) as (house, definitions):
        call = asking(definitions["quote"], "SendMessage", message=message("large"))
        outcome = await house.call(call, ceiling_tokens=1_000_000)
    assert (outcome.status, outcome.code) == (Status.TOO_LARGE, "result_too_large")


async def test_without_an_approved_definition_nothing_is_sent(agent: Agent) -> None:
    async with met(spec(agent)) as (house, _):
        outcome = await house.call(asking(None, "SendMessage", message=message("hello")))
    assert (outcome.status, outcome.sent) == (Status.FAILED, False)
    assert agent.asked == []


async def test_ids_cannot_lead_to_another_path() -> None:
    with serving(Agent(bindings=("HTTP+JSON",))) as agent:
        async with met(spec(agent)) as (house, definitions):
            for task_id in ("../extendedAgentCard", "a?b", "x/../y", "a%2fb", "a\\b", ".."):
                outcome = await house.call(asking(definitions[""], "GetTask", id=task_id))
                assert (outcome.status, outcome.sent) == (Status.RPC_ERROR, False)
            config = {"taskId": "t", "id": "../../../tasks"}
            call = asking(definitions[""], "GetTaskPushNotificationConfig", **config)
            assert not (await house.call(call)).sent
    assert agent.asked == []


async def test_what_a_caller_cannot_say_is_its_own_error_and_not_the_agents(agent: Agent) -> None:
    async with met(spec(agent)) as (house, definitions):
        for _ in range(6):
            call = asking(definitions["quote"], "SendMessage", message={"metadata": 7})
            outcome = await house.call(call)
            assert (outcome.status, outcome.sent) == (Status.RPC_ERROR, False)
        fine = await house.call(asking(definitions["quote"], "SendMessage", message=message("hi")))
    assert fine.status is Status.OK  # the breaker has not opened


def test_the_table_of_methods_is_that_of_the_sdk() -> None:
    from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher

    assert set(METHODS) == set(JsonRpcDispatcher.METHOD_TO_MODEL)
