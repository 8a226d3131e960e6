"""HTTP+SSE servers that point elsewhere, end, flood, stall and lie."""

import asyncio
import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.message import UpstreamFailed
from tests.fakes import (
    Asked,
    Border,
    FakeUpstream,
    border,
    chunk,
    eventually,
    http_response,
    http_spec,
    make_call,
)
from tests.upstream.older_fakes import ACCEPTED, NOT_FOUND, FakeSse, echo_on_stream

pytestmark = pytest.mark.anyio


def why(house: Border) -> str:
    return str(house.events("upstream_failed")[-1]["why"])


# -- where messages go ---------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    ["/messages?session=1", "messages?session=1", "?session=1", "http://{here}/messages"],
    ids=["a path", "a relative path", "a query", "a whole URL"],
)
async def test_the_endpoint_may_be_anywhere_on_the_same_origin(endpoint: str) -> None:
    async with FakeSse() as server, border(http_spec(server.url)) as house:
        said = endpoint.format(here=f"127.0.0.1:{server.port}")
        posted = {"?session=1": "/mcp?session=1"}.get(said, "/messages?session=1")
        if said.startswith("http"):
            posted = "/messages"
        server.said_endpoint, server.endpoint = said, posted
        assert (await house.call()).status is Status.OK


ELSEWHERE = {
    "another port": "http://127.0.0.1:{port}/messages",
    "another host": "http://localhost:{here}/messages",
    "another scheme": "https://127.0.0.1:{here}/messages",
    "no scheme": "//127.0.0.1:{port}/messages",
    "backslashes": "\\\\127.0.0.1:{port}\\messages",
    "the metadata service": "http://169.254.169.254/latest",
    "a credential": "http://a:b@127.0.0.1:{here}/messages",
    "this very host in front of another": "http://127.0.0.1:{here}@127.0.0.1:{port}/",
    "no HTTP": "file:///etc/passwd",
    "a line break inside": "/messages\\r\\nX: y",
    "a fragment": "/messages#here",
    "more than is sensible": "/" + "x" * 5_000,
    "other letters": "/caf\u00e9",
}


@pytest.mark.parametrize("endpoint", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_an_endpoint_elsewhere_opens_nothing(endpoint: str) -> None:
    async with (
        FakeUpstream() as other,
        FakeSse() as server,
        border(http_spec(server.url)) as house,
    ):
        server.said_endpoint = endpoint.format(port=other.port, here=server.port)
        outcome = await house.call()
        assert (outcome.code, outcome.sent) == ("upstream_broken", False)
        assert "endpoint" in why(house)
        await eventually(lambda: server.open_connections == 0)
    assert other.connections == 0
    assert server.calls("tools/call") == []


async def test_a_second_endpoint_changes_nothing() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        moved = b"event: endpoint\ndata: /elsewhere\n\n"
        await server.streams[-1].send(chunk(moved))
        await echo_on_stream(asked, server)

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        for _ in range(2):
            assert (await house.call()).status is Status.OK


async def test_a_stream_that_begins_with_something_else_is_none_of_these() -> None:
    async with FakeSse() as server, border(http_spec(server.url)) as house:
        server.first_event = "message"
        assert (await house.call()).code == "upstream_broken"
        assert "first event" in why(house)


async def test_a_stream_that_never_says_where_to_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.older_sse.OPEN_S", 0.1)

    async def silent(asked: Asked) -> None:
        await asked.open_stream()
        await asked.reader.read()

    async with FakeSse() as server, border(http_spec(server.url)) as house:
        server.on_get = silent
        with anyio.fail_after(2):
            assert (await house.call()).code == "upstream_broken"
        assert "no endpoint event" in why(house)
        await eventually(lambda: server.open_connections == 0)


# -- what is passed on, and to whom --------------------------------------------------


async def test_what_the_server_says_is_passed_on_as_it_is() -> None:
    raw = b'{"content":[],"vendor":{"x":1.50,"u":"\xc3\xa9"},"big":1e400}'

    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        message = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (asked.id, raw)
        await server.streams[-1].send(chunk(b"data: " + message + b"\n\n"))

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).result == raw


async def test_answers_in_any_order_find_their_calls() -> None:
    waiting: list[Asked] = []

    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        waiting.append(asked)
        if len(waiting) == 5:
            for one in reversed(waiting):
                await server.say({"id": one.id, "result": {"n": one.params["arguments"]["n"]}})

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        calls = [make_call(arguments={"n": n}) for n in range(5)]
        outcomes = await asyncio.gather(*[house.call(call) for call in calls])
    assert [json.loads(outcome.result)["n"] for outcome in outcomes] == list(range(5))


async def test_an_answer_may_come_before_its_post_is_taken_and_the_connection_is_kept() -> None:
    answered, taken = asyncio.Event(), asyncio.Event()

    async def call(asked: Asked, server: FakeSse) -> None:
        answered.clear()
        taken.clear()
        await server.say({"id": asked.id, "result": {}})
        await answered.wait()
        await asked.send(ACCEPTED)
        taken.set()

    opened = 0
    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        for _ in range(3):
            assert (await house.call()).status is Status.OK
            answered.set()
            await taken.wait()
            await anyio.wait_all_tasks_blocked()
            opened = opened or server.connections
        assert house.upstreams.health()["fake"].connector["connections"] == 1
    assert server.connections == opened


