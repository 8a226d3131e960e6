"""A call in a session ends in the same way on our own leg and on the SDK leg."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.edge.fakes import Line, Response, Stand
from tests.edge.legs import on_both_legs
from tests.edge.older import Older

pytestmark = pytest.mark.anyio

_Stop = Callable[[Line], Awaitable[Any]]


async def _stopped(stand: Stand, older: Older, stop: _Stop, accept: str) -> list[Response]:
    """A call that waits without end, until *stop* ends it."""
    line = Line(older.body("tools/call", {"name": "time_now", "arguments": {"how": "waits"}}))
    async with anyio.create_task_group() as group:
        group.start_soon(older.who.on, line, older.headers(accept=accept))
        with anyio.fail_after(5):
            while not stand.pipeline.governed:
                await anyio.lowlevel.checkpoint()
            if accept == "*/*":
                await line.first_chunk.wait()  # the upstream tells, and then it waits
            last = await stop(line)
    return [line.response, *([last] if isinstance(last, Response) else [])]


_either_way = pytest.mark.parametrize("accept", ["*/*", "application/json"])


@_either_way
@pytest.mark.parametrize("request_id", [7, "7"], ids=["as it was", "as text"])
async def test_in_a_session_both_legs_let_a_cancellation_end_a_call(
    request_id: Any, accept: str
) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            for other in (8, None, True, [7], 7.0):
                await older.notify("notifications/cancelled", {"requestId": other})
            await older.notify("notifications/progress", {"requestId": request_id})
            await anyio.wait_all_tasks_blocked()
            assert stand.pipeline.interrupted == []
            return await older.notify("notifications/cancelled", {"requestId": request_id})

        return await _stopped(stand, older, stop, accept)

    answer, notified = await on_both_legs(ask)
    assert answer.is_stream is (accept == "*/*")
    assert answer.error == {"code": -32800, "message": "Request cancelled"}
    assert notified.status == 202


@_either_way
async def test_in_a_session_both_legs_end_a_call_with_its_session(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            return await older.who.raw(b"", older.headers(), method="DELETE")

        return await _stopped(stand, older, stop, accept)

    answer, ended = await on_both_legs(ask)
    assert (answer.error["code"], ended.status) == (-32603, 200)


@_either_way
async def test_in_a_session_both_legs_end_a_call_with_its_key(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> None:
            stand.identity.revoked.add("key-alice")

        return await _stopped(stand, older, stop, accept)

    [answer] = await on_both_legs(ask, watch_after_s=0.0, liveness_period_s=0.01)
    assert answer.error["code"] == 40100


@_either_way
async def test_in_a_session_neither_leg_ends_a_call_whose_caller_has_left(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            line.hung_up.set()
            await anyio.wait_all_tasks_blocked()
            assert stand.pipeline.interrupted == []
            return await older.notify("notifications/cancelled", {"requestId": 7})

        return await _stopped(stand, older, stop, accept)

    answer, _ = await on_both_legs(ask, watch_after_s=0.0)
    assert answer.error["code"] == -32800


async def test_in_a_session_both_legs_refuse_an_id_that_is_still_open() -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            again = await older.call("time_now")
            await older.notify("notifications/cancelled", {"requestId": 7})
            return again

        return [*await _stopped(stand, older, stop, "*/*"), await older.call("time_now")]

    answers = await on_both_legs(ask)
    assert [answer.status for answer in answers] == [200, 400, 200]
