"""Documents from strangers: whole and small, or not at all."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from gateway.upstream.document import get
from gateway.upstream.fetch import parse_target
from gateway.upstream.message import UpstreamFailed
from tests.upstream.plain_server import PlainServer, answer

pytestmark = pytest.mark.anyio


async def fetched(*pieces: bytes, hang: bool = False, within_s: float = 5.0) -> bytes:
    async def write(path: str, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await closed.wait()

    closed = asyncio.Event()
    async with PlainServer(write) as server:
        target = parse_target(f"{server.url}/a?b=c", allow_private=True, carries_secret=False)
        try:
            with anyio.fail_after(10):
                body = await get(target, None, most_bytes=1_000, within_s=within_s)
            assert server.paths == ["/a?b=c"]
            return body
        finally:
            closed.set()


WHOLE = {
    "with a length": [answer(b"{}")],
    "in pieces": [b"HTTP/1.1 200 OK\r\nConte", b"nt-Length: 2\r\n\r\n{", b"}"],
    "in chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"],
    "until the end": [b"HTTP/1.0 200 OK\r\n\r\n{}"],
    "after a hint": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", answer(b"{}")],
}  # fmt: skip


@pytest.mark.parametrize("pieces", WHOLE.values(), ids=WHOLE.keys())
async def test_a_whole_document_is_read(pieces: list[bytes]) -> None:
    assert await fetched(*pieces) == b"{}"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NONE = {
    "a redirect": ([answer(b"", "302 Found", "Location: http://127.0.0.1/")], "redirects"),
    "a redirect for ever": ([answer(b"{}", "308 Permanent Redirect", "Location: /")], "redirects"),
    "an error": ([answer(b"{}", "404 Not Found")], "HTTP 404"),
    "too long": ([answer(b"x" * 1_001)], "more than 1000 bytes"),
    "too long without a length": ([b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1_001], "more than 1000"),
    "too long in chunks": ([CHUNKED, *[b"100\r\n" + b"x" * 256 + b"\r\n"] * 5], "more than 1000"),
    "a head without end": ([b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000], "bytes of headers"),
    "compressed": ([answer(b"{}", "200 OK", "Content-Encoding: gzip")], "compressed"),
    "cut off": ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"], "ended before"),
    "cut off in chunks": ([CHUNKED, b"2\r\n{}\r\n"], "ended before"),
    "nothing": ([b""], "ended before"),
    "not HTTP": ([b"SSH-2.0-x\r\n\r\n"], "not a valid HTTP response"),
}


@pytest.mark.parametrize(("pieces", "why"), NONE.values(), ids=NONE.keys())
async def test_anything_else_is_no_document(pieces: list[bytes], why: str) -> None:
    with pytest.raises(UpstreamFailed, match=why):
        await fetched(*pieces)


async def test_a_server_that_takes_its_time_is_left() -> None:
    with pytest.raises(UpstreamFailed, match=r"did not answer in 0\.2 s"):
        await fetched(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hang=True, within_s=0.2)
