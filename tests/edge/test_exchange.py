"""One response per request, and a cancellation that goes nowhere else."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.domain.model import Client
from gateway.edge.calls import Asked
from gateway.edge.endpoint import ALL
from gateway.edge.exchange import Exchange
from gateway.edge.line import Leave
from gateway.edge.reply import Answer
from gateway.edge.strict import Message
from tests.edge.fakes import Line
from tests.edge.people import ALICE

pytestmark = pytest.mark.anyio

PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
)
ANSWER = Answer(200, b'{"jsonrpc":"2.0","id":7,"result":{}}')


def _exchange(send: Any, version: str = "2026-07-28") -> Exchange:
    message = Message("tools/call", b"7", 7, {}, {})
    asked = Asked(message, ALL, ALICE, Client(version), {})
    return Exchange(asked, send, can_stream=True, address="")


async def test_leaving_while_it_works_cancels_the_work() -> None:
    exchange = _exchange(Line(b"").send)
    started = anyio.Event()

    async def work() -> str:
        started.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as group:

        async def leave() -> None:
            await started.wait()
            exchange.leave(Leave.GONE)

        group.start_soon(leave)
        with anyio.fail_after(5):
            assert await exchange.unless_left(work()) is None


async def test_leaving_in_the_turn_in_which_it_ends_does_not_cancel_what_comes_after() -> None:
    exchange = _exchange(Line(b"").send)

    async def work() -> str:
        exchange.leave(Leave.GONE)
        return "done"

    assert await exchange.unless_left(work()) == "done"
    await anyio.lowlevel.checkpoint()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_leaving_before_it_began_lets_it_not_begin() -> None:
    exchange = _exchange(Line(b"").send)
    exchange.leave(Leave.REVOKED)

    async def work() -> str:
        raise AssertionError("it began")

    assert await exchange.unless_left(work()) is None


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    exchange = _exchange(Line(b"").send)
    with anyio.move_on_after(0) as scope:
        await exchange.unless_left(anyio.sleep_forever())
    assert scope.cancelled_caught


async def test_in_the_handshake_era_only_a_revoked_key_cancels() -> None:
    exchange = _exchange(Line(b"").send, "2025-11-25")

    async def work() -> str:
        exchange.leave(Leave.GONE)
        await anyio.lowlevel.checkpoint()
        return "done"

    assert await exchange.unless_left(work()) == "done"


async def test_nothing_is_written_after_the_final_frame() -> None:
    line = Line(b"")
    exchange = _exchange(line.send)
    await exchange.finish(ANSWER)
    await exchange.notify(PROGRESS)
    await exchange.ping(0.0)
    await exchange.finish(ANSWER)
    assert line.response.chunks == [ANSWER.body]


async def test_two_writers_start_one_stream() -> None:
    line = Line(b"")

    async def slowly(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        await line.send(message)

    exchange = _exchange(slowly)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.ping, 0.0)
        group.start_soon(exchange.notify, PROGRESS)
    await exchange.finish(ANSWER)
    assert len(line.response.chunks) == 3
    assert line.response.events[-1]["result"] == {}


async def test_a_server_that_says_so_with_an_error_means_that_the_caller_left() -> None:
    async def broken(message: Any) -> None:
        raise BrokenPipeError

    exchange = _exchange(broken)
    await exchange.notify(PROGRESS)
    await exchange.finish(ANSWER)
    assert exchange.left is Leave.GONE
