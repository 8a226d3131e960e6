"""A loopback relay that puts a bearer token on every request: the suite cannot send one.

Requests are parsed only as far as their head, responses not at all: whatever the gateway writes,
streams included, reaches the suite byte for byte and as it comes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

_MAX_HEAD_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """One request's head, rewritten, and how its body ends."""

    raw: bytes
    body_bytes: int
    chunked: bool


def rewrite(head: bytes, token: str, here: bytes, there: bytes) -> Head:
    """*head* as a client of *there* with *token* would have sent it.

    A Host or Origin that names this relay names the gateway instead; any other one is part of
    what the suite tests and stays.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [first, b"Authorization: Bearer " + token.encode()]
    body_bytes, chunked = 0, False
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        if name in (b"host", b"origin"):
            line = line.replace(here, there)
        elif name == b"content-length":
            body_bytes = int(value)
        elif name == b"transfer-encoding":
            chunked = b"chunked" in value.lower()
        kept.append(line)
    return Head(b"\r\n".join(kept) + b"\r\n\r\n", body_bytes, chunked)


async def _pass_body(head: Head, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    if head.chunked:
        size = -1
        while size:
            line = await source.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            sink.write(line + await source.readexactly(size + 2))
        return
    sink.write(await source.readexactly(head.body_bytes))


async def _requests(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, token: str, here: bytes, there: bytes
) -> None:
    while True:
        head = rewrite(await source.readuntil(b"\r\n\r\n"), token, here, there)
        sink.write(head.raw)
        await _pass_body(head, source, sink)
        await sink.drain()


async def _responses(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK_BYTES):
        sink.write(chunk)
        await sink.drain()


@contextlib.asynccontextmanager
async def relay(port: int, token: str) -> AsyncIterator[int]:
    """Relay to the loopback *port*, with *token*; yields the relay's own port."""
    there = f"127.0.0.1:{port}".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = "{}:{}".format(*writer.get_extra_info("sockname")[:2]).encode()
        sink: asyncio.StreamWriter | None = None
        try:
            source, sink = await asyncio.open_connection("127.0.0.1", port)
            both = (
                asyncio.ensure_future(_requests(reader, sink, token, here, there)),
                asyncio.ensure_future(_responses(source, writer)),
            )
            # Either end leaving ends both: the gateway has to see a caller that is gone.
            _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            for end in (writer, sink):
                if end is not None:
                    end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
