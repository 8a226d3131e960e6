"""Whoever asks an agent through the gateway gets at nothing that is another's, or is hidden."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from a2a.types import GetTaskRequest

from tests.journey.a2a_callers import BOBS, CAROLS, KEYS, caller, hooked, house, task_of
from tests.journey.process import KEY, GatewayProcess, customhouse, gateway
from tests.servers.agent import Agent, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with serving(Agent()) as running:
        yield running


@pytest.fixture(scope="module")
def running(agent: Agent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = house(tmp_path_factory.mktemp("house"), agent.card_url)
    with gateway(config, KEYS) as started:
        yield started
    code, said, _ = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, said


async def rpc(
    url: str, method: str, params: Any, key: str = KEY, peer: str = "billing", **headers: str
) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    said = {"Authorization": f"Bearer {key}", "A2A-Version": "1.0", **headers}
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        return await http.post(f"{url}/a2a/{peer}", json=body, headers=said)


def message(said: str = "hello", **members: Any) -> dict[str, Any]:
    told = {"messageId": said, "role": "ROLE_USER", "parts": [{"text": said}], **members}
    return {"message": told}


async def test_no_id_opens_a_task_but_its_own_at_its_own_peer(
    running: GatewayProcess, agent: Agent
) -> None:
    async with caller(running.url) as alice:
        task = await task_of(alice, "ask me")
        await task_of(alice, "ask again", task_id=task.id)
        assert (await alice.get_task(GetTaskRequest(id=task.id))).id == task.id
    upstream_id = agent.told[-1]["taskId"]
    n_asked = len(agent.asked)
    answers = [
        (await rpc(running.url, "GetTask", {"id": wrong}, key, peer)).json()["error"]
        for wrong, key, peer in (
            (task.id, BOBS, "billing"),
            (task.id, KEY, "other"),
            (upstream_id, KEY, "billing"),
            (task.id[:-2] + "AA", KEY, "billing"),
            (task.id + "=", KEY, "billing"),
            ("cht-", KEY, "billing"),
            (["cht-"], KEY, "billing"),
            ("nothing", KEY, "billing"),
        )
    ]
    for answer in answers:
        answer["data"][0]["metadata"].pop("callId")
    assert {answer["code"] for answer in answers} == {-32001}
    assert all(answer == answers[-1] for answer in answers)
    assert len(agent.asked) == n_asked


async def test_another_spelling_of_a_member_is_no_way_around_its_name(
    running: GatewayProcess, agent: Agent
) -> None:
    async with caller(running.url) as alice:
        task = await task_of(alice, "ask me")
        await task_of(alice, "ask again", task_id=task.id)
    hers, n_asked = agent.told[-1]["taskId"], len(agent.asked)
    wrong = [
        ("SendMessage", message("in", task_id=hers)),
        ("SendMessage", message("in", reference_task_ids=[hers])),
        ("CreateTaskPushNotificationConfig", {"task_id": hers, "url": "https://hooks.example.com"}),
        (
            "SendMessage",
            {
                **message("to"),
                "configuration": {"task_push_notification_config": {"url": "https://10.0.0.8/"}},
            },
        ),
    ]
    for method, params in wrong:
        assert "error" in (await rpc(running.url, method, params, BOBS)).json()
    assert len(agent.asked) == n_asked


async def test_a_context_of_another_is_never_entered(running: GatewayProcess, agent: Agent) -> None:
    async with caller(running.url) as alice, caller(running.url, BOBS) as bob:
        task = await task_of(alice, "ask me", context_id="shared-name")
        hers = agent.told[-1]["contextId"]
        await task_of(bob, "ask me", context_id=task.context_id)
        his = agent.told[-1]["contextId"]
    assert hers != his
    assert "shared-name" not in (hers, his)


async def test_a_peer_and_a_skill_that_may_not_be_used_are_not_there(
    running: GatewayProcess, agent: Agent
) -> None:
    n_asked = len(agent.asked)
    async with httpx.AsyncClient(trust_env=False) as http:
        auth = {"Authorization": f"Bearer {CAROLS}"}
        path = ".well-known/agent-card.json"
        hidden = await http.get(f"{running.url}/a2a/other/{path}", headers=auth)
        absent = await http.get(f"{running.url}/a2a/nobody/{path}", headers=auth)
        stranger = await http.get(f"{running.url}/a2a/billing/{path}")
    assert (hidden.status_code, absent.status_code, stranger.status_code) == (404, 404, 401)
    assert _nameless(hidden.json()["error"]) == _nameless(absent.json()["error"])

    def named(skill: str) -> dict[str, Any]:
        return message(f"to {skill}", metadata={"io.customhouse/skill": skill})

    refund = (await rpc(running.url, "SendMessage", named("refund"), CAROLS)).json()["error"]
    absurd = (await rpc(running.url, "SendMessage", named("absurd"), CAROLS)).json()["error"]
    assert refund["code"] == absurd["code"] == -32602
    assert _nameless(refund) == _nameless(absurd)
    assert len(agent.asked) == n_asked


def _nameless(error: dict[str, Any]) -> str:
    for detail in error.get("data", error.get("details", [])):
        detail["metadata"].pop("callId", None)
    return json.dumps(error, sort_keys=True)


async def test_whoever_may_use_one_skill_reaches_no_other_by_naming_none(
    running: GatewayProcess, agent: Agent
) -> None:
    await rpc(running.url, "SendMessage", message("hello there"), CAROLS)
    # It was sent on as what she may use: the log says so, and policy decided on that.
    assert agent.told[-1]["messageId"] == "hello there"
    answer = await rpc(
        running.url, "SendMessage", message("any", metadata={"io.customhouse/skill": "*"})
    )
    assert answer.json()["error"]["code"] == -32602


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.8/hook",
        "https://[::ffff:192.168.0.1]/hook",
        "http://hooks.example.com/told",
        "file:///etc/passwd",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/\r\nX-Evil: 1",
    ],
)
async def test_nobody_is_told_at_a_private_address_or_in_the_clear(
    running: GatewayProcess, agent: Agent, url: str
) -> None:
    n_asked = len(agent.asked)
    config = {"taskPushNotificationConfig": {"url": url}}
    answer = await rpc(running.url, "SendMessage", {**message(url), "configuration": config})
    assert answer.json()["error"]["code"] == -32602
    assert len(agent.asked) == n_asked


async def test_only_what_the_gateway_sealed_is_a_place_where_a_peer_may_tell(
    running: GatewayProcess,
) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for word in ("chp-AAAA", "nothing", "chp-" + "A" * 9000):
            answer = await http.post(f"{running.url}/a2a/billing/push/{word}", json={"task": {}})
            assert answer.status_code == 401


async def test_a_peer_tells_nothing_but_of_the_tasks_of_whom_it_tells(
    running: GatewayProcess, agent: Agent
) -> None:
    async with hooked() as hook, caller(running.url, BOBS) as bob:
        theirs = await task_of(bob, "ask him")
        config = {"taskPushNotificationConfig": {"url": hook.url, "token": "t"}}
        sent = {**message("ask her"), "configuration": config}
        hers = (await rpc(running.url, "SendMessage", sent)).json()["result"]["task"]["id"]
        async with httpx.AsyncClient(headers={"A2A-Version": "1.0"}, trust_env=False) as http:
            listed = (await http.get(f"{agent.url}/rest/tasks?pageSize=2")).json()["tasks"]
            own, other = [one["id"] for one in listed]
            [told] = (
                await http.get(f"{agent.url}/rest/tasks/{own}/pushNotificationConfigs")
            ).json()["configs"]
            place = told["url"]
            assert hook.url not in json.dumps(told)
            assert "token" not in told
            while not hook.told.empty():
                hook.told.get_nowait()

            async def tell(task_id: str, place: str = place, text: str = "") -> int:
                status = {"state": "TASK_STATE_WORKING", "message": {"text": text}}
                event = {"statusUpdate": {"taskId": task_id, "contextId": "c", "status": status}}
                return (await http.post(place, json=event)).status_code

            assert await tell(other) == 400
            assert await tell("nothing") == 400
            assert await tell(own, place.replace("/billing/", "/other/")) == 401
            assert await tell(own, place[:-1]) == 401
            assert await tell(own, text="x" * 2_000_000) == 413
            assert hook.told.empty()
            assert await tell(own) == 200
            with anyio.fail_after(5):
                _, event = await hook.told.get()
            assert event["statusUpdate"]["taskId"] == hers != theirs.id
    async with httpx.AsyncClient(trust_env=False) as http:  # nobody listens there any more
        event = {"statusUpdate": {"taskId": own, "contextId": "c", "status": {}}}
        assert (await http.post(place, json=event)).status_code >= 500


async def test_what_is_not_in_the_table_is_not_asked(running: GatewayProcess, agent: Agent) -> None:
    n_asked = len(agent.asked)
    for method in ("tasks/get", "message/send", "GetAgentCard", "DeleteTask", "push"):
        answer = await rpc(running.url, method, {})
        assert answer.json()["error"]["code"] == -32601
    old = await rpc(running.url, "SendMessage", message(), **{"A2A-Version": "0.3"})
    assert old.json()["error"]["code"] == -32009
    assert len(agent.asked) == n_asked


async def test_a_tenant_that_the_caller_names_is_not_passed_on(
    running: GatewayProcess, agent: Agent
) -> None:
    answer = await rpc(running.url, "SendMessage", {**message("reply to me"), "tenant": "rivals"})
    assert answer.json()["result"]["message"]
    assert "rivals" not in json.dumps(agent.told)


async def test_a_message_of_many_megabytes_is_not_even_read(running: GatewayProcess) -> None:
    host, _, port = running.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /a2a/billing HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        "A2A-Version: 1.0\r\nContent-Type: application/json\r\nContent-Length: 50000000\r\n\r\n"
    )
    writer.write(head.encode())
    with anyio.fail_after(5):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_an_answer_beyond_what_was_held_is_withheld(running: GatewayProcess) -> None:
    answer = await rpc(running.url, "SendMessage", message("large please"))
    assert answer.json()["error"]["data"][0]["reason"] == "RESULT_TOO_LARGE"


async def test_an_id_leads_to_no_other_path_and_a_member_of_no_method_goes_nowhere(
    running: GatewayProcess, agent: Agent
) -> None:
    async with caller(running.url) as alice:
        task = await task_of(alice, "ask me")
    n_asked = len(agent.asked)
    config = {"url": "https://hooks.example.com/told", "id": "../../tasks"}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("GetTaskPushNotificationConfig", {"taskId": task.id, "id": "../../../tasks"}),
        ("DeleteTaskPushNotificationConfig", {"taskId": task.id, "id": ".."}),
        ("CreateTaskPushNotificationConfig", {"taskId": task.id, **config}),
        ("SendMessage", {**message("id"), "configuration": {"taskPushNotificationConfig": config}}),
        ("ListTasks", {"status": "what may not leave"}),
        ("SendMessage", {**message("case"), "Message": {"parts": []}}),
    ]
    for method, params in wrong:
        answer = (await rpc(running.url, method, params)).json()
        assert (answer["id"], answer["error"]["code"]) == (1, -32602), method
    assert len(agent.asked) == n_asked
    note = "x" * 9_000
    for method, params in (
        ("GetTask", {"id": task.id, "note": note}),
        ("ListTasks", {"note": note}),
        ("SendMessage", {**message("note"), "note": note}),
    ):
        assert "result" in (await rpc(running.url, method, params)).json(), method
    sizes = [int(one.get("content-length", 0)) for one in agent.asked[n_asked:]]
    assert len(sizes) >= 3
    assert max(sizes) < len(note)


async def test_a_message_that_says_anything_else_is_not_the_one_that_came_before(
    running: GatewayProcess, agent: Agent
) -> None:
    first = message("same", messageId="one-and-the-same")

    def told_at(host: str, word: str = "t") -> dict[str, Any]:
        config = {"url": f"https://{host}/told", "token": word}
        return {"configuration": {"taskPushNotificationConfig": config}}

    begun = await rpc(running.url, "SendMessage", {**first, **told_at("a.example.com")})
    assert "result" in begun.json()
    n_told = len(agent.told)
    again = await rpc(running.url, "SendMessage", {**first, **told_at("a.example.com")})
    assert again.json()["result"] == begun.json()["result"]
    others: list[dict[str, Any]] = [
        first,
        {**first, **told_at("b.example.com")},
        {**first, **told_at("a.example.com", "another")},
        {**first, **told_at("a.example.com"), "metadata": {"amount": 99}},
        {"message": {**first["message"], "extensions": ["x:y"]}, **told_at("a.example.com")},
    ]
    for other in others:
        assert "error" in (await rpc(running.url, "SendMessage", other)).json()
    assert len(agent.told) == n_told


SCHEMA = '{"type":"object","properties":{"amount":{"maximum":50}},"additionalProperties":false}'
RULES = 'approve = "first-seen"\nrules = { max_bytes = 3000, schema = "file:%s" }\n[peers.other]'
LIMITS = '[agents.alice]\nrate = "6/min"\nbudget = { tokens = "200k/day" }'


@pytest.fixture
def limited(agent: Agent, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway with rules for what goes to the agent, at which alice may do little."""
    schema = tmp_path / "schema.json"
    schema.write_text(SCHEMA)
    config = house(tmp_path, agent.card_url)
    said = config.read_text().replace('approve = "first-seen"\n[peers.other]', RULES % schema)
    config.write_text(said.replace("[agents.alice]", LIMITS))
    with gateway(config, KEYS) as started:
        yield started
    code, told, _ = customhouse("audit", "verify", "--config", str(config))
    assert code == 0, told


