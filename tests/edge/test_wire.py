"""The border behind a real server, on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn

from gateway.domain.model import Call, Outcome, Relay
from gateway.edge.house import Settings
from gateway.edge.wire import Held, OneWrite
from tests.edge.fakes import Knocker, Stand, echo, modern

pytestmark = pytest.mark.anyio

IMPATIENT = Settings(watch_after_s=0.0, liveness_period_s=0.01, max_body_bytes=5_000)
PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
)


@asynccontextmanager
async def _served(stand: Stand) -> AsyncIterator[int]:
    """The port of a uvicorn that serves *stand*, in this loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(stand.border, http=OneWrite, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve, [listener])
        with anyio.fail_after(10):
            while not server.started:
                await anyio.lowlevel.checkpoint()
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True


def _raw(name: str = "time_now", arguments: Any = None) -> bytes:
    body, headers = modern(
        Knocker(Stand().border), "tools/call", {"name": name, "arguments": arguments or {}}
    )
    lines = [b"%b: %b" % pair for pair in headers]
    head = [b"POST /mcp HTTP/1.1", *lines, b"content-length: %d" % len(body)]
    return b"\r\n".join([*head, b"", body])


async def _answer(reader: asyncio.StreamReader) -> Any:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return json.loads(await reader.readexactly(length))


async def test_one_connection_carries_many_calls_also_pipelined() -> None:
    async with _served(Stand()) as port:
        with anyio.fail_after(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"".join(_raw(arguments={"n": n}) for n in range(3)))
            said = [await _answer(reader) for _ in range(3)]
            writer.close()
    texts = [json.loads(answer["result"]["content"][0]["text"]) for answer in said]
    assert [text["arguments"]["n"] for text in texts] == [0, 1, 2]


async def test_a_caller_that_hangs_up_stops_its_call() -> None:
    reached = anyio.Event()

    async def stuck(call: Call, relay: Relay) -> Outcome:
        reached.set()
        await anyio.sleep_forever()
        raise AssertionError

    stand = Stand(settings=IMPATIENT)
    stand.pipeline.upstream = stuck
    async with _served(stand) as port:
        with anyio.fail_after(10):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_raw())
            await reached.wait()
            writer.close()
            while not stand.pipeline.interrupted:
                await anyio.lowlevel.checkpoint()
    assert len(stand.pipeline.interrupted) == 1


async def test_what_an_upstream_tells_arrives_before_its_answer() -> None:
    go_on = anyio.Event()

    async def tells(call: Call, relay: Relay) -> Outcome:
        await relay.notify(PROGRESS)
        await go_on.wait()
        return await echo(call, relay)

    stand = Stand()
    stand.pipeline.upstream = tells
    async with _served(stand) as port:
        with anyio.fail_after(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_raw())
            assert PROGRESS in await reader.readuntil(PROGRESS)
            go_on.set()
            assert b'"result"' in await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.close()


async def test_a_connection_whose_body_was_not_read_is_closed() -> None:
    async with _served(Stand(settings=IMPATIENT)) as port:
        with anyio.fail_after(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            smuggled = _raw()
            writer.write(_raw(arguments={"x": "y" * 9_000}) + smuggled)
            said = await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
    assert said.startswith(b"HTTP/1.1 413")
    assert said.count(b"HTTP/1.1") == 1


class _Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, piece: bytes) -> None:
        assert not self.closed
        self.written.append(piece)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_what_is_written_in_one_turn_leaves_as_one_piece() -> None:
    transport: Any = _Transport()
    held = Held(transport, asyncio.get_running_loop())
    held.write(b"head ")
    held.write(b"body")
    assert transport.written == []
    await asyncio.sleep(0)
    assert transport.written == [b"head body"]
    held.write(b"x" * 70_000)
    assert len(transport.written) == 2
    held.write(b"last")
    held.close()
    assert transport.written[-1] == b"last"
    assert held.is_closing()
