"""Streamable HTTP servers of the handshake era: found, kept in one session, called once per call."""

import asyncio
import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.exchange import Interrupted
from tests.fakes import Border, Collected, border, eventually, http_spec, make_call
from tests.upstream.older_servers import Remembered, Running, serve, sessions, streamable_server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ANSWERS = pytest.mark.parametrize("as_json", [True, False], ids=["json", "events"])


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}  # as the product serves; the other loop has the fakes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken streams are opened again at once."""
    monkeypatch.setattr("gateway.upstream.older_http.PAUSE_FIRST_S", 0.01)


async def heard(house: Border) -> None:
    """Until the server is listened to: what it says before that, it says to nobody."""
    await house.call()
    await eventually(lambda: house.upstreams.health()["fake"].connector["listening"] == 1)


def text_of(result: bytes) -> Any:
    return json.loads(json.loads(result)["content"][0]["text"])


@ANSWERS
async def test_every_call_is_one_request_in_one_session(as_json: bool) -> None:
    async with (
        streamable_server(json_response=as_json) as server,
        border(http_spec(server.url)) as house,
    ):
        listing = await house.upstreams.list_definitions("fake")
        for n in range(3):
            outcome = await house.call(make_call(arguments={"n": n}))
            assert (outcome.status, text_of(outcome.result)) == (Status.OK, {"n": n})
    assert listing.introduction.version == "2025-11-25"
    assert listing.instructions == "be kind"
    assert server.executed == [{"n": n} for n in range(3)]
    assert [one.method for one in server.requests("POST")] == [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
        *["tools/call"] * 3,
    ]
    assert len(server.requests("DELETE")) == 1


async def test_everything_after_the_greeting_says_which_session_and_revision_it_is_of() -> None:
    async with streamable_server() as server, border(http_spec(server.url)) as house:
        await house.call()
        await eventually(lambda: bool(server.requests("GET")))
    (greeting,) = server.posts("initialize")
    assert "mcp-session-id" not in greeting.headers
    assert "mcp-protocol-version" not in greeting.headers
    later = server.seen[server.seen.index(greeting) + 1 :]
    assert {one.http_method for one in later} == {"POST", "GET", "DELETE"}
    assert {one.headers["mcp-protocol-version"] for one in later} == {"2025-11-25"}
    assert len({one.headers["mcp-session-id"] for one in later}) == 1
    assert {one.headers["authorization"] for one in server.seen} == {"Bearer of-the-gateway"}


async def test_calls_that_come_at_once_share_the_greeting() -> None:
    async with (
        streamable_server(json_response=True) as server,
        border(http_spec(server.url)) as house,
    ):
        calls = [make_call(arguments={"n": n}) for n in range(20)]
        outcomes = await asyncio.gather(*[house.call(call) for call in calls])
    assert [text_of(outcome.result)["n"] for outcome in outcomes] == list(range(20))
    assert len(server.posts("initialize")) == 1
    assert len(server.posts("tools/call")) == 20


async def test_a_server_without_sessions_is_spoken_to_without_one() -> None:
    async with (
        streamable_server(stateless_http=True) as server,
        border(http_spec(server.url)) as house,
    ):
        assert (await house.call()).status is Status.OK
    assert not any("mcp-session-id" in one.headers for one in server.seen)
    assert server.requests("DELETE") == []


async def test_progress_reaches_the_caller_under_its_own_token() -> None:
    relay = Collected()
    async with streamable_server() as server, border(http_spec(server.url)) as house:
        call = make_call(name="progress", meta={"progressToken": "callers-own"})
        assert (await house.call(call, relay=relay)).status is Status.OK
    assert [frame["params"]["progress"] for frame in relay.frames] == [0, 1, 2]
    assert {frame["params"]["progressToken"] for frame in relay.frames} == {"callers-own"}


@ANSWERS
async def test_a_call_that_is_given_up_is_cancelled_by_name(as_json: bool) -> None:
    async with (
        streamable_server(json_response=as_json) as server,
        border(http_spec(server.url)) as house,
    ):
        task = asyncio.create_task(house.call(make_call(name="wait")))
        await server.waiting.wait()
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
        assert left.value.outcome.status is Status.CANCELLED
        with anyio.fail_after(5):
            await server.cancelled.wait()
        assert (await house.call()).status is Status.OK
    assert len(server.posts("notifications/cancelled")) == 1
    assert len(server.posts("initialize")) == 1


