"""Fakes that speak the real protocols, and makers of values that only the product's ledger makes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import anyio
import structlog
from structlog.testing import LogCapture

from gateway.domain.model import (
    Act,
    Amounts,
    Approval,
    Call,
    CallClass,
    Definition,
    Kind,
    Outcome,
    Permit,
    Principal,
    Relay,
)
from gateway.upstream.catalogue import Upstreams
from gateway.upstream.spec import HttpTransport, ServerSpec

ALICE = Principal(tenant="default", subject="alice")


def make_call(
    server: str = "fake",
    name: str = "echo",
    arguments: Mapping[str, Any] | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
    method: str = "tools/call",
    definition: Definition | None = None,
) -> Call:
    """A call as the edge makes it: raw parts beside decoded arguments."""
    arguments = arguments or {}
    params = {"name": json.dumps(name).encode(), "arguments": json.dumps(arguments).encode()}
    return Call(
        id="01HZX0000000000000000000AA",
        principal=ALICE,
        method=method,
        kind=Kind.TOOL,
        server=server,
        name=name,
        act=Act.CALL,
        weight=CallClass.FULL,
        params=params,
        arguments=arguments,
        meta={key: json.dumps(value).encode() for key, value in (meta or {}).items()},
        definition=definition,
    )


def make_definition(body: bytes, name: str = "echo", server: str = "fake") -> Definition:
    """An approved tool whose definition is *body*."""
    return Definition(server, Kind.TOOL, name, name, body, "0" * 64, Approval.APPROVED)


def make_permit(call: Call, ceiling_tokens: int = 25_000) -> Permit:
    """A permit without a ledger. In the product only store/ledger.py makes one."""
    return Permit(
        call=call,
        leaf=1,
        held=Amounts(tokens=ceiling_tokens, calls=1),
        accounts=("t0", "m0", "a0", "o0"),
        argument_tokens=1,
        ceiling_tokens=ceiling_tokens,
    )


@dataclass
class Collected:
    """A relay that keeps the frames it was given."""

    frames: list[dict[str, Any]] = field(default_factory=list)

    async def notify(self, frame: bytes) -> None:
        assert b"\n" not in frame
        self.frames.append(json.loads(frame))


@dataclass(frozen=True)
class Asked:
    """One HTTP request as the fake upstream read it."""

    head: str
    headers: dict[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def id(self) -> Any:
        return self.body["id"]

    @property
    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.body["params"]
        return params

    @property
    def token(self) -> Any:
        return self.params["_meta"].get("progressToken")

    async def send(self, raw: bytes) -> None:
        if self.writer.is_closing():  # uvloop and asyncio do not agree what a write is then
            raise ConnectionResetError
        self.writer.write(raw)
        await self.writer.drain()

    async def answer(self, result: Mapping[str, Any], **envelope: Any) -> None:
        """One JSON body with Content-Length."""
        message = {"jsonrpc": "2.0", "id": self.id, "result": result, **envelope}
        await self.send(http_response(json.dumps(message).encode()))

    async def open_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    async def event(self, message: Mapping[str, Any]) -> None:
        await self.send(chunk(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def http_response(
    body: bytes, *, status: str = "200 OK", content_type: str = "application/json", extra: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{extra}"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


Behaviour = Callable[[Asked], Awaitable[None]]


async def echo(asked: Asked) -> None:
    """What a well-behaved server does."""
    text = json.dumps(asked.params.get("arguments"))
    await asked.answer({"resultType": "complete", "content": [{"type": "text", "text": text}]})


class FakeUpstream:
    """A Streamable HTTP server of 2026-07-28 that does as it is told, misbehaviour included.

    `behave` is called with each request and writes the response, or does not. What the gateway
    asks to learn which revision the server speaks is answered here, and not counted as asked,
    unless *introduces* says that `behave` does that.
    """

    def __init__(
        self,
        behave: Behaviour = echo,
        tls: ssl.SSLContext | None = None,
        *,
        introduces: bool = False,
    ) -> None:
        self.behave = behave
        self._introduces = introduces
        self._tls = tls
        self.asked: list[Asked] = []
        self.connections = 0
        self.open_connections = 0
        self.closed_by_peer = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Close every connection, as a server does that restarts or tires of an idle client."""
        for writer in tuple(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._writers.add(writer)
        try:
            while True:
                asked = await self._read(reader, writer)
                if asked.body.get("method") == "server/discover" and not self._introduces:
                    await asked.answer({"supportedVersions": ["2026-07-28"], "capabilities": {}})
                    continue
                self.asked.append(asked)
                await self.behave(asked)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed_by_peer.set()
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.strip().split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), "a header was sent twice"
        n_bytes = int(headers.get("content-length", "0"))
        body = json.loads(await reader.readexactly(n_bytes)) if n_bytes else {}
        return Asked(first, headers, body, reader, writer)


def with_params(call: Call, **params: Any) -> Call:
    """The same call with further members of params."""
    raw = {key: json.dumps(value).encode() for key, value in params.items()}
    return replace(call, params={**call.params, **raw})


@dataclass
class Border:
    """Upstreams that run, what they logged, and a shorter way to call."""

    upstreams: Upstreams
    logged: list[MutableMapping[str, Any]]

    async def call(
        self, call: Call | None = None, *, relay: Relay | None = None, ceiling_tokens: int = 25_000
    ) -> Outcome:
        permit = make_permit(call or make_call(), ceiling_tokens)
        return await self.upstreams.invoke(permit, relay or Collected())

    def events(self, event: str) -> list[MutableMapping[str, Any]]:
        return [entry for entry in self.logged if entry["event"] == event]


@asynccontextmanager
async def border(*specs: ServerSpec) -> AsyncIterator[Border]:
    """Upstreams between start and stop; the stop is bounded like everything else."""
    capture = LogCapture()
    log = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    upstreams = Upstreams(specs, log)
    await upstreams.start()
    try:
        yield Border(upstreams, capture.entries)
    finally:
        with anyio.fail_after(20, shield=True):
            await upstreams.stop()


def http_spec(url: str, **bounds: Any) -> ServerSpec:
    """A spec named `fake` for a server on loopback."""
    transport = HttpTransport(url, auth_header_value="Bearer of-the-gateway", allow_private=True)
    return ServerSpec("fake", transport, **{"timeout_s": 5.0, **bounds})


async def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that no event announces: another process, the kernel, a closed socket."""
    with anyio.fail_after(within_s):
        while not holds():  # noqa: ASYNC110 - there is nobody who could set an event
            await anyio.sleep(0.005)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that only waits to be collected has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
