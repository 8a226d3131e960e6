"""The same questions, asked by servers of the older era behind a URL: the MCP SDK on either wire."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from mcp.server.sse import SseServerTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from gateway.app.clock import wall_us
from gateway.domain.asking import KINDS
from gateway.domain.model import Principal, Status
from gateway.upstream.signature import DISCOVER, CallSigner
from gateway.upstream.spec import HttpTransport, ServerSpec
from tests.fakes import border, eventually, http_spec
from tests.servers import curious
from tests.upstream.asking import BOB, Answering, call, next_round, parked, said, tool
from tests.upstream.older_servers import Running, Seen, serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the product serves on; the other one adds nothing here but time."""
    return "asyncio", {"use_uvloop": True}


ANSWER = b'{"action":"accept","content":{"name":"Ada"}}'
ACCEPTED = json.loads(ANSWER)


@asynccontextmanager
async def streamable(**how: Any) -> AsyncIterator[Running]:
    running = Running()
    server = curious.server("older")
    running.app = server.streamable_http_app(**how)
    async with server.session_manager.run(), serve(running):
        yield running


@asynccontextmanager
async def sse() -> AsyncIterator[Running]:
    running = Running()
    server = curious.server("older")
    transport = SseServerTransport("/messages/")

    async def stream(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as streams:
            read, write = streams
            await server.run(read, write, server.create_initialization_options())
        return Response()

    posts = Mount("/messages/", app=transport.handle_post_message)
    running.app = Starlette(routes=[Route("/mcp", stream, methods=["GET"]), posts])
    async with serve(running):
        yield running


def asking(url: str, **bounds: Any) -> ServerSpec:
    given = {"timeout_s": 10.0, "per_caller": True, "requests": KINDS, **bounds}
    return http_spec(url, **given)


def signed(url: str) -> ServerSpec:
    signer = CallSigner(b"\x01" * 32, "https://tools.example.com", wall_us)
    return replace(asking(url), transport=HttpTransport(url, allow_private=True, signer=signer))


def claims(one: Seen) -> dict[str, Any]:
    """Who says this, by its token."""
    said_so = one.headers["customhouse-call"].split(".")[1]
    token: dict[str, Any] = json.loads(base64.urlsafe_b64decode(said_so + "=="))
    return {name: token[name] for name in token.keys() - {"iss", "aud", "iat", "exp", "jti"}}


WIRES = pytest.mark.parametrize("wire", [streamable, sse])


@WIRES
async def test_a_caller_of_the_older_era_is_asked_and_its_answer_comes_back(wire: Any) -> None:
    asker = Answering(ANSWER)
    async with wire() as running, border(asking(running.url)) as house:
        assert said(await call(house, tool("greet_twice"), asker)) == [ACCEPTED, ACCEPTED]
        sampled = b'{"role":"assistant","content":{"type":"text","text":"4"},"model":"m"}'
        assert said(await call(house, tool("sample"), Answering(sampled))) == "4"
    assert [ask.method for ask in asker.asked] == ["elicitation/create"] * 2


@WIRES
async def test_a_caller_of_the_newest_era_is_asked_in_rounds(wire: Any) -> None:
    async with wire() as running, border(asking(running.url)) as house:
        begun = tool("greet", modern=True)
        outcome = await call(house, begun)
        assert outcome.status is Status.INPUT_REQUIRED
        assert parked(house) == 1
        answer = {"input": ACCEPTED}
        assert said(await call(house, next_round(begun, outcome, answer))) == ACCEPTED


async def test_every_caller_has_a_session_of_its_own() -> None:
    async with streamable() as running, border(asking(running.url)) as house:
        for who in (None, None, BOB):
            await call(house, tool("remember", principal=who, word="x"))
        sessions = {one.headers["mcp-session-id"] for one in running.posts("tools/call")}
        assert len(sessions) == 2


async def test_a_question_on_a_calls_own_stream_is_for_that_call() -> None:
    """Beside another that goes on: over HTTP the stream says whose question it is."""
    asker, other = Answering(ANSWER), Answering()
    async with (
        streamable() as running,
        border(asking(running.url)) as house,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, house, tool("wait", seconds=60), other)
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        await eventually(lambda: len(running.posts("tools/call")) == 1)
        assert said(await call(house, tool("greet"), asker)) == ACCEPTED
        assert (len(asker.asked), other.asked) == (1, [])
        group.cancel_scope.cancel()


async def test_a_server_of_both_eras_is_spoken_to_in_its_callers() -> None:
    running = Running(refuses_modern=False)
    server = curious.server("older")
    running.app = server.streamable_http_app()
    async with server.session_manager.run(), serve(running), border(asking(running.url)) as house:
        assert said(await call(house, tool("greet"), Answering(ANSWER))) == ACCEPTED
        await call(house, tool("remember", modern=True, word="x"))
        versions = [one.headers["mcp-protocol-version"] for one in running.posts("tools/call")]
    assert versions == ["2025-11-25", "2026-07-28"]


async def test_a_shared_session_declares_nothing() -> None:
    asker = Answering(ANSWER)
    async with streamable() as running, border(asking(running.url, per_caller=False)) as house:
        outcome = await call(house, tool("greet"), asker)
    assert outcome.status in {Status.RPC_ERROR, Status.TOOL_ERROR}
    assert asker.asked == []


@WIRES
async def test_what_is_said_in_a_call_is_signed_as_its_callers_and_uses_no_tool(wire: Any) -> None:
    ann = Principal("acme", "corp/ann", actors=("planner",))
    async with wire() as running, border(signed(running.url)) as house:
        asking_twice = tool("greet_twice", principal=ann)
        assert said(await call(house, asking_twice, Answering(ANSWER))) == [ACCEPTED] * 2
        answers = [claims(one) for one in running.requests("POST") if not one.method]
        async with anyio.create_task_group() as group:
            left = replace(tool("wait", principal=ann, seconds=60), id="LEFT")
            group.start_soon(call, house, left, Answering())
            await eventually(lambda: len(running.posts("tools/call")) == 2)
            group.cancel_scope.cancel()
        await eventually(lambda: bool(running.posts("notifications/cancelled")))
        cancelled = [claims(one) for one in running.posts("notifications/cancelled")]
        [greeted] = [claims(one) for one in running.posts("notifications/initialized")]
    whose = {"sub": "corp/ann", "tenant": "acme", "act": {"sub": "planner"}, "method": "tools/call"}
    assert len({one.pop("request") for one in [*answers, *cancelled]}) == 3
    assert answers == [{**whose, "call": asking_twice.id}] * 2
    assert cancelled == [{**whose, "call": "LEFT"}]
    assert greeted == {"sub": DISCOVER, "request": greeted["request"]}
