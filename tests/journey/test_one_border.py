"""Models and other agents pass the same approvals, stops and runs as tools, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import openai
import pytest
from a2a.client.errors import A2AClientError
from a2a.types import GetTaskRequest

from tests.journey.a2a_callers import asking, caller, task_of
from tests.journey.process import KEY, GatewayProcess, customhouse, write_policy
from tests.servers.agent import Agent, serving
from tests.servers.provider import Provider

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

BOUND_S = 1.0
RUN = "run-of-one-border"
SAID: list[Any] = [{"role": "user", "content": "Name a river."}]
CONFIG = """
listen = "127.0.0.1:0"
[peers.billing]
url = "{card}"
approve = "first-seen"
[models.steady]
url = "{provider}"
model = {{ id = "steady" }}
[models.endless]
url = "{provider}"
model = {{ id = "endless" }}
[agents.tester]
key = "env:CH_KEY"
[agents.ada]
roles = ["boss"]
"""
POLICY = """\
p, tester, default, model/steady, call, approval:boss, allow
p, tester, default, model/endless, call, -, allow
p, tester, default, peer/billing/quote, call, approval:boss, allow
p, tester, default, peer/billing/echo, call, -, allow
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with Provider() as provider:
        with serving(Agent()) as agent:
            write_policy(tmp_path, POLICY)
            config = tmp_path / "customhouse.toml"
            config.write_text(CONFIG.format(card=agent.card_url, provider=provider.url))
            process = GatewayProcess(config)
            await asyncio.to_thread(process.start)
            try:
                yield process
                await command(process, "audit", "verify")
            finally:
                await asyncio.to_thread(process.stop)


async def command(process: GatewayProcess, *arguments: str) -> Any:
    code, said, complaint = await asyncio.to_thread(
        customhouse, *arguments, "--json", "--config", str(process.config)
    )
    assert code == 0, said + complaint
    return json.loads(said)


def client_of(process: GatewayProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{process.url}/v1",
        api_key=KEY,
        timeout=20,
        max_retries=0,
        default_headers={"Customhouse-Run": RUN},
    )


async def waiting(process: GatewayProcess) -> str:
    [row] = [row for row in await command(process, "approval", "list") if row["state"] == "waiting"]
    return str(row["approval"])


async def test_a_call_of_a_model_waits_for_its_approval_and_passes_once(
    running: GatewayProcess,
) -> None:
    async with client_of(running) as client:
        with pytest.raises(openai.APIStatusError) as needed:
            await client.chat.completions.create(model="steady", messages=SAID)
        approval = await waiting(running)
        assert needed.value.code == "approval_needed"
        assert approval in needed.value.message
        assert f"/approvals/{approval}" in needed.value.message
        await command(running, "approval", "approve", approval, "--yes")
        answer = await client.chat.completions.create(model="steady", messages=SAID)
        assert answer.choices
        with pytest.raises(openai.APIStatusError):
            await client.chat.completions.create(model="steady", messages=SAID)


async def test_a_message_to_an_agent_waits_for_its_approval_and_passes_once(
    running: GatewayProcess,
) -> None:
    async with caller(running.url) as client:
        with pytest.raises(A2AClientError) as needed:
            await task_of(client, "what does it cost", skill="quote")
        approval = await waiting(running)
        assert approval in str(needed.value)
        await command(running, "approval", "approve", approval, "--yes")
        task = await task_of(client, "what does it cost", skill="quote")
        assert task.id
        with pytest.raises(A2AClientError):
            await task_of(client, "what does it cost", skill="quote")


STOPS = {
    "everything": ("freeze",),
    "its run": ("run", "stop", RUN),
    "the model": ("model", "suspend", "endless"),
    "its agent": ("agent", "disable", "tester"),
}


async def ended(stream: AsyncIterator[object], stop: Awaitable[object]) -> float:
    """How long *stream* still goes on when *stop* is done; it has to end with an error."""
    await anext(stream)

    async def listen() -> None:
        async for _ in stream:
            pass

    listening = asyncio.create_task(listen())
    await stop
    began_s = monotonic()
    with pytest.raises((openai.APIError, httpx.TransportError, A2AClientError)):
        async with asyncio.timeout(10):
            await listening
    return monotonic() - began_s


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
async def test_a_stream_of_a_model_ends_within_the_bound(
    running: GatewayProcess, stop: tuple[str, ...]
) -> None:
    async with client_of(running) as client:
        stream = await client.chat.completions.create(
            model="endless", messages=SAID, stream=True, max_tokens=100_000
        )
        assert await ended(aiter(stream), command(running, *stop)) < BOUND_S


@pytest.mark.parametrize(
    "stop", [("peer", "suspend", "billing"), ("agent", "disable", "tester"), ("freeze",)]
)
async def test_a_stream_of_an_agent_ends_within_the_bound(
    running: GatewayProcess, stop: tuple[str, ...]
) -> None:
    async with caller(running.url, streaming=True) as client:
        events = client.send_message(asking("endless", skill="echo"))
        assert await ended(aiter(events), command(running, *stop)) < BOUND_S


async def test_a_message_that_goes_on_with_a_task_is_approved_for_itself(
    running: GatewayProcess,
) -> None:
    async with caller(running.url) as client:
        with pytest.raises(A2AClientError):
            await task_of(client, "ask me", skill="quote")
        await command(running, "approval", "approve", await waiting(running), "--yes")
        task = await task_of(client, "ask me", skill="quote")
        seen = await client.get_task(GetTaskRequest(id=task.id))
        assert seen.id == task.id
        with pytest.raises(A2AClientError):
            await task_of(client, "something else", task_id=task.id, context_id=task.context_id)
        assert await waiting(running)
