"""Upstreams that hang, lie, flood or die: each is an outcome, none is sent a request twice."""

import gzip
import json
from collections.abc import Awaitable, Callable

import anyio
import pytest

from gateway.domain.model import Outcome, Status
from tests.fakes import (
    Asked,
    Behaviour,
    Collected,
    FakeUpstream,
    border,
    chunk,
    eventually,
    http_response,
    http_spec,
    make_call,
    make_definition,
)

pytestmark = pytest.mark.anyio

Send = Callable[[Asked], Awaitable[None]]


async def outcome_of(behave: Behaviour, **bounds: float) -> tuple[Outcome, FakeUpstream]:
    async with FakeUpstream(behave) as server, border(http_spec(server.url, **bounds)) as house:
        with anyio.fail_after(4):
            outcome = await house.call()
    assert len(server.asked) == 1
    return outcome, server


def raw(text: bytes) -> Behaviour:
    async def behave(asked: Asked) -> None:
        await asked.send(text.replace(b"$ID", b"%d" % asked.id))
        asked.writer.write_eof()

    return behave


def body(text: bytes, **response: str) -> Behaviour:
    async def behave(asked: Asked) -> None:
        await asked.send(http_response(text.replace(b"$ID", b"%d" % asked.id), **response))

    return behave


OK = b'{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

BROKEN = {
    "cut JSON": body(OK[:-2]),
    "no JSON": body(b"<html>"),
    "empty body": body(b""),
    "NaN": body(b'{"jsonrpc":"2.0","id":$ID,"result":{"x":NaN}}'),
    "lone surrogate": body(b'{"jsonrpc":"2.0","id":$ID,"result":{"x":"\\ud800"}}'),
    "not UTF-8": body(b'{"jsonrpc":"2.0","id":$ID,"result":{"x":"\xff"}}'),
    "line break in a text": body(b'{"jsonrpc":"2.0","id":$ID,"result":{"x":"a\nb"}}'),
    "byte order mark": body(b"\xef\xbb\xbf" + OK),
    "a batch": body(b"[" + OK + b"]"),
    "two messages": body(OK + OK),
    "deep nesting": body(b'{"id":$ID,"result":{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}}"),
    "result is a list": body(b'{"jsonrpc":"2.0","id":$ID,"result":[]}'),
    "result is null": body(b'{"jsonrpc":"2.0","id":$ID,"result":null}'),
    "neither result nor error": body(b'{"jsonrpc":"2.0","id":$ID}'),
    "both result and error": body(
        b'{"jsonrpc":"2.0","id":$ID,"result":{},"error":{"code":1,"message":""}}'
    ),
    "an error that is none": body(b'{"jsonrpc":"2.0","id":$ID,"error":{"code":"x"}}'),
    "isError is a text": body(b'{"jsonrpc":"2.0","id":$ID,"result":{"isError":"no"}}'),
    "the answer to another request": body(b'{"jsonrpc":"2.0","id":999999,"result":{}}'),
    "the id as a text": body(b'{"jsonrpc":"2.0","id":"$ID","result":{}}'),
    "a result without id": body(b'{"jsonrpc":"2.0","id":null,"result":{}}'),
    "other content type": body(OK, content_type="text/html"),
    "gzip": body(gzip.compress(OK), extra="Content-Encoding: gzip\r\n"),
    "unknown encoding": body(OK, extra="Content-Encoding: zstd\r\n"),
    "accepted without answer": raw(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    "a redirect": raw(
        b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    ),
    "server error": body(b"oops", status="500 X", content_type="text/plain"),
    "server error with a result": body(OK, status="503 X"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "two lengths": raw(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + OK),
    "length and chunks": raw(
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(OK) + chunk(b"")
    ),
    "chunks and length": raw(
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk(OK) + chunk(b"")
    ),
    "unknown transfer encoding": raw(
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(OK)
    ),
    "switching protocols": raw(
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
    "endless headers": raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000),
    "endless interim responses": raw(b"HTTP/1.1 103 X\r\n\r\n" * 30_000),
    "endless trailers": raw(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"{}") + b"0\r\nX: " + b"a" * 300_000
    ),
    "a stream without an answer": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b": ping\n\n")
        + b"0\r\n\r\n"
    ),
    "an event that is no JSON": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"data: x\n\n")
    ),
}


