"""The load: callers of either era that check every reply they get."""

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tests.bench.wire import Client, Message, connect

_REPLY_S = 30.0


class Era(StrEnum):
    """Which revision a caller speaks."""

    MODERN = "2026-07-28"
    SESSION = "2025-11-25"


class WrongReply(Exception):
    """A reply was not the answer to what was asked."""


class _Block(msgspec.Struct):
    text: str = ""


class _Result(msgspec.Struct):
    content: list[_Block] = []
    tools: list[msgspec.Raw] = []
    isError: bool = False  # noqa: N815 - the wire's name


class _Reply(msgspec.Struct):
    id: int | None = None
    result: _Result | None = None


_reply = msgspec.json.Decoder(_Reply).decode


@dataclass(frozen=True, slots=True)
class Target:
    """Where the calls go: a port, a path, the token that is asked for there ("" for none), and
    what the upstream's echo is called there."""

    name: str
    port: int
    path: str
    token: str = ""
    tool: str = "echo"


def read(message: Message) -> _Reply:
    """The JSON-RPC response of an HTTP response, plain or as the last frame of a stream.

    Raises: WrongReply, when there is none.
    """
    if message.status != 200:
        said = message.body[:300].decode(errors="replace")
        raise WrongReply(f"HTTP {message.status}: {said}")
    body = message.body
    if message.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        frames = [line[5:] for line in body.splitlines() if line.startswith(b"data:")]
        # The older era may open a stream with an empty event, to be resumed from.
        body = next((frame for frame in reversed(frames) if frame.strip()), b"")
    try:
        return _reply(body)
    except msgspec.DecodeError as err:
        raise WrongReply(f"{err}: {body[:300].decode(errors='replace')}") from err


_META = (
    b',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    b'"io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}}'
)


class Caller:
    """One caller on one kept connection; unique texts, and no reply goes unchecked."""

    _numbers = itertools.count(1)

    def __init__(self, client: Client, target: Target, era: Era) -> None:
        self._client = client
        self._era = era
        lines = [
            f"POST {target.path} HTTP/1.1",
            f"Host: 127.0.0.1:{target.port}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            f"MCP-Protocol-Version: {era}",
        ]
        if target.token:
            lines.append(f"Authorization: Bearer {target.token}")
        self._head = "\r\n".join(lines).encode() + b"\r\n"
        self._meta = _META if era is Era.MODERN else b""
        self._tool = target.tool.encode()
        self._session = b""

    def _raw(self, method: bytes, name: bytes, body: bytes, lines: bytes = b"") -> bytes:
        if self._era is Era.MODERN:
            lines += b"Mcp-Method: %b\r\n" % method
            if name:
                lines += b"Mcp-Name: %b\r\n" % name
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, lines, len(body), body)

    async def open(self) -> None:
        """Whatever has to come before the first call: in the older era, a session."""
        if self._era is Era.MODERN:
            return
        hello = msgspec.json.encode(
            {
                "jsonrpc": "2.0",
                "id": 0,
                "method": "initialize",
                "params": {
                    "protocolVersion": self._era.value,
                    "capabilities": {},
                    "clientInfo": {"name": "bench", "version": "1"},
                },
            }
        )
        answer = await self._client.ask(self._raw(b"initialize", b"", hello))
        read(answer)
        self._session = answer.headers.get(b"mcp-session-id", b"")
        if self._session:
            self._head += b"Mcp-Session-Id: %b\r\n" % self._session
        ready = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        accepted = await self._client.ask(self._raw(b"notifications/initialized", b"", ready))
        if accepted.status != 202:
            raise WrongReply(f"notifications/initialized was answered with {accepted.status}")

    async def call(self) -> None:
        """One tools/call with a text of its own. Raises: WrongReply."""
        number = next(self._numbers)
        await self._echoed(number, f"echo-{number:012x}")

    async def repeat(self) -> None:
        """The same tools/call as every other time. Raises: WrongReply."""
        await self._echoed(next(self._numbers), "echo-again")

    async def call_tied(self, run: str) -> None:
        """As `call`, in *run* and with an idempotency key of its own. Raises: WrongReply."""
        number = next(self._numbers)
        lines = f"Customhouse-Run: {run}\r\nIdempotency-Key: bench-{number:012x}\r\n"
        await self._echoed(number, f"echo-{number:012x}", lines.encode())

    async def _echoed(self, number: int, text: str, lines: bytes = b"") -> None:
        """Raises: WrongReply, when the reply has another id or another text."""
        body = (
            b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b",'
            b'"arguments":{"text":"%b"}%b}}' % (number, self._tool, text.encode(), self._meta)
        )
        message = await self._client.ask(self._raw(b"tools/call", self._tool, body, lines))
        reply = read(message)
        result = reply.result
        if reply.id != number or result is None or result.isError:
            raise WrongReply(message.body[:300].decode(errors="replace"))
        if [block.text for block in result.content] != [text]:
            raise WrongReply(f"expected {text}, got {message.body[:300]!r}")

    async def list_tools(self, count: int) -> None:
        """One tools/list, which has to hold *count* tools on its one page."""
        number = next(self._numbers)
        params = b"{%b}" % self._meta[1:]
        body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":%b}' % (number, params)
        reply = read(await self._client.ask(self._raw(b"tools/list", b"", body)))
        if reply.id != number or reply.result is None or len(reply.result.tools) != count:
            listed = len(reply.result.tools) if reply.result else "no"
            raise WrongReply(f"expected {count} tools, got {listed}")

    async def close(self) -> None:
        """End the session, if there is one, and hang up."""
        if self._session:
            head = self._head.replace(b"POST", b"DELETE", 1)
            await self._client.ask(head + b"Content-Length: 0\r\n\r\n")
        self._client.transport.close()


