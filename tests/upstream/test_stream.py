"""What no call waits for costs us only so much: unsent messages, unasked words."""

import asyncio
from collections.abc import Callable
from typing import cast

import anyio
import pytest

from gateway.domain.model import Call
from gateway.upstream.changes import MOST_WORDS
from gateway.upstream.connection import Connection
from gateway.upstream.fetch import parse_target
from gateway.upstream.message import broken
from gateway.upstream.older import MAX_UNSENT, Outbox
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.stream import Stream
from tests.fakes import FakeUpstream, eventually

pytestmark = pytest.mark.anyio


async def test_what_finds_no_room_in_the_outbox_is_dropped_and_what_fails_is_passed_over() -> None:
    posted: list[bytes] = []

    async def post(body: bytes, call: Call | None) -> None:
        posted.append(body)
        if body == b"3":
            raise broken("not taken")

    outbox = Outbox(post)
    for n in range(MAX_UNSENT + 100):
        outbox.put(b"%d" % n)
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.work)
        await eventually(lambda: len(posted) == MAX_UNSENT)
        outbox.put(b"one more")
        await eventually(lambda: posted[-1] == b"one more")
        group.cancel_scope.cancel()
    assert posted[:-1] == [b"%d" % n for n in range(MAX_UNSENT)]


class Resting:
    """A pool of one connection that only notes how long it was told to rest."""

    def __init__(self) -> None:
        self.rests: list[float] = []

    def take(self) -> Connection:
        return cast("Connection", self)

    def send(self, stream: Stream, request: bytes) -> None:
        stream.begun()

    def rest(self, for_s: float) -> None:
        self.rests.append(for_s)


@pytest.mark.parametrize(("awaited", "rests"), [(False, 1), (True, 0)], ids=["unasked", "answers"])
async def test_a_stream_rests_from_words_that_nobody_asked_for(awaited: bool, rests: int) -> None:
    take: Callable[[bytes, bytes], bool] = lambda kind, text: awaited  # noqa: E731 - one line
    stream, pool = Stream(take, 1000), Resting()
    await stream.open(cast("ConnectionPool", pool), b"", 0.0)
    for _ in range(MOST_WORDS + 1):
        stream.take(b"message", b"{}")
    assert len(pool.rests) == rests


async def test_a_connection_that_rests_reads_on_afterwards() -> None:
    async with FakeUpstream() as server:
        target = parse_target(server.url, allow_private=True, carries_secret=False)
        pool = ConnectionPool(target, 1, None)
        connection = await pool.open(asyncio.get_running_loop().time() + 5)
        connection.rest(0.02)
        assert not connection._transport.is_reading()
        await eventually(connection._transport.is_reading)
        connection.rest(0.02)
        pool.close()
        await anyio.sleep(0.03)  # the end of a rest finds the connection closed