@pytest.mark.parametrize("behave", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_is_not_valid_is_a_broken_upstream(behave: Behaviour) -> None:
    outcome, _ = await outcome_of(behave)
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_broken")
    assert outcome.result == b""


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_credential_is_told_apart(status: str) -> None:
    outcome, _ = await outcome_of(body(b"", status=status, content_type="text/plain"))
    assert outcome.code == "upstream_refused"
    assert outcome.sent


@pytest.mark.parametrize(
    "cut",
    [b"", HEAD[:20], HEAD + b"Content-Length: 50\r\n\r\n", HEAD + b"Content-Length: 50\r\n\r\n{"],
    ids=["before a byte", "in the head", "after the head", "in the body"],
)
async def test_a_connection_that_ends_early_is_a_death_and_no_second_request(cut: bytes) -> None:
    outcome, server = await outcome_of(raw(cut))
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_died")
    assert server.connections == 1


async def test_a_body_that_ends_with_its_connection_is_read() -> None:
    outcome, _ = await outcome_of(
        raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + OK)
    )
    assert outcome.status is Status.OK


async def test_an_upstream_that_hangs_is_cut_at_the_deadline() -> None:
    async def behave(asked: Asked) -> None:
        await asked.reader.read()
        server.closed_by_peer.set()

    async with (
        FakeUpstream(behave) as server,
        border(http_spec(server.url, timeout_s=0.1)) as house,
    ):
        outcome = await house.call()
        assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_timeout")
        with anyio.fail_after(2):
            await server.closed_by_peer.wait()
        assert house.events("upstream_failed")[0]["code"] == "upstream_timeout"


@pytest.mark.parametrize("stream", [True, False], ids=["events", "body"])
async def test_a_slow_drip_does_not_outlast_the_deadline(stream: bool) -> None:
    async def behave(asked: Asked) -> None:
        kind = b"text/event-stream" if stream else b"application/json"
        await asked.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            await asked.send(chunk(b": ping\n\n" if stream else b" "))
            await anyio.sleep(0.01)

    outcome, _ = await outcome_of(behave, timeout_s=0.15)
    assert outcome.code == "upstream_timeout"


async def test_a_gigabyte_is_cut_near_the_ceiling() -> None:
    sent_bytes = 0

    async def behave(asked: Asked) -> None:
        nonlocal sent_bytes
        await asked.send(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b'{"id":1,"result":{"x":"')
        )
        block = chunk(b"a" * 65_536)
        while sent_bytes < 1_000_000_000:
            await asked.send(block)
            sent_bytes += 65_536

    outcome, _ = await outcome_of(behave)
    assert (outcome.status, outcome.code) == (Status.TOO_LARGE, "result_too_large")
    assert 100_000 < outcome.received_bytes < 600_000
    assert sent_bytes < 20_000_000  # what the kernel's buffers took


async def test_a_declared_gigabyte_is_not_read_at_all() -> None:
    outcome, _ = await outcome_of(raw(HEAD + b"Content-Length: 1000000000\r\n\r\n"))
    assert (outcome.status, outcome.code) == (Status.TOO_LARGE, "result_too_large")
    assert outcome.received_bytes > 100_000  # it is charged like one that was cut


async def test_a_flood_of_progress_is_cut_at_the_ceiling() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        params = {"progressToken": asked.token, "progress": 1, "message": "x" * 1000}
        while True:
            message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            await asked.event(message)

    relay = Collected()
    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        call = make_call(meta={"progressToken": 1})
        outcome = await house.call(call, relay=relay, ceiling_tokens=1_000)
    assert outcome.status is Status.TOO_LARGE
    assert 0 < sum(len(json.dumps(frame)) for frame in relay.frames) <= 4_500


