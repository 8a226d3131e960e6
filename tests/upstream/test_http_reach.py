"""Upstreams that are not there, must not be reached, come, go, and have credentials."""

import asyncio
import socket

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.fetch import parse_target
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.spec import HttpTransport, ServerSpec
from tests.fakes import (
    Asked,
    FakeUpstream,
    border,
    eventually,
    http_spec,
    make_call,
)
from tests.upstream.test_http_misbehaviour import OK, body, outcome_of

pytestmark = pytest.mark.anyio


async def test_nothing_listening_is_unreachable() -> None:
    async with FakeUpstream() as server:
        spec = http_spec(server.url)
    async with border(spec) as house:
        outcome = await house.call()
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_unreachable")


async def test_an_unknown_server_is_unreachable() -> None:
    async with border() as house:
        assert (await house.call()).code == "upstream_unreachable"


async def test_a_lost_credential_means_that_nothing_is_sent() -> None:
    async with FakeUpstream() as server:
        transport = HttpTransport(server.url, auth_missing=True, allow_private=True)
        async with border(ServerSpec("fake", transport, breaker_failures=1)) as house:
            assert (await house.call()).code == "credential_missing"
            assert (await house.call()).code == "credential_missing"
    assert server.connections == 0


async def test_a_private_address_is_refused_unless_the_operator_named_it() -> None:
    async with FakeUpstream() as server:
        spec = ServerSpec("fake", HttpTransport(server.url))
        async with border(spec) as house:
            outcome = await house.call()
            (entry,) = house.events("upstream_failed")
    assert outcome.code == "upstream_unreachable"
    assert "private or loopback" in entry["why"]
    assert server.connections == 0


async def test_servers_come_and_go_while_others_serve() -> None:
    async with FakeUpstream() as server, border() as house:
        house.upstreams.add(http_spec(server.url))
        with pytest.raises(ValueError, match="already"):
            house.upstreams.add(http_spec(server.url))
        assert (await house.call()).status is Status.OK
        await house.upstreams.remove("fake")
        assert (await house.call()).code == "upstream_unreachable"
        await eventually(lambda: server.open_connections == 0)


async def test_stopping_ends_what_is_in_flight_and_what_waits() -> None:
    arrived = asyncio.Event()

    async def behave(asked: Asked) -> None:
        arrived.set()
        await asked.reader.read()

    async with FakeUpstream(behave) as server:
        transport = HttpTransport(server.url, allow_private=True, max_connections=1)
        async with border(ServerSpec("fake", transport)) as house:
            sent = asyncio.create_task(house.call())
            await arrived.wait()
            waits = asyncio.create_task(house.call())
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(2):
                await house.upstreams.stop()
                assert (await sent).code == "upstream_died"
                assert (await waits).code == "upstream_unreachable"
                assert (await house.call()).code == "upstream_unreachable"
    assert len(server.asked) == 1


async def test_an_error_that_is_null_is_no_error() -> None:
    outcome, _ = await outcome_of(body(OK.replace(b"}}", b'},"error":null}')))
    assert outcome.status is Status.OK


async def test_the_credential_is_in_no_log_line_and_no_representation() -> None:
    async with FakeUpstream(body(b"no JSON")) as server:
        spec = http_spec(server.url)
        async with border(spec) as house:
            await house.call(make_call(arguments={"password": "hunter2-hunter2"}))
            text = repr(house.logged) + repr(spec)
    assert "of-the-gateway" not in text
    assert "hunter2" not in text


async def test_a_peer_that_vanished_is_found_out_by_the_kernel() -> None:
    async with FakeUpstream() as server:
        target = parse_target(server.url, allow_private=True, carries_secret=False)
        pool = ConnectionPool(target, 1, None)
        connection = await pool.open(asyncio.get_running_loop().time() + 5)
        peer = connection._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        pool.close()