async def test_rules_hold_for_every_request_and_what_a_peer_tells_costs_its_owner_nothing(
    limited: GatewayProcess, agent: Agent
) -> None:
    n_asked = len(agent.asked)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("SendMessage", {**message("beside"), "metadata": {"amount": 99}}),
        ("GetTask", {"id": "cht-" + "x" * 4000}),
        ("ListTasks", {"pageToken": "x" * 4000}),
    ]
    for method, params in wrong:
        error = (await rpc(limited.url, method, params, BOBS)).json()["error"]
        assert error["data"][0]["reason"] == "MESSAGE_REFUSED", method
    assert len(agent.asked) == n_asked

    async with hooked() as hook:
        wanted = {"taskPushNotificationConfig": {"url": hook.url, "token": "t"}}
        sent = {**message("ask me"), "configuration": wanted}
        hers = (await rpc(limited.url, "SendMessage", sent)).json()["result"]["task"]["id"]
        await _flooded(agent)
    # More than her rate was told, and she may ask as before.
    assert (await rpc(limited.url, "GetTask", {"id": hers})).json()["result"]["id"] == hers


async def _flooded(agent: Agent) -> None:
    """The agent tells of its newest task, larger than it may, often, and then too often."""
    async with httpx.AsyncClient(headers={"A2A-Version": "1.0"}, trust_env=False) as http:
        listed = (await http.get(f"{agent.url}/rest/tasks?pageSize=1")).json()["tasks"]
        own = listed[0]["id"]
        path = f"{agent.url}/rest/tasks/{own}/pushNotificationConfigs"
        place = (await http.get(path)).json()["configs"][0]["url"]

        async def tell(text: str = "") -> int:
            status = {"state": "TASK_STATE_WORKING", "message": {"text": text}}
            event = {"statusUpdate": {"taskId": own, "contextId": "c", "status": status}}
            return (await http.post(place, json=event)).status_code

        assert await tell("x" * 4000) == 413
        with anyio.fail_after(20):
            assert [await tell() for _ in range(12)] == [200] * 12
            assert 429 in await asyncio.gather(*(tell() for _ in range(60)))
