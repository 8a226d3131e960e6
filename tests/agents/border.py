"""The real edge on fakes, served on loopback; and a wire that breaks as one wants it to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn

from tests.edge.fakes import Stand


def listener() -> socket.socket:
    """A socket that is listened on from this moment: nobody has to wait for a server to start."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def served(stand: Stand) -> AsyncIterator[str]:
    """The border of *stand* at a URL."""
    sock = listener()
    config = uvicorn.Config(
        stand.border, ws="none", access_log=False, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [sock])
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
        finally:
            server.should_exit = True


@asynccontextmanager
async def wire(*answers: bytes) -> AsyncIterator[str]:
    """A URL where each connection is answered with the next of *answers*, raw, and closed."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    sock = listener()
    async with await asyncio.start_server(answer, sock=sock):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