@dataclass(frozen=True, slots=True)
class Spell:
    """What a number of callers got done in a while."""

    calls: int
    seconds: float
    latencies_ms: Sequence[float]  # sorted

    def quantile_ms(self, q: float) -> float:
        """The latency that *q* of all calls stayed within."""
        last = len(self.latencies_ms) - 1
        return self.latencies_ms[min(last, math.ceil(q * last))]


async def callers(target: Target, era: Era, count: int) -> list[Caller]:
    """*count* callers with a connection each, ready to call."""
    made = [Caller(await connect(target.port), target, era) for _ in range(count)]
    async with asyncio.timeout(_REPLY_S):
        await asyncio.gather(*(caller.open() for caller in made))
    return made


async def leave(callers: Sequence[Caller]) -> None:
    """All of them hang up."""
    async with asyncio.timeout(_REPLY_S):
        await asyncio.gather(*(caller.close() for caller in callers), return_exceptions=True)


async def count(steps: Sequence[Callable[[], Awaitable[None]]], calls: int) -> None:
    """Repeat *steps*, side by side, until *calls* were made. Raises: as `spell`."""
    turns = iter(range(calls))

    async def repeat(step: Callable[[], Awaitable[None]]) -> None:
        for _ in turns:
            await step()

    await asyncio.gather(*(repeat(step) for step in steps))


async def spell(steps: Sequence[Callable[[], Awaitable[None]]], for_s: float) -> Spell:
    """Repeat every one of *steps* for *for_s*, side by side; each ends the one it has begun.

    Raises: WrongReply or ConnectionError, when one of them did.
    """
    latencies: list[float] = []
    clock = time.perf_counter
    began = clock()
    until = began + for_s

    async def repeat(step: Callable[[], Awaitable[None]]) -> None:
        while (start := clock()) < until:
            await step()
            latencies.append((clock() - start) * 1000)

    async with asyncio.timeout(for_s + _REPLY_S):
        await asyncio.gather(*(repeat(step) for step in steps))
    took = clock() - began
    return Spell(len(latencies), took, sorted(latencies))