async def test_a_result_above_the_ceiling_is_withheld_and_one_at_the_ceiling_is_not() -> None:
    result = b'{"x":"' + b"a" * 392 + b'"}'
    behave = body(b'{"jsonrpc":"2.0","id":$ID,"result":' + result + b"}")
    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        exact = await house.call(ceiling_tokens=100)
        above = await house.call(ceiling_tokens=99)
    assert len(result) == 400
    assert (exact.status, exact.received_bytes) == (Status.OK, 400)
    assert (above.status, above.result) == (Status.TOO_LARGE, b"")
    assert above.received_bytes >= 400


async def test_a_second_response_is_never_the_answer_to_the_next_request() -> None:
    smuggled = b'{"jsonrpc":"2.0","id":%d,"result":{"smuggled":true}}'

    async def behave(asked: Asked) -> None:
        if len(server.asked) == 1:
            honest = OK.replace(b"$ID", b"%d" % asked.id)
            await asked.send(http_response(honest) + http_response(smuggled % (asked.id + 1)))
        else:
            await asked.answer({"smuggled": False})

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        first = await house.call()
        second = await house.call()
    assert first.result == b'{"content":[]}'
    assert second.result == b'{"smuggled": false}'
    assert server.connections == 2


async def test_bytes_on_an_idle_connection_are_never_the_answer_to_the_next_request() -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer({"n": len(server.asked)})
        if len(server.asked) == 1:
            await asked.send(http_response(b'{"jsonrpc":"2.0","id":2,"result":{"smuggled":true}}'))

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        await house.call()
        second = await house.call()
    assert second.result == b'{"n": 2}'


@pytest.mark.parametrize(
    ("extra", "surplus"),
    [("", b"HTTP/1.1 200 OK\r\nX: "), ("Connection: close\r\n", b"")],
    ids=["the beginning of another response", "a promise to close"],
)
async def test_a_connection_is_not_used_again_after(extra: str, surplus: bytes) -> None:
    async def behave(asked: Asked) -> None:
        text = OK.replace(b"$ID", b"%d" % asked.id)
        await asked.send(http_response(text, extra=extra) + surplus)

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        for _ in range(2):
            assert (await house.call()).status is Status.OK
    assert server.connections == 2


async def test_a_failing_upstream_is_left_alone_until_a_probe_succeeds() -> None:
    fail = True

    async def behave(asked: Asked) -> None:
        if fail:
            await asked.send(http_response(b"no JSON"))
        else:
            await asked.answer({})

    bounds = {"breaker_failures": 3, "breaker_open_s": 0.1}
    async with FakeUpstream(behave) as server, border(http_spec(server.url, **bounds)) as house:
        codes = [(await house.call()).code for _ in range(5)]
        assert codes == ["upstream_broken"] * 3 + ["breaker_open"] * 2
        assert len(server.asked) == 3
        assert house.upstreams.health()["fake"].breaker == "open"
        assert len(house.events("breaker_opened")) == 1
        fail = False
        await eventually(lambda: house.upstreams.health()["fake"].breaker == "half_open")
        assert (await house.call()).status is Status.OK
        assert len(server.asked) == 4
        assert house.upstreams.health()["fake"].breaker == "closed"


async def test_a_caller_that_does_not_take_its_frames_does_not_count_against_the_upstream() -> None:
    class Stalled:
        async def notify(self, frame: bytes) -> None:
            await anyio.sleep_forever()

    class Gone:
        async def notify(self, frame: bytes) -> None:
            raise ConnectionResetError

    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        params = {"progressToken": asked.token, "progress": 1}
        await asked.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        await asked.reader.read()

    call = make_call(meta={"progressToken": 1})
    bounds = {"timeout_s": 0.1, "breaker_failures": 1}
    async with FakeUpstream(behave) as server, border(http_spec(server.url, **bounds)) as house:
        assert (await house.call(call, relay=Stalled())).status is Status.CANCELLED
        assert (await house.call(call, relay=Gone())).status is Status.CANCELLED
        assert house.upstreams.health()["fake"].breaker == "closed"


async def test_a_fault_of_ours_ends_as_unknown_so_that_the_call_settles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.upstream.modern.param_lines", fault)
    call = make_call(definition=make_definition(b"{}"))
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        assert (await house.call(call)).status is Status.UNKNOWN
        assert len(house.events("upstream_fault")) == 1
    assert server.asked == []
