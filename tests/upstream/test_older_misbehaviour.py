"""Streamable HTTP servers of the handshake era that lose, flood, stall and lie."""

import asyncio
import json

import anyio
import pytest

from gateway.domain.model import Status
from tests.fakes import (
    Asked,
    Collected,
    border,
    chunk,
    eventually,
    http_response,
    http_spec,
    make_call,
)
from tests.upstream.older_fakes import NOT_FOUND, TEXT, FakeOlder, echo, error, event, forever, says

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.older_http.PAUSE_FIRST_S", 0.01)


# -- what is passed on ---------------------------------------------------------------


async def test_what_the_server_says_is_passed_on_as_it_is() -> None:
    raw = b'{"content":[],"vendor":{"x":1.50,"u":"\xc3\xa9"},"big":1e400}'

    async def call(asked: Asked) -> None:
        await asked.send(http_response(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (asked.id, raw)))

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).result == raw


async def test_only_what_is_of_the_call_is_passed_on_from_its_stream() -> None:
    async def call(asked: Asked) -> None:
        await asked.open_stream()
        for method, params in {
            "notifications/progress": {"progressToken": asked.token, "progress": 1},
            "notifications/message": {"level": "error", "data": "of somebody else"},
            "notifications/tools/list_changed": {},
            "notifications/resources/updated": {"uri": "file:///x"},
            "notifications/cancelled": {"requestId": asked.id},
        }.items():
            await asked.event({"jsonrpc": "2.0", "method": method, "params": params})
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": {}})
        await asked.end_stream()

    relay, told = Collected(), list[str]()
    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        house.upstreams.on_list_changed(told.append)
        await house.call(make_call(meta={"progressToken": 5}), relay=relay)
        await eventually(lambda: told == ["fake"])
    assert [frame["method"] for frame in relay.frames] == ["notifications/progress"]


async def test_progress_that_comes_on_the_common_stream_finds_its_call() -> None:
    stream: list[Asked] = []

    async def listen(asked: Asked) -> None:
        await asked.open_stream()
        stream.append(asked)
        await asked.reader.read()

    async def call(asked: Asked) -> None:
        progress = {"progressToken": asked.token, "progress": 1}
        for token in (asked.token, 999):
            params = {**progress, "progressToken": token}
            await stream[0].event({"method": "notifications/progress", "params": params})
        await anyio.wait_all_tasks_blocked()
        await asked.answer({})

    relay = Collected()
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_get = listen
        await house.call()
        await eventually(lambda: house.upstreams.health()["fake"].connector["listening"] == 1)
        server.call = call
        await house.call(make_call(meta={"progressToken": "p"}), relay=relay)
    assert [frame["params"] for frame in relay.frames] == [{"progressToken": "p", "progress": 1}]


async def test_the_answer_to_another_request_is_no_answer() -> None:
    async def call(asked: Asked) -> None:
        body = b'{"jsonrpc":"2.0","id":999999,"result":{}}'
        await asked.send(http_response(body))

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).code == "upstream_broken"


# -- sessions that are lost ----------------------------------------------------------


async def test_a_call_whose_connection_ends_with_the_session_is_not_made_again() -> None:
    async def call(asked: Asked) -> None:
        server.lose_session()
        asked.writer.close()

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
        assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_died")
        assert len(server.calls()) == 1
        server.call = echo
        assert (await house.call()).status is Status.OK
    assert len(server.calls("initialize")) == 2


async def test_a_server_that_loses_every_session_is_asked_twice_and_not_for_ever() -> None:
    async def call(asked: Asked) -> None:
        server.lose_session()
        await asked.send(NOT_FOUND)

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        with anyio.fail_after(3):
            outcome = await house.call()
        assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_broken")
    assert len(server.calls()) == 2


async def test_a_result_is_no_rejection_whatever_its_status() -> None:
    """It was executed: not even a lost session makes it a call to send once more."""

    async def call(asked: Asked) -> None:
        server.lose_session()
        body = b'{"jsonrpc":"2.0","id":%d,"result":{}}' % asked.id
        await asked.send(http_response(body, status="404 Not Found"))

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).code == "upstream_broken"
    assert len(server.calls()) == 1


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 X", "403 X", "404 Not Found", "405 X", "410 X", "422 X"]
)
async def test_a_no_in_a_session_that_lives_is_the_answer(status: str) -> None:
    async with FakeOlder(says(b"no", status)) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
        assert outcome.status is Status.FAILED
        server.call = error(-32602, status)
        outcome = await house.call()
        assert (outcome.status, json.loads(outcome.error)["code"]) == (Status.RPC_ERROR, -32602)
    assert len(server.calls()) == 2
    assert len(server.calls("ping")) == 2
    assert len(server.calls("initialize")) == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found"])
async def test_a_lost_session_is_known_by_whatever_the_server_says_then(status: str) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        await house.call(make_call(arguments={"n": 1}))
        gone = http_response(b"Session not found", status=status, content_type=TEXT)
        before, server.session_id = server.session_id, "session-2"

        async def route(asked: Asked) -> None:
            if asked.headers.get("mcp-session-id") == before:
                await asked.send(gone)
            else:
                await server.route(asked)

        server.behave = route
        outcome = await house.call(make_call(arguments={"n": 2}))
    assert outcome.status is Status.OK
    assert [asked.headers["mcp-session-id"] for asked in server.calls()] == [
        "session-1",
        "session-1",
        "session-2",
    ]


@pytest.mark.parametrize("status", ["408 X", "413 X", "429 X", "500 X", "503 X"])
async def test_a_no_to_the_request_itself_does_not_ask_after_the_session(status: str) -> None:
    async with FakeOlder(says(b"no", status)) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).code == "upstream_broken"
    assert len(server.calls()) == 1
    assert server.calls("ping") == []


