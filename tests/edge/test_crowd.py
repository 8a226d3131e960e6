"""Strangers at the door: endless heads, silence, and more connections than there is room for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.edge import crowd, wire
from gateway.edge.crowd import Crowd, Room, room_here
from tests.edge.fakes import Stand
from tests.edge.test_wire import _answer, _raw, _served

pytestmark = pytest.mark.anyio

ROOM = Room(connections=3, connections_per_address=2, patience_sweeps=2)


@pytest.fixture
def only_crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """The crowd of the server that is started next, with little room; swept by hand."""
    only = Crowd(ROOM)
    monkeypatch.setattr(crowd, "SWEEP_S", 3_600.0)
    monkeypatch.setattr(wire, "Crowd", lambda _: only)
    return only


async def _said_to(port: int, pieces: list[bytes]) -> bytes:
    """What is answered until the connection is closed, of however much of *pieces* is taken."""
    said = bytearray()
    with anyio.fail_after(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while more := await reader.read(4_096):
                said += more
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
    return bytes(said)


HEAD = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([HEAD, b"X-A: ", *[b"a" * 30_000] * 3], id="a header without end"),
        pytest.param([HEAD, *[b"x: y\r\n"] * 120], id="lines without end"),
        pytest.param([HEAD + b"x: y\r\n" * 101 + b"\r\n"], id="too many lines, complete"),
        pytest.param([b"GET /", *[b"a" * 30_000] * 3], id="a path without end"),
        pytest.param([b"\r\n" * 40_000], id="empty lines without end"),
    ],
)
async def test_a_head_that_does_not_end_is_refused(pieces: list[bytes]) -> None:
    async with _served(Stand()) as port:
        said = await _said_to(port, pieces)
        # What it did not read makes the goodbye a reset, which may overtake the sentence.
        assert not said or said.startswith(b"HTTP/1.1 431")


async def test_trailers_are_measured_as_heads_are() -> None:
    async with _served(Stand()) as port:
        assert b"HTTP/1.1 2" not in await _said_to(port, [CHUNKED, *[b"X-A: " + b"a" * 30_000] * 3])


class _Transport:
    """Keeps what is written to it, and whether it is closed."""

    def __init__(self, address: str = "192.0.2.7") -> None:
        self.address = address
        self.written = b""
        self.closed = False
        self.aborted = False

    unsent_bytes = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def get_extra_info(self, name: str) -> Any:
        return {"peername": (self.address, 4711), "sockname": ("127.0.0.1", 8080)}.get(name)

    def write(self, piece: bytes) -> None:
        self.written += piece

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    await anyio.sleep_forever()


def _connection(
    state: ServerState, transport: _Transport, app: Any = _silent
) -> tuple[wire.OneWrite, _Transport]:
    config = uvicorn.Config(app, log_level="error", lifespan="off")
    config.load()
    protocol = wire.OneWrite(config, state, {}, asyncio.get_running_loop())
    stream: Any = transport
    protocol.connection_made(stream)
    return protocol, transport


async def _close(*protocols: wire.OneWrite) -> None:
    for protocol in protocols:
        for task in protocol.tasks:
            task.cancel()
        protocol.connection_lost(None)
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("piece_bytes", [1_000, 16_384, 200_000])
async def test_the_parser_never_holds_much_more_than_a_head_may_have(piece_bytes: int) -> None:
    state = ServerState()
    protocol, transport = _connection(state, _Transport())
    fed: list[int] = []
    parser = protocol.parser

    class Counting:
        def feed_data(self, piece: bytes) -> None:
            fed.append(len(piece))
            parser.feed_data(piece)

    protocol.parser = Counting()  # type: ignore[assignment]  # all that is asked of it
    protocol.data_received(HEAD + b"X-A: ")
    for _ in range(1_000_000 // piece_bytes):
        protocol.data_received(b"a" * piece_bytes)
    assert sum(fed) <= wire.MAX_HEAD_BYTES + 16_384
    assert transport.closed
    assert transport.written.startswith(b"HTTP/1.1 431")
    await _close(protocol)


async def test_requests_of_usual_size_are_not_counted_together() -> None:
    """Two hundred requests, each with a large head, and a body that arrives in many pieces."""
    body = b'{"arguments":"' + b"x" * 100_000
    async with _served(Stand()) as port:
        with anyio.fail_after(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(40):
                padded = b"\r\nx-padding: " + b"p" * 8_000 + b"\r\n\r\n"
                writer.write(_raw(arguments={"n": number}).replace(b"\r\n\r\n", padded, 1))
                assert (await _answer(reader))["result"]
            writer.write(_raw(arguments={"text": body.decode()}))
            assert (await _answer(reader))["result"]
            writer.close()


async def test_requests_are_not_queued_without_end() -> None:
    state = ServerState()
    protocol, transport = _connection(state, _Transport())
    protocol.data_received(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000)
    assert len(protocol.pipeline) <= wire.MAX_WAITING_REQUESTS
    assert transport.closed
    assert transport.written == b""  # it would be taken for the answer to the first
    await _close(protocol)


async def test_whoever_asks_nothing_is_sent_away(only_crowd: Crowd) -> None:
    state = ServerState()
    half, to_half = _connection(state, _Transport("192.0.2.1"))
    none, to_none = _connection(state, _Transport("192.0.2.2"))
    asked, to_asked = _connection(state, _Transport("192.0.2.3"))
    half.data_received(HEAD)
    asked.data_received(HEAD + b"\r\n")
    only_crowd.sweep()
    half.data_received(b"X-Slow: 1\r\n")  # a byte now and then buys no time
    only_crowd.sweep()
    assert [to_half.closed, to_none.closed, to_asked.closed] == [True, True, False]
    assert to_half.written.startswith(b"HTTP/1.1 408")
    assert to_none.written == b""
    to_half.unsent_bytes = 100
    only_crowd.sweep()
    to_half.unsent_bytes = 50
    only_crowd.sweep()
    aborted = [to_half.aborted]  # not yet: somebody reads
    only_crowd.sweep()
    assert [*aborted, to_half.aborted] == [False, True]
    await _close(half, none, asked)


async def test_a_connection_whose_answer_was_given_must_ask_again(only_crowd: Crowd) -> None:
    """The body of a request that was answered already, or empty lines, keep nothing open."""

    async def at_once(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    protocol, transport = _connection(ServerState(), _Transport(), at_once)
    protocol.data_received(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while not protocol.is_waiting:
        await anyio.lowlevel.checkpoint()
    for _ in range(1 + ROOM.patience_sweeps):
        protocol.data_received(b"x")
        only_crowd.sweep()
    assert transport.closed
    await _close(protocol)


async def test_there_is_room_for_so_many_and_for_fewer_of_one_address(only_crowd: Crowd) -> None:
    state = ServerState()
    one, to_one = _connection(state, _Transport("192.0.2.1"))
    two, _ = _connection(state, _Transport("192.0.2.1"))
    third, to_third = _connection(state, _Transport("192.0.2.1"))
    assert (to_one.closed, to_third.closed) == (False, True)
    assert to_third.written.startswith(b"HTTP/1.1 503")
    third.data_received(HEAD + b"\r\n")
    assert third.heads == 0
    other, to_other = _connection(state, _Transport("192.0.2.2"))
    late, to_late = _connection(state, _Transport("192.0.2.3"))
    assert (to_other.closed, to_late.closed) == (False, True)
    await _close(one, third)
    again, to_again = _connection(state, _Transport("192.0.2.1"))
    assert not to_again.closed
    await _close(two, other, late, again)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:2", id="one network of IPv6"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="IPv4 in IPv6"),
    ],
)
async def test_addresses_of_one_stranger_count_as_one(first: str, second: str) -> None:
    class Guest:
        heads = heads_seen = idle_sweeps = 0
        is_waiting = True

        def tire(self) -> None: ...

    door, guest = Crowd(replace(ROOM, connections_per_address=1)), Guest()
    assert door.admit(guest, first)
    assert not door.admit(Guest(), second)
    door.leave(guest)


def test_the_room_leaves_files_for_the_house(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "getrlimit", lambda _: (1_024, 1_024))
    assert room_here() == Room(896, 224)
    monkeypatch.setattr(crowd, "getrlimit", lambda _: (20_000, 20_000))
    assert room_here() == Room(4_096, 1_024)
