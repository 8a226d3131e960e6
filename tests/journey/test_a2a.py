"""The official A2A client through a gateway of its own process, to a real agent behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.errors import A2AClientError
from a2a.types import (
    AgentCard,
    AuthenticationInfo,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SendMessageConfiguration,
    StreamResponse,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import TaskNotFoundError
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from jwt import PyJWK

from tests.journey.a2a_callers import (
    BOBS,
    CAROLS,
    KEYS,
    asking,
    caller,
    hooked,
    house,
    task_of,
    told,
)
from tests.journey.process import KEY, GatewayProcess, call_tool, customhouse, gateway
from tests.servers.agent import Agent, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with serving(Agent()) as running:
        yield running


@pytest.fixture(scope="module")
def running(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(house(tmp_path_factory.mktemp("house"), agent.card_url), KEYS) as started:
        yield started


async def card_for(url: str, key: str) -> AgentCard:
    auth = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=auth, trust_env=False) as http:
        return await A2ACardResolver(http, f"{url}/a2a/billing").get_agent_card()


async def test_the_card_leads_here_shows_what_the_caller_may_use_and_is_signed_by_the_gateway(
    running: GatewayProcess, agent: Agent
) -> None:
    whole, part = await card_for(running.url, KEY), await card_for(running.url, CAROLS)

    assert {one.id for one in whole.skills} == {"quote", "refund", "echo"}
    assert {one.id for one in part.skills} == {"quote"}
    assert {one.url for one in whole.supported_interfaces} == {f"{running.url}/a2a/billing"}
    assert str(agent.port) not in str(whole)
    async with httpx.AsyncClient(trust_env=False) as http:
        [key] = (await http.get(f"{running.url}/.well-known/jwks.json")).json()["keys"]
    verify = create_signature_verifier(lambda _kid, _jku: PyJWK(key), ["EdDSA"])
    verify(whole)
    verify(part)
    part.skills[0].id = "refund"
    with pytest.raises(InvalidSignaturesError):
        verify(part)


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_message_a_task_its_list_and_its_end_in_either_binding(
    running: GatewayProcess, agent: Agent, binding: str
) -> None:
    async with caller(running.url, binding=binding) as client:
        waiting = await task_of(client, "ask me")
        assert waiting.status.state == TaskState.TASK_STATE_INPUT_REQUIRED

        again = await client.get_task(GetTaskRequest(id=waiting.id))
        listed = await client.list_tasks(ListTasksRequest(context_id=waiting.context_id))
        done = await task_of(client, "thanks", task_id=waiting.id, context_id=waiting.context_id)

        assert again.context_id == waiting.context_id
        assert [one.id for one in listed.tasks] == [waiting.id]
        assert listed.total_size == 1
        assert done.id == waiting.id
        assert done.status.state == TaskState.TASK_STATE_COMPLETED
        assert agent.told[-1]["taskId"] != waiting.id  # as the peer calls it
        assert "io.customhouse/call" in agent.told[-1]["metadata"]


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_stream_is_told_in_the_names_of_its_caller(
    running: GatewayProcess, binding: str
) -> None:
    async with caller(running.url, binding=binding, streaming=True) as client:
        events = await told(client, asking("chunks please"))
        begun = events[0].task
        task = await client.get_task(GetTaskRequest(id=begun.id))

    named = {one.status_update.task_id or one.artifact_update.task_id for one in events[1:]}
    assert named == {begun.id}
    assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    assert "".join(part.text for part in task.artifacts[0].parts) == "chunk-1 chunk-2"


async def test_a_task_is_cancelled_while_it_is_listened_to(running: GatewayProcess) -> None:
    async with caller(running.url, streaming=True) as client:
        events = client.send_message(asking("wait for ever"))
        begun = (await anext(events)).task
        heard = client.subscribe(SubscribeToTaskRequest(id=begun.id))
        assert (await anext(heard)).task.id == begun.id
        ended = await client.cancel_task(CancelTaskRequest(id=begun.id))
        assert ended.status.state == TaskState.TASK_STATE_CANCELED
        with anyio.fail_after(10):
            last = [event async for event in heard][-1]
        assert last.status_update.status.state == TaskState.TASK_STATE_CANCELED
        await events.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_what_is_anothers_is_not_there(running: GatewayProcess) -> None:
    async with caller(running.url) as alice, caller(running.url, BOBS) as bob:
        task = await task_of(alice, "ask me")
        for attempt in (
            bob.get_task(GetTaskRequest(id=task.id)),
            bob.cancel_task(CancelTaskRequest(id=task.id)),
            told(bob, asking("let me in", task_id=task.id)),
        ):
            with pytest.raises(TaskNotFoundError, match="no such task"):
                await attempt
        listed = await bob.list_tasks(ListTasksRequest())
        assert task.id not in {one.id for one in listed.tasks}
        # A context that is another's is a name like any other: a conversation of its own.
        other = await task_of(bob, "ask me", context_id=task.context_id)
        mine = await alice.list_tasks(ListTasksRequest(context_id=task.context_id))
        assert other.context_id == task.context_id
        assert [one.id for one in mine.tasks] == [task.id]


async def test_a_message_that_comes_again_is_not_delivered_again(
    running: GatewayProcess, agent: Agent
) -> None:
    async with caller(running.url) as client:
        first = await task_of(client, "what does it cost", message_id="once-and-for-all")
        n_told = len(agent.told)
        again = await task_of(client, "what does it cost", message_id="once-and-for-all")

    assert again == first
    assert len(agent.told) == n_told


async def test_a_message_that_comes_again_with_a_new_run_is_of_the_run_that_it_began(
    running: GatewayProcess,
) -> None:
    message = {"messageId": "begins-a-run", "role": "ROLE_USER", "parts": [{"text": "a price"}]}
    said = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    auth = {"Authorization": f"Bearer {KEY}", "A2A-Version": "1.0", "Customhouse-Run": "new"}
    async with httpx.AsyncClient(headers=auth, trust_env=False) as http:
        url = f"{running.url}/a2a/billing"
        first, again = [await http.post(url, json=said) for _ in range(2)]
    assert first.json() == again.json()
    assert first.headers["customhouse-run"] == again.headers["customhouse-run"]


async def test_whoever_asked_to_be_told_is_told_and_the_peer_learns_no_credential(
    running: GatewayProcess, agent: Agent
) -> None:
    async with hooked() as hook, caller(running.url) as client:
        config = TaskPushNotificationConfig(
            id="mine",
            url=hook.url,
            token="hook-token",
            authentication=AuthenticationInfo(scheme="Bearer", credentials="hook-secret"),
        )
        wanted = SendMessageConfiguration(task_push_notification_config=config)
        task = await task_of(client, "ask me", configuration=wanted)
        config.task_id = task.id
        kept = await client.create_task_push_notification_config(config)
        assert (kept.url, kept.token) == (hook.url, "hook-token")
        await told(client, asking("done", task_id=task.id))
        with anyio.fail_after(10):
            while True:
                headers, event = await hook.told.get()
                if (
                    event.get("statusUpdate", event.get("task", {})).get("status", {}).get("state")
                    == "TASK_STATE_COMPLETED"
                ):
                    break

    assert headers["authorization"] == "Bearer hook-secret"
    assert headers["x-a2a-notification-token"] == "hook-token"
    assert task.id in json.dumps(event)
    assert "hook-secret" not in json.dumps(agent.told)


async def test_a_second_after_its_run_was_stopped_nobody_is_told_of_a_task(
    running: GatewayProcess, agent: Agent
) -> None:
    async with hooked() as hook, caller(running.url, run="run-to-be-stopped") as client:
        config = TaskPushNotificationConfig(id="mine", url=hook.url, token="t")
        wanted = SendMessageConfiguration(task_push_notification_config=config)
        await task_of(client, "ask me", configuration=wanted)
        async with httpx.AsyncClient(headers={"A2A-Version": "1.0"}, trust_env=False) as http:
            listed = (await http.get(f"{agent.url}/rest/tasks?pageSize=1")).json()["tasks"]
            own = listed[0]["id"]
            configs = await http.get(f"{agent.url}/rest/tasks/{own}/pushNotificationConfigs")
            place = configs.json()["configs"][0]["url"]
            status = {"state": "TASK_STATE_WORKING"}
            event = {"statusUpdate": {"taskId": own, "contextId": "c", "status": status}}
            assert (await http.post(place, json=event)).status_code == 200
            stop = ("run", "stop", "run-to-be-stopped", "--config", str(running.config))
            code, *_ = await asyncio.to_thread(customhouse, *stop)
            assert code == 0
            assert (await http.post(place, json=event)).status_code == 503


async def test_a_skill_called_as_a_tool_has_the_same_tasks_under_the_same_names(
    running: GatewayProcess, agent: Agent
) -> None:
    async def call(arguments: dict[str, str], key: str = KEY) -> dict[str, Any]:
        async with httpx2.AsyncClient(timeout=20) as http:
            return await call_tool(http, running.url, "a2a_billing_quote", arguments, key)

    asked = (await call({"message": "ask me"}))["result"]["structuredContent"]
    theirs = await call({"message": "more", "taskId": asked["taskId"]}, BOBS)
    done = (await call({"message": "that one", "taskId": asked["taskId"]}))["result"]
    upstream_id = agent.told[-1]["taskId"]
    raw = await call({"message": "more", "taskId": upstream_id})
    async with caller(running.url) as client:
        task = await client.get_task(GetTaskRequest(id=asked["taskId"]))

    assert done["structuredContent"]["state"] == "TASK_STATE_COMPLETED"
    assert task.context_id == asked["contextId"]
    assert theirs["error"]["code"] == raw["error"]["code"] == -32602
    assert upstream_id not in json.dumps([asked, done])


async def test_the_older_dialect_is_spoken_at_the_same_place(running: GatewayProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def ask(method: str, params: object) -> dict[str, object]:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            auth = {"Authorization": f"Bearer {KEY}"}
            answer = await http.post(f"{running.url}/a2a/billing", json=body, headers=auth)
            said: dict[str, dict[str, object]] = answer.json()
            return said.get("result") or said["error"]

        task = {"id": "job-7", "description": "ask me", "input_data": {"topic": "apples"}}
        made = await ask("agents/tasks/create", {"task": task})
        found = await ask("agents/tasks/result", {"task_id": made["task_id"]})
        lost = await ask("agents/tasks/result", {"task_id": "job-7"})

    assert made["id"] == "job-7"
    assert found["task_id"] == made["task_id"]
    assert found["status"] in ("pending", "in_progress")
    assert "the task_id of agents/tasks/create" in str(lost["message"])


async def _last(events: AsyncIterator[StreamResponse]) -> None:
    """Hear all of them, to however the line ends."""
    async for _ in events:
        pass


async def test_a_task_outlives_a_gateway_that_is_killed_in_its_stream(
    agent: Agent, tmp_path: Path
) -> None:
    config = house(tmp_path, agent.card_url)
    first = GatewayProcess(config, KEYS).start()
    async with caller(first.url, streaming=True) as client:
        events = client.send_message(asking("wait until it is over"))
        begun = (await anext(events)).task
        first.kill()
        with anyio.fail_after(10), pytest.raises(A2AClientError):
            await _last(events)
    with gateway(config, KEYS) as second:
        async with caller(second.url) as client:
            task = await client.get_task(GetTaskRequest(id=begun.id))
            ended = await client.cancel_task(CancelTaskRequest(id=begun.id))
    assert task.context_id == begun.context_id
    assert ended.status.state == TaskState.TASK_STATE_CANCELED
    code, said, _ = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said