async def test_the_answer_to_another_request_is_nobodys() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        await server.say({"id": 999_999, "result": {}})
        await server.say({"id": str(asked.id), "result": {}})

    async with FakeSse(call) as server, border(http_spec(server.url, timeout_s=0.2)) as house:
        assert (await house.call()).code == "upstream_timeout"
        await eventually(lambda: len(server.calls("notifications/cancelled")) == 1)
    assert len(server.calls()) == 1


async def test_a_result_above_the_ceiling_is_withheld_and_its_session_lives() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        await server.say({"id": asked.id, "result": {"x": "a" * asked.params["arguments"]["n"]}})

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        large = await house.call(make_call(arguments={"n": 500_000}))
        small = await house.call(make_call(arguments={"n": 5}))
    assert (large.status, small.status) == (Status.TOO_LARGE, Status.OK)
    assert len(server.streams) == 1


# -- streams that end ----------------------------------------------------------------


async def test_what_is_under_way_when_the_stream_ends_is_not_made_again() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        if len(server.calls()) == 3:
            server.streams[-1].writer.close()

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        with anyio.fail_after(3):
            outcomes = await asyncio.gather(*[house.call() for _ in range(3)])
        assert {outcome.code for outcome in outcomes} == {"upstream_died"}
        assert len(server.calls()) == 3
        server.call = echo_on_stream
        assert (await house.call()).status is Status.OK
    assert len(server.streams) == 2


async def test_a_post_that_meets_no_session_is_sent_once_more_in_a_new_one() -> None:
    executed: list[Any] = []

    async def call(asked: Asked, server: FakeSse) -> None:
        executed.append(asked.params["arguments"])
        await echo_on_stream(asked, server)

    async def lost(asked: Asked) -> None:
        if asked.body.get("method") in {"tools/call", "ping"} and len(server.streams) == 1:
            await asked.send(NOT_FOUND)
        else:
            await server.route(asked)

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        server.behave = lost
        assert (await house.call(make_call(arguments={"n": 1}))).status is Status.OK
        await eventually(lambda: server.open_connections <= 2)  # the old stream is let go
    assert executed == [{"n": 1}]
    assert len(server.calls()) == 2


async def test_a_post_that_fails_is_a_broken_upstream_and_not_sent_again() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(http_response(b"oops", status="500 X", content_type="text/plain"))

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).code == "upstream_broken"
        assert (await house.call()).code == "upstream_broken"
    assert len(server.calls()) == 2
    assert len(server.streams) == 1


async def test_a_post_that_is_not_taken_is_cut_at_the_deadline() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.reader.read()

    async with FakeSse(call) as server, border(http_spec(server.url, timeout_s=0.2)) as house:
        assert (await house.call()).code == "upstream_timeout"


async def test_an_endless_event_ends_the_session_and_not_the_gateway() -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await asked.send(ACCEPTED)
        while True:
            await server.streams[0].send(chunk(b"data: " + b"x" * 65_536))

    async with (
        FakeSse(call) as server,
        border(http_spec(server.url, max_result_bytes=200_000)) as house,
    ):
        with anyio.fail_after(3):
            assert (await house.call()).code == "upstream_died"
        assert "an event of more than" in why(house)
        server.call = echo_on_stream
        assert (await house.call()).status is Status.OK


@pytest.mark.parametrize(("noise", "streams"), [(90, 1), (150, 2)], ids=["some", "nothing else"])
async def test_noise_is_passed_over_until_it_is_all_there_is(noise: int, streams: int) -> None:
    async def call(asked: Asked, server: FakeSse) -> None:
        await server.streams[-1].send(chunk(b"data: no JSON\n\n" * noise))
        await echo_on_stream(asked, server)

    async with FakeSse(call) as server, border(http_spec(server.url)) as house:
        first = await house.call()
        server.call = echo_on_stream
        second = await house.call()
    assert first.status is (Status.OK if streams == 1 else Status.FAILED)
    assert second.status is Status.OK
    assert len(server.streams) == streams


async def test_pings_that_the_server_repeats_for_ever_leave_room_for_calls() -> None:
    async def stream(asked: Asked) -> None:
        server.streams.append(asked)
        await asked.open_stream()
        await asked.send(chunk(b"event: endpoint\ndata: /messages?session=1\n\n"))
        while True:
            await asked.send(chunk(b'data: {"jsonrpc":"2.0","id":1,"method":"ping"}\n\n' * 200))
            await anyio.sleep(0.001)

    async with FakeSse() as server, border(http_spec(server.url)) as house:
        server.on_get = stream
        with anyio.fail_after(4):
            assert (await house.call()).status is Status.OK


async def test_what_it_cannot_be_reached_at_is_said() -> None:
    async with FakeUpstream(introduces=True) as server, border(http_spec(server.url)) as house:

        async def nothing(asked: Asked) -> None:
            await asked.send(http_response(b"", status="405 X", content_type="text/plain"))

        server.behave = nothing
        with pytest.raises(UpstreamFailed) as failed:
            await house.upstreams.list_definitions("fake")
    assert failed.value.sentence.count("HTTP 405") == 3
