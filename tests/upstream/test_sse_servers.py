"""HTTP+SSE servers of 2024-11-05: the MCP SDK's own."""

import asyncio
import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.exchange import Interrupted
from tests.fakes import Collected, border, eventually, http_spec, make_call
from tests.upstream.older_servers import sse_server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}  # as the product serves; the other loop has the fakes


def text_of(result: bytes) -> Any:
    return json.loads(json.loads(result)["content"][0]["text"])


async def test_every_call_is_one_post_and_its_answer_comes_on_the_stream() -> None:
    async with sse_server() as server, border(http_spec(server.url)) as house:
        listing = await house.upstreams.list_definitions("fake")
        calls = [make_call(arguments={"n": n}) for n in range(10)]
        outcomes = await asyncio.gather(*[house.call(call) for call in calls])
        health = house.upstreams.health()["fake"].connector
    assert [entry.name for entry in listing.definitions][:2] == ["echo", "progress"]
    assert listing.instructions == "be kind"
    assert [text_of(outcome.result)["n"] for outcome in outcomes] == list(range(10))
    assert sorted(done["n"] for done in server.executed) == list(range(10))
    assert len(server.posts("tools/call")) == 10
    assert len(server.posts("initialize")) == 2  # the first to a server that only has streams
    assert len(server.requests("GET")) == 1
    assert {one.headers["authorization"] for one in server.seen} == {"Bearer of-the-gateway"}
    assert (health["listening"], health["sessions"]) == (1, 1)


async def test_connections_are_kept_between_posts() -> None:
    async with sse_server() as server, border(http_spec(server.url)) as house:
        for n in range(20):
            assert (await house.call(make_call(arguments={"n": n}))).status is Status.OK
        assert house.upstreams.health()["fake"].connector["connections"] == 1


async def test_progress_change_ping_and_refusal_travel_on_the_stream() -> None:
    relay, told = Collected(), list[str]()
    async with sse_server() as server, border(http_spec(server.url)) as house:
        house.upstreams.on_list_changed(told.append)
        call = make_call(name="progress", meta={"progressToken": "callers-own"})
        assert (await house.call(call, relay=relay)).status is Status.OK
        await house.call(make_call(name="change"))
        await eventually(lambda: told == ["fake"])
        with anyio.fail_after(5):
            assert (await house.call(make_call(name="ping"))).status is Status.OK
            outcome = await house.call(make_call(name="sample"))
    assert text_of(outcome.result) == -32601
    assert [frame["params"]["progress"] for frame in relay.frames] == [0, 1, 2]
    assert {frame["params"]["progressToken"] for frame in relay.frames} == {"callers-own"}


async def test_a_call_that_is_given_up_is_cancelled_by_name() -> None:
    async with sse_server() as server, border(http_spec(server.url)) as house:
        task = asyncio.create_task(house.call(make_call(name="wait")))
        await server.waiting.wait()
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
        assert left.value.outcome.status is Status.CANCELLED
        with anyio.fail_after(5):
            await server.cancelled.wait()
        assert (await house.call()).status is Status.OK
