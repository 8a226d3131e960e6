"""What stands between the compatibility kit and whom it tests, in both of its runs.

The kit has no word for a credential, repeats messageIds (through the gateway that is one message,
delivered once), and posts to the URL of an interface with a slash behind it. So the shim adds the
credential, makes each messageId its own, and takes the slash away; nothing else is touched.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

CARD = "/.well-known/agent-card.json"
MARK = "-shim-"
# Of one connection, or of a body whose length may change here.
_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "date", "server"})


@dataclass
class Shim:
    """In front of *behind*, whose card is at *card_path* there."""

    behind: str
    card_path: str
    key: str = ""
    port: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        self._client = httpx.AsyncClient(trust_env=False, timeout=30)
        methods = ["GET", "POST", "DELETE", "PUT", "PATCH"]
        return Starlette(routes=[Route("/{rest:path}", self._pass, methods=methods)])

    async def _pass(self, request: Request) -> Response:
        path = self.card_path if request.url.path == CARD else request.url.path.rstrip("/")
        query = f"?{request.url.query}" if request.url.query else ""
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP]
        headers.append(("accept-encoding", "identity"))
        if self.key:
            headers.append(("authorization", f"Bearer {self.key}"))
        body, mark = self._marked(await request.body())
        asked = self._client.build_request(
            request.method, f"{self.behind}{path}{query}", headers=headers, content=body
        )
        answer = await self._client.send(asked, stream=True)
        told = {name: value for name, value in answer.headers.items() if name not in _HOP}
        if request.url.path == CARD:
            text = (await answer.aread()).decode().replace(self.behind, self.url)
            return Response(text, answer.status_code, told)
        return StreamingResponse(self._unmarked(answer, mark), answer.status_code, told)

    def _marked(self, body: bytes) -> tuple[bytes, bytes]:
        """The request with a messageId that was never there, and what it has more."""
        mark = f"{MARK}{next(self._numbers)}-"
        try:
            said: Any = json.loads(body)
            message = (said.get("params") or said)["message"]
            message["messageId"] += mark
        except (ValueError, KeyError, TypeError, AttributeError):
            return body, b""
        return json.dumps(said).encode(), mark.encode()

    async def _unmarked(self, answer: httpx.Response, mark: bytes) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.aiter_raw():
                yield chunk.replace(mark, b"") if mark else chunk
        finally:
            await answer.aclose()


@contextmanager
def before(shim: Shim) -> Iterator[Shim]:
    """The shim on a free port of loopback, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    shim.port = listener.getsockname()[1]
    config = uvicorn.Config(shim.app(), log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield shim
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()
