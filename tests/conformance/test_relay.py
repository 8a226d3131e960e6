"""The relay adds a token to what the suite sends, and changes nothing else."""

import asyncio

import anyio
import pytest

from tests.conformance.relay import relay, rewrite

pytestmark = pytest.mark.anyio

HEAD = (
    b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:1\r\nOrigin: http://127.0.0.1:1\r\n"
    b"content-length: 2\r\nMcp-Name:   spaced  \r\n\r\n"
)


def test_a_head_gains_the_token_and_the_gateways_own_address() -> None:
    head = rewrite(HEAD, "key", b"127.0.0.1:1", b"127.0.0.1:2")
    assert head.raw == (
        b"POST /mcp HTTP/1.1\r\nAuthorization: Bearer key\r\nHost: 127.0.0.1:2\r\n"
        b"Origin: http://127.0.0.1:2\r\ncontent-length: 2\r\nMcp-Name:   spaced  \r\n\r\n"
    )
    assert (head.body_bytes, head.chunked) == (2, False)


def test_a_forged_host_reaches_the_gateway_as_it_is() -> None:
    head = rewrite(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "key", b"here", b"there")
    assert b"Host: evil.example\r\n" in head.raw


async def test_frames_pass_as_they_come_and_requests_in_order() -> None:
    seen: list[bytes] = []
    go_on = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body_bytes in (2, 7):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            seen.append(await reader.readexactly(body_bytes))
            writer.write(b"first")
            await go_on.wait()
            writer.write(b"second")
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with anyio.fail_after(5):
        async with server, relay(port, "key") as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            writer.write(HEAD + b"{}")
            assert await reader.readexactly(5) == b"first"
            go_on.set()
            assert await reader.readexactly(6) == b"second"
            writer.write(
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
            )
            # The second body is 12 bytes of chunks; the upstream takes 7 and hangs up.
            assert await reader.read() == b"firstsecond"
            writer.close()
    assert seen[1] == b"{}"
    assert seen[3] == b"2\r\n[]\r\n"
    assert seen[2].startswith(b"POST / HTTP/1.1\r\nAuthorization: Bearer key\r\n")