async def test_a_call_that_expires_is_cancelled_by_name() -> None:
    async with streamable_server() as server, border(http_spec(server.url, timeout_s=0.3)) as house:
        assert (await house.call()).status is Status.OK
        outcome = await house.call(make_call(name="wait"))
        assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_timeout")
        with anyio.fail_after(5):
            await server.cancelled.wait()


async def test_the_server_says_when_its_lists_change() -> None:
    told: list[str] = []
    async with streamable_server() as server, border(http_spec(server.url)) as house:
        house.upstreams.on_list_changed(told.append)
        await heard(house)
        assert told == []
        await house.call(make_call(name="change"))
        await eventually(lambda: told == ["fake"])


async def test_a_ping_of_the_server_is_answered_in_the_session() -> None:
    async with streamable_server() as server, border(http_spec(server.url)) as house:
        await heard(house)
        with anyio.fail_after(5):
            assert (await house.call(make_call(name="ping"))).status is Status.OK


async def test_what_a_server_asks_of_callers_who_share_its_session_is_refused() -> None:
    async with streamable_server() as server, border(http_spec(server.url)) as house:
        await heard(house)
        with anyio.fail_after(5):
            outcome = await house.call(make_call(name="sample"))
    assert text_of(outcome.result) == -32601


@ANSWERS
async def test_a_lost_session_costs_nobody_a_call_and_no_call_is_made_twice(as_json: bool) -> None:
    running = Running()
    told: list[str] = []
    async with serve(running), border(http_spec(running.url)) as house:
        house.upstreams.on_list_changed(told.append)
        async with sessions(running, json_response=as_json):
            assert (await house.call(make_call(arguments={"n": 1}))).status is Status.OK
        async with sessions(running, json_response=as_json):
            calls = [make_call(arguments={"n": n}) for n in range(2, 6)]
            outcomes = await asyncio.gather(*[house.call(call) for call in calls])
        await eventually(lambda: "fake" in told)  # it may have become another
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 4
    assert sorted(done["n"] for done in running.executed) == [1, 2, 3, 4, 5]
    assert len(running.posts("initialize")) == 2
    assert house.events("upstream_session_over")[0]["why"].startswith("the server does not know")


async def test_a_server_that_grew_modern_is_found_out_with_the_call_that_meets_it() -> None:
    running = Running()
    async with serve(running), border(http_spec(running.url)) as house:
        async with sessions(running):
            await house.call()
            assert house.upstreams.health()["fake"].connector["version"] == "2025-11-25"
        running.refuses_modern, running.refuses_older = False, True
        async with sessions(running):
            assert (await house.call(make_call(arguments={"n": 2}))).status is Status.OK
            assert house.upstreams.health()["fake"].connector["version"] == "2026-07-28"
    assert running.executed == [{}, {"n": 2}]


async def test_a_server_that_grew_older_is_found_out_by_the_next_look() -> None:
    running = Running(refuses_modern=False, refuses_older=True)
    told: list[str] = []
    async with serve(running), border(http_spec(running.url)) as house, sessions(running):
        house.upstreams.on_list_changed(told.append)
        await house.upstreams.list_definitions("fake")
        running.refuses_modern, running.refuses_older = True, False
        assert (await house.call()).status is Status.RPC_ERROR
        await eventually(lambda: told == ["fake"])  # so that a look comes soon
        listing = await house.upstreams.list_definitions("fake")
        assert listing.introduction.version == "2025-11-25"
        assert (await house.call()).status is Status.OK
    assert len(running.executed) == 1


async def test_a_broken_stream_goes_on_after_the_last_event() -> None:
    told: list[str] = []
    store = Remembered()
    async with (
        streamable_server(event_store=store, retry_interval=10) as server,
        border(http_spec(server.url)) as house,
    ):
        house.upstreams.on_list_changed(told.append)
        await heard(house)
        await house.call(make_call(name="change"))
        await house.call(make_call(name="hang_up"))
        await eventually(lambda: len(server.requests("GET")) == 2)
        await eventually(lambda: house.upstreams.health()["fake"].connector["listening"] == 1)
        first, second = server.requests("GET")
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"].isdigit()


async def test_a_server_that_is_down_is_unreachable_and_nothing_is_owed() -> None:
    running = Running()
    async with serve(running):
        spec = http_spec(running.url)
    async with border(spec) as house:
        outcome = await house.call()
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_unreachable")
    assert not outcome.sent
