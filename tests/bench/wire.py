"""As much HTTP/1.1 as the benchmark needs: asyncio protocols on httptools, nothing in between."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TypeVar, cast, overload

import httptools

REASONS = {
    200: b"OK",
    202: b"Accepted",
    401: b"Unauthorized",
    404: b"Not Found",
    405: b"Not Allowed",
}


C = TypeVar("C", bound="Client")


@dataclass(slots=True)
class Message:
    """One request or response; header names in lower case."""

    target: bytes = b""
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


class _Peer(asyncio.Protocol):
    """What both ends share: the parser's callbacks fill one message after the other."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.message = Message()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's, though they do the same.
        self.transport = cast(asyncio.Transport, transport)

    def on_message_begin(self) -> None:
        self.message = Message()

    def on_url(self, url: bytes) -> None:
        self.message.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.message.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.message.body += body


class Server(_Peer):
    """One connection of a server: `received` is called with each request, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self.method = b""

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_complete(self) -> None:
        self.method = self._parser.get_method()
        self.received(self.message)

    def received(self, request: Message) -> None:
        """Answer *request*, now or later, with `respond`."""
        raise NotImplementedError

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Write one response in one piece (two small writes meet Nagle and delayed ACK)."""
        if self.transport.is_closing():
            return
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, REASONS[status], headers, len(body), body)
        )

    def begin(self, status: int, headers: bytes) -> None:
        """Begin a response that comes in pieces."""
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bTransfer-Encoding: chunked\r\n\r\n"
            % (status, REASONS[status], headers)
        )

    def piece(self, body: bytes) -> None:
        """Write the next piece of it; b"" is the last."""
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))


class Client(_Peer):
    """One kept connection of a client: requests are answered in the order they are sent."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: deque[asyncio.Future[Message]] = deque()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as err:
            self._fail(ConnectionError(f"not HTTP: {err}"))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the other side hung up"))

    def _fail(self, why: Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(why)

    def on_message_complete(self) -> None:
        self.message.status = self._parser.get_status_code()
        waiter = self._waiting.popleft()
        if not waiter.done():
            waiter.set_result(self.message)

    def ask(self, raw: bytes) -> asyncio.Future[Message]:
        """Send the bytes of one request; the answer comes through the future."""
        waiter: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.transport.write(raw)
        return waiter


@overload
async def connect(port: int) -> Client: ...
@overload
async def connect(port: int, kind: type[C]) -> C: ...
async def connect(port: int, kind: type[Client] = Client) -> Client:
    """A kept connection to loopback *port*."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(kind, "127.0.0.1", port)
    return client


async def serve(factory: type[Server]) -> None:
    """Serve on a free loopback port, say which on stdout, until told to stop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, backlog=1024)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()
