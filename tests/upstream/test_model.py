"""A model behind the border: one request of its provider, relayed as it is answered."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from gateway.domain.model import KEPT, Outcome, Status, Usage
from gateway.upstream import model
from gateway.upstream.breaker import BreakerState
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Interrupted
from gateway.upstream.fetch import BadTarget
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.model_answer import Api, Tape
from tests.fakes import Border, border, make_permit
from tests.servers.provider import ANSWER, WORDS, Provider
from tests.upstream.models import SECRET, Events, model_call, model_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture
async def house(provider: Provider) -> AsyncIterator[Border]:
    async with border(model_spec(provider.url)) as running:
        yield running


def failed(outcome: Outcome) -> tuple[Status, str]:
    return outcome.status, outcome.code


@pytest.mark.parametrize("api", ["chat/completions", "responses", "embeddings"])
async def test_an_answer_is_passed_on_as_it_is_with_what_the_provider_says_it_used(
    house: Border, provider: Provider, api: str
) -> None:
    outcome = await house.call(model_call(api))
    assert outcome.status is Status.OK
    assert provider.asked[0].path == f"/v1/{api}"
    assert outcome.usage == Usage(*(provider.asked[0].usage or ()))._replace(
        **({"completion": 0} if api == "embeddings" else {})
    )
    assert json.loads(outcome.result)["model"] == "steady"
    assert outcome.counted is not None
    assert outcome.counted.completion == (0 if api == "embeddings" else 7)


async def test_the_provider_gets_our_credential_and_nothing_of_the_callers(
    house: Border, provider: Provider
) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    await house.call(model_call(trace=trace))
    headers = dict(provider.asked[0].headers)
    assert headers.pop("authorization") == SECRET
    assert headers.pop("traceparent") == trace
    assert headers.keys() == {
        "host",
        "user-agent",
        "content-type",
        "accept",
        "accept-encoding",
        "content-length",
    }


async def test_a_stream_is_relayed_event_by_event_and_recorded_as_it_was(
    house: Border, provider: Provider
) -> None:
    events = Events()
    outcome = await house.call(model_call(stream=True), relay=events)
    assert outcome.status is Status.OK
    assert (events.text, events.frames[-1]) == (ANSWER, b"data: [DONE]\n\n")
    assert outcome.result == b"".join(events.frames)
    assert outcome.usage is not None
    assert outcome.usage.completion == len(WORDS)
    assert provider.asked[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(("asks", "times"), [(False, 0), (True, 1)])
async def test_the_event_that_only_says_the_usage_is_for_who_asked_for_it(
    house: Border, asks: bool, times: int
) -> None:
    events = Events()
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    await house.call(model_call(stream=True, **more), relay=events)
    assert sum(b'"choices": []' in frame for frame in events.frames) == times


async def test_the_last_event_of_a_response_ends_its_stream(house: Border) -> None:
    events = Events()
    outcome = await house.call(model_call("responses", stream=True), relay=events)
    assert outcome.status is Status.OK
    assert events.frames[-1].startswith(b"event: response.completed\n")
    assert len(events.frames) == len(WORDS) + 1
    assert outcome.usage is not None


@pytest.mark.parametrize(
    ("mode", "code"),
    [("cut", "upstream_died"), ("garbled", "upstream_broken"), ("error", "upstream_broken")],
)
async def test_a_stream_that_breaks_midway_is_counted_up_to_where_it_broke(
    house: Border, mode: str, code: str
) -> None:
    events = Events()
    outcome = await house.call(model_call(mode=mode, stream=True), relay=events)
    assert failed(outcome) == (Status.FAILED, code)
    assert events.text == WORDS[0] + WORDS[1]
    assert outcome.counted is not None
    assert outcome.counted.completion == -(-len(events.text) // 4)
    assert outcome.usage is None


async def test_a_stream_that_goes_silent_ends_after_the_idle_time(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "IDLE_S", 0.1)
    async with border(model_spec(provider.url)) as house:
        outcome = await house.call(model_call(mode="stuck", stream=True), relay=Events())
        assert failed(outcome) == (Status.FAILED, "upstream_timeout")
        with anyio.fail_after(5):
            await provider.gone.wait()


@pytest.mark.parametrize("mode", ["silent", "endless"])
async def test_a_provider_that_takes_forever_is_cut_at_the_deadline(
    provider: Provider, mode: str
) -> None:
    async with border(model_spec(provider.url, timeout_s=0.3)) as house:
        with anyio.fail_after(3):
            call = model_call(mode=mode, stream=True, max_completion_tokens=8_000)
            outcome = await house.call(call, relay=Events())
    assert failed(outcome) == (Status.FAILED, "upstream_timeout")


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_far_above_what_was_asked_for_is_cut(house: Border, streams: bool) -> None:
    events = Events()
    call = model_call(mode="wordy", max_completion_tokens=10, stream=streams)
    outcome = await house.call(call, relay=events)
    assert failed(outcome) == (Status.TOO_LARGE, "result_too_large")
    assert len(events.text) <= 10 * 4 * 2 + 256
    assert outcome.result == b""
    assert outcome.counted is not None
    assert outcome.counted.completion > 10


async def test_an_answer_of_too_many_bytes_is_cut_whatever_is_in_it(provider: Provider) -> None:
    async with border(model_spec(provider.url, max_result_bytes=2_000)) as house:
        outcome = await house.call(model_call(mode="wordy", max_completion_tokens=8_000))
    assert failed(outcome) == (Status.TOO_LARGE, "result_too_large")


@pytest.mark.parametrize(
    ("mode", "code"),
    [("sick", "http_500"), ("moved", "http_307"), ("locked", "upstream_refused")],
)
async def test_a_provider_that_fails_has_failed(house: Border, mode: str, code: str) -> None:
    assert failed(await house.call(model_call(mode=mode))) == (Status.FAILED, code)


@pytest.mark.parametrize(("mode", "status"), [("busy", 429), ("choosy", 400)])
async def test_a_providers_no_is_told_in_its_words_and_nothing_is_counted(
    house: Border, mode: str, status: int
) -> None:
    outcome = await house.call(model_call(mode=mode, stream=True))
    assert failed(outcome) == (Status.RPC_ERROR, f"http_{status}")
    assert json.loads(outcome.error) == {
        "code": status,
        "message": f"{mode} today",
        "data": {"type": "made_up", "code": "why_not"},
    }
    assert outcome.counted == Usage(0, 0)


def answering(provider: Provider, status: int, body: bytes, patch: pytest.MonkeyPatch) -> None:
    async def answer(_asked: Any, _reader: Any, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    patch.setattr(provider, "_answer", answer)


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_provider_that_knows_no_such_path_or_model_is_said_so_and_nothing_is_counted(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, status: int, streams: bool
) -> None:
    answering(provider, status, f"<p>{SECRET} at {provider.url}</p>".encode(), monkeypatch)
    async with border(model_spec(provider.url, breaker_failures=1)) as house:
        outcome = await house.call(model_call(stream=streams))
        assert house.upstreams.is_well("fake")
    assert failed(outcome) == (Status.RPC_ERROR, f"http_{status}")
    where = "POST .../chat/completions: check `url` and `model.id` of models.fake."
    words = f"The provider answered {status} to {where}"
    assert json.loads(outcome.error) == {"code": status, "message": words}
    assert outcome.counted == Usage(0, 0)


async def test_a_providers_no_without_a_word_is_a_no_all_the_same(
    house: Border, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(provider, 400, b"", monkeypatch)
    outcome = await house.call(model_call())
    assert failed(outcome) == (Status.RPC_ERROR, "http_400")
    assert json.loads(outcome.error)["message"] == "the provider answered HTTP 400"


@pytest.mark.parametrize("places", [("message",), ("type", "param", "code")])
async def test_a_credential_in_a_providers_no_is_cut_out(
    monkeypatch: pytest.MonkeyPatch, provider: Provider, places: tuple[str, ...]
) -> None:
    bare = SECRET.removeprefix("Bearer ")
    said = {key: f"{SECRET} or {bare.upper()}" for key in places}
    said = {key: "." * (model.MAX_SAID_CHARS - 50) + words for key, words in said.items()}
    error = json.dumps({"error": said}).encode()

    async def echoing(_asked: Any, _reader: Any, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write((head % len(error)).encode() + error)

    monkeypatch.setattr(provider, "_answer", echoing)
    async with border(model_spec(provider.url)) as house:
        outcome = await house.call(model_call())
    assert outcome.status is Status.RPC_ERROR
    assert b"[credential] or [credential]" in outcome.error
    assert bare[:10].encode() not in outcome.error.lower()


async def test_options_of_a_stream_that_are_null_are_none(
    house: Border, provider: Provider
) -> None:
    outcome = await house.call(model_call(stream=True, stream_options=None), relay=Events())
    assert outcome.status is Status.OK
    assert provider.asked[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("name", "is_right"),
    [(b"message", True), (b"response.created", True), (b"response.completed", False)],
)
def test_an_event_of_a_response_is_named_as_its_type_or_not_at_all(
    name: bytes, is_right: bool
) -> None:
    tape = Tape(Api.RESPONSES, tells_usage=False)
    with nullcontext() if is_right else pytest.raises(UpstreamFailed):
        assert tape.read(name, b'{"type":"response.created"}')
    assert not tape.is_over


async def test_failures_in_a_row_open_the_breaker_and_it_is_known_beforehand(
    provider: Provider,
) -> None:
    async with border(model_spec(provider.url, breaker_failures=2)) as house:
        assert house.upstreams.is_well("fake")
        for _ in range(2):
            await house.call(model_call(mode="sick"))
        assert not house.upstreams.is_well("fake")
        assert house.upstreams.health()["fake"].breaker is BreakerState.OPEN
        assert failed(await house.call(model_call())) == (Status.FAILED, "breaker_open")
    assert len(provider.asked) == 2


async def test_a_caller_that_leaves_ends_the_request_of_the_provider(
    house: Border, provider: Provider
) -> None:
    begun = asyncio.Event()

    class Leaving(Events):
        async def notify(self, frame: bytes) -> None:
            begun.set()

    call = model_call(mode="endless", stream=True, max_completion_tokens=8_000)
    task = asyncio.create_task(house.upstreams.invoke(make_permit(call), Leaving()))
    with anyio.fail_after(5):
        await begun.wait()
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
        await provider.gone.wait()
    assert left.value.outcome.status is Status.CANCELLED
    assert left.value.outcome.counted is not None


async def test_a_caller_that_reads_slowly_makes_the_provider_wait(
    house: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, paused = asyncio.Event(), asyncio.Event()
    pause = Connection.pause

    def seen(connection: Connection) -> None:
        paused.set()
        pause(connection)

    monkeypatch.setattr(Connection, "pause", seen)

    class Slow(Events):
        async def notify(self, frame: bytes) -> None:
            await waits.wait()
            await super().notify(frame)

    events = Slow()
    call = model_call(mode="wordy", max_completion_tokens=8_000, stream=True)
    task = asyncio.create_task(house.upstreams.invoke(make_permit(call), events))
    with anyio.fail_after(10):
        await paused.wait()
        waits.set()
        outcome = await task
    assert failed(outcome) == (Status.TOO_LARGE, "result_too_large")
    assert len(events.text) > 60_000


async def test_equal_requests_without_chance_are_answered_once(
    house: Border, provider: Provider
) -> None:
    exact = model_call(cache_s=60, temperature=0, seed=7)
    first, again = await house.call(exact), await house.call(exact)
    assert (first.code, again.code) == ("", KEPT)
    assert first.result == again.result
    assert len(provider.asked) == 1
    bob = await house.call(model_call(cache_s=60, temperature=0, seed=7, subject="bob"))
    assert bob.code == ""  # his rights are others


@pytest.mark.parametrize(
    "more",
    [{}, {"temperature": 0}, {"seed": 7}, {"temperature": 0, "seed": 7, "stream": True}],
    ids=["neither", "no seed", "no temperature", "streamed"],
)
async def test_what_may_be_answered_otherwise_is_asked_again(
    house: Border, provider: Provider, more: dict[str, Any]
) -> None:
    for _ in range(2):
        await house.call(model_call(cache_s=60, **more), relay=Events())
    assert len(provider.asked) == 2


async def test_an_embedding_is_always_the_same(house: Border, provider: Provider) -> None:
    for _ in range(2):
        await house.call(model_call("embeddings", cache_s=60))
    assert len(provider.asked) == 1


async def test_what_a_model_is_its_operator_says_without_asking_the_provider(
    house: Border, provider: Provider
) -> None:
    [one] = (await house.upstreams.list_definitions("fake")).definitions
    assert (one.kind, one.name, one.body) == ("model", "fake", b'{"name":"fake"}')
    assert not provider.asked


async def test_a_base_url_with_a_query_is_none() -> None:
    with pytest.raises(BadTarget):
        async with border(model_spec("http://127.0.0.1:1/v1?key=1")):
            pass
