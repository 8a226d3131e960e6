"""What is told before the answer, and who is no longer there to hear it."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Call, Outcome, Relay
from gateway.edge.house import Settings
from tests.edge.fakes import Line, Stand, echo, modern

pytestmark = pytest.mark.anyio

PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.50}}'
MESSAGE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}'
CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}'


def _telling(*frames: bytes) -> Any:
    async def upstream(call: Call, relay: Relay) -> Outcome:
        for frame in frames:
            await relay.notify(frame)
        return await echo(call, relay)

    return upstream


async def test_a_call_that_has_something_to_tell_streams_and_ends_with_its_answer() -> None:
    stand = Stand()
    stand.pipeline.upstream = _telling(PROGRESS, PROGRESS)
    async with stand.open() as alice:
        answer = await alice.call("time_now")
    assert answer.is_stream
    assert answer.body.count(PROGRESS) == 2
    assert [event.get("method") for event in answer.events] == ["notifications/progress"] * 2 + [
        None
    ]
    assert answer.result["resultType"] == "complete"


async def test_a_caller_that_cannot_read_a_stream_gets_the_answer_alone() -> None:
    stand = Stand()
    stand.pipeline.upstream = _telling(PROGRESS)
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        plain = [(k, b"application/json" if k == b"accept" else v) for k, v in headers]
        answer = await alice.raw(body, plain)
    assert not answer.is_stream
    assert answer.result["resultType"] == "complete"


async def test_only_progress_and_wanted_logs_are_passed_on() -> None:
    stand = Stand()
    stand.pipeline.upstream = _telling(CHANGED, REQUEST, MESSAGE, b"{", b"[]")
    async with stand.open() as alice:
        assert not (await alice.call("time_now")).is_stream
        level = {"io.modelcontextprotocol/logLevel": "info"}
        heard = await alice.call("time_now", None, **level)
    assert [event.get("method") for event in heard.events] == ["notifications/message", None]


async def test_line_breaks_in_a_frame_do_not_break_the_stream() -> None:
    pretty = json.dumps(json.loads(PROGRESS), indent=2).encode().replace(b"\n", b"\r\n")
    stand = Stand()
    stand.pipeline.upstream = _telling(pretty)
    async with stand.open() as alice:
        answer = await alice.call("time_now")
    assert answer.events[0] == json.loads(PROGRESS)


async def test_a_silent_call_is_kept_open_by_pings() -> None:
    stand = Stand(settings=_impatient(ping_period_s=0.0))
    line = Line(b"")

    async def upstream(call: Call, relay: Relay) -> Outcome:
        await line.first_chunk.wait()
        return await echo(call, relay)

    stand.pipeline.upstream = upstream
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(body)
        await alice.on(line, headers)
    assert line.response.chunks[0] == b": ping\r\n\r\n"
    assert line.response.result["resultType"] == "complete"


# -- callers that leave, keys that are revoked ----------------------------------------------------


def _impatient(**over: Any) -> Settings:
    return Settings(version="9.9", watch_after_s=0.0, liveness_period_s=0.01, **over)


class _Stuck:
    """An upstream that never answers, and says when it was reached."""

    def __init__(self) -> None:
        self.reached = anyio.Event()

    async def __call__(self, call: Call, relay: Relay) -> Outcome:
        self.reached.set()
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
async def test_a_caller_that_leaves_stops_its_call(method: str) -> None:
    stand, stuck = Stand(settings=_impatient()), _Stuck()
    stand.pipeline.upstream = stuck
    name = "time_now" if method == "tools/call" else "docs_summarise"
    async with stand.open() as alice:
        body, headers = modern(alice, method, {"name": name})
        line = Line(body)
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, headers)
            with anyio.fail_after(5):
                await stuck.reached.wait()
            line.hung_up.set()
    assert [call.method for call in stand.pipeline.interrupted] == [method]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_key_that_is_revoked_ends_what_is_open(streams: bool) -> None:
    stand, stuck = Stand(settings=_impatient()), _Stuck()

    async def upstream(call: Call, relay: Relay) -> Outcome:
        if streams:
            await relay.notify(PROGRESS)
        return await stuck(call, relay)

    stand.pipeline.upstream = upstream
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(body)
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, headers)
            with anyio.fail_after(5):
                await stuck.reached.wait()
            stand.identity.revoked.add("key-alice")
    assert len(stand.pipeline.interrupted) == 1
    assert line.response.error["data"]["io.customhouse/refusal"]["code"] == "not_authenticated"
    assert line.response.status == (200 if streams else 401)
    assert stand.pipeline.refusals == ["not_authenticated"]


async def test_a_short_call_never_starts_to_watch() -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(body)
        line.hung_up.set()  # gone already; the answer is written to nobody, once
        await alice.on(line, headers)
    assert line.response.status == 200


async def test_a_shutdown_is_not_swallowed() -> None:
    stand, stuck = Stand(), _Stuck()
    stand.pipeline.upstream = stuck
    async with stand.open() as alice, anyio.create_task_group() as group:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        group.start_soon(alice.on, Line(body), headers)
        with anyio.fail_after(5):
            await stuck.reached.wait()
        group.cancel_scope.cancel()
    assert len(stand.pipeline.interrupted) == 1
