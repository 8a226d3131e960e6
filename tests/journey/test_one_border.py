"""Models and other agents pass the same approvals, stops and runs as tools, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable
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


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    tmp_path = tmp_path_factory.mktemp("border")
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


def approval_in(said: object) -> str:
    """The id of the approval that a refusal tells its caller of."""
    found = re.search(r"A-[0-9A-Z]{8}", str(said))
    assert found is not None, said
    return found[0]


async def test_a_call_of_a_model_waits_for_its_approval_and_passes_once(
    running: GatewayProcess,
) -> None:
    async with client_of(running) as client:
        with pytest.raises(openai.APIStatusError) as needed:
            await client.chat.completions.create(model="steady", messages=SAID)
        approval = approval_in(needed.value.message)
        assert needed.value.code == "approval_needed"
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
        approval = approval_in(needed.value)
        await command(running, "approval", "approve", approval, "--yes")
        task = await task_of(client, "what does it cost", skill="quote")
        assert task.id
        with pytest.raises(A2AClientError):
            await task_of(client, "what does it cost", skill="quote")


Words = tuple[str, ...]
# What stops it, and what lets the next test go on: of a run nothing does.
STOPS: dict[str, tuple[Words, Words]] = {
    "everything": (("freeze",), ("thaw",)),
    "the model": (("model", "suspend", "endless"), ("model", "resume", "endless")),
    "its agent": (("agent", "disable", "tester"), ("agent", "enable", "tester")),
    "its run": (("run", "stop", RUN), ()),
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


@pytest.mark.timed
@pytest.mark.parametrize(("stop", "go_on"), STOPS.values(), ids=STOPS.keys())
async def test_a_stream_of_a_model_ends_within_the_bound(
    running: GatewayProcess, stop: Words, go_on: Words
) -> None:
    async with client_of(running) as client:
        stream = await client.chat.completions.create(
            model="endless", messages=SAID, stream=True, max_tokens=100_000
        )
        assert await ended(aiter(stream), command(running, *stop)) < BOUND_S
    if go_on:
        await command(running, *go_on)


@pytest.mark.timed
@pytest.mark.parametrize(
    ("stop", "go_on"),
    [
        (("peer", "suspend", "billing"), ("peer", "resume", "billing")),
        (("agent", "disable", "tester"), ("agent", "enable", "tester")),
        (("freeze",), ("thaw",)),
    ],
)
async def test_a_stream_of_an_agent_ends_within_the_bound(
    running: GatewayProcess, stop: Words, go_on: Words
) -> None:
    async with caller(running.url, streaming=True) as client:
        events = client.send_message(asking("endless", skill="echo"))
        assert await ended(aiter(events), command(running, *stop)) < BOUND_S
    await command(running, *go_on)


async def test_a_message_that_goes_on_with_a_task_is_approved_for_itself(
    running: GatewayProcess,
) -> None:
    async with caller(running.url) as client:
        with pytest.raises(A2AClientError) as needed:
            await task_of(client, "ask me", skill="quote")
        first = approval_in(needed.value)
        await command(running, "approval", "approve", first, "--yes")
        task = await task_of(client, "ask me", skill="quote")
        seen = await client.get_task(GetTaskRequest(id=task.id))
        assert seen.id == task.id
        with pytest.raises(A2AClientError) as needed:
            await task_of(client, "something else", task_id=task.id, context_id=task.context_id)
        assert approval_in(needed.value) != first