async def test_the_stream_tells_that_a_session_is_lost_before_any_call_does() -> None:
    told: list[str] = []
    hang_up = asyncio.Event()

    async def listen(asked: Asked) -> None:
        await asked.open_stream()
        await hang_up.wait()
        asked.writer.close()

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_get = listen
        house.upstreams.on_list_changed(told.append)
        await house.call()
        await eventually(lambda: house.upstreams.health()["fake"].connector["listening"] == 1)
        server.lose_session()
        hang_up.set()
        await eventually(lambda: "fake" in told)
        await eventually(lambda: len(house.events("upstream_session_over")) == 1)
        await house.call()
    assert {asked.headers["mcp-session-id"] for asked in server.calls()} == {
        "session-1",
        "session-1-again",
    }


# -- streams that do not behave ------------------------------------------------------


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "404 Not Found", "200 OK"])
async def test_a_server_without_the_stream_is_not_asked_for_it_again(status: str) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_get = says(b"no", status)
        for _ in range(5):
            await house.call()
        await eventually(lambda: any(asked.head.startswith("GET") for asked in server.asked))
        await house.call()
    assert sum(asked.head.startswith("GET") for asked in server.asked) == 1
    assert len(server.calls("initialize")) == 1


async def test_a_stream_that_never_ends_is_cut_at_the_deadline_and_cancelled() -> None:
    async def call(asked: Asked) -> None:
        await asked.open_stream()
        while True:
            await asked.send(chunk(b": ping\n\n"))
            await anyio.sleep(0.01)

    async with FakeOlder(call) as server, border(http_spec(server.url, timeout_s=0.2)) as house:
        assert (await house.call()).code == "upstream_timeout"
        await eventually(lambda: len(server.calls("notifications/cancelled")) == 1)
        cancelled = server.calls("notifications/cancelled")[0]
    assert cancelled.params["requestId"] == server.calls()[0].id


async def test_an_event_above_the_ceiling_is_cut_and_cancelled() -> None:
    async def call(asked: Asked) -> None:
        await asked.open_stream()
        while True:
            await asked.send(chunk(b"x" * 65_536))

    async with FakeOlder(call) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
        assert (outcome.status, outcome.code) == (Status.TOO_LARGE, "result_too_large")
        await eventually(lambda: len(server.calls("notifications/cancelled")) == 1)


async def test_an_endless_event_on_the_common_stream_harms_no_call() -> None:
    streams = 0

    async def listen(asked: Asked) -> None:
        nonlocal streams
        streams += 1
        await asked.open_stream()
        if streams == 1:
            while True:
                await asked.send(chunk(b"data: " + b"x" * 65_536))
        await asked.reader.read()

    async with (
        FakeOlder() as server,
        border(http_spec(server.url, max_result_bytes=200_000)) as house,
    ):
        server.on_get = listen
        await house.call()
        await eventually(lambda: streams == 2)
        assert (await house.call()).status is Status.OK
    assert len(server.calls("initialize")) == 1


async def test_noise_on_the_common_stream_is_passed_over() -> None:
    told: list[str] = []

    async def listen(asked: Asked) -> None:
        await asked.open_stream()
        await asked.send(chunk(b"event: ping\ndata: x\n\n" + b"data: no JSON\n\n" * 50))
        await asked.send(event({"jsonrpc": "2.0", "id": 1, "result": {"smuggled": True}}))
        await asked.send(event({"method": "notifications/tools/list_changed"}))
        await asked.reader.read()

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_get = listen
        house.upstreams.on_list_changed(told.append)
        await house.call()
        await eventually(lambda: told == ["fake"])
        outcome = await house.call(make_call(arguments={"n": 1}))
    assert b"smuggled" not in outcome.result


async def test_pings_without_end_are_answered_as_far_as_there_is_room() -> None:
    async def listen(asked: Asked) -> None:
        await asked.open_stream()
        n = 0
        while True:
            n += 1
            await asked.send(event({"jsonrpc": "2.0", "id": f"p{n}", "method": "ping"}) * 200)
            await anyio.sleep(0.001)

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_get = listen
        await house.call()
        await eventually(lambda: len(server.answers()) > 50)
        for _ in range(5):
            with anyio.fail_after(2):
                assert (await house.call()).status is Status.OK
    assert server.answers()[0]["result"] == {}
    assert server.answers()[0]["id"] == "p1"


async def test_a_server_that_does_not_let_go_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.older_http.CLOSE_S", 0.1)

    async def route(asked: Asked) -> None:
        if asked.head.startswith("DELETE"):
            await forever(asked)
        else:
            await server.route(asked)

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.behave = route
        await house.call()
        with anyio.fail_after(2):
            await house.upstreams.stop()
    assert sum(asked.head.startswith("DELETE") for asked in server.asked) == 1


async def test_notifications_that_the_server_answers_at_length_do_not_keep_a_connection() -> None:
    """Some servers open a stream for everything that is posted."""

    async def route(asked: Asked) -> None:
        if asked.body.get("method", "").startswith("notifications/"):
            await asked.open_stream()
            await asked.reader.read()
        else:
            await server.route(asked)

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.behave = route
        with anyio.fail_after(2):
            assert (await house.call()).status is Status.OK


async def test_neither_the_credential_nor_the_session_is_in_a_log_line() -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        await house.call()
        server.lose_session()
        await house.call()
        server.call = says(b"no", "404 Not Found")
        await house.call()
        text = repr(house.logged)
    assert "of-the-gateway" not in text
    assert "session-1" not in text
