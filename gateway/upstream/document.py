"""One small document from a judged address: bounded in size and time, and no redirect is followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

import httptools

from gateway.upstream.fetch import Target, connect
from gateway.upstream.message import UpstreamFailed, broken, died, unreachable

MAX_HEAD_BYTES = 16_384
_OK = 200


async def get(
    target: Target,
    tls: ssl.SSLContext | None,
    *,
    most_bytes: int,
    within_s: float,
    sign: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """The body of the answer to one GET, the request being what *sign* makes of it.

    Raises: UpstreamFailed: nobody was reached in time, or the answer is not 200, not plain, or
    larger than *most_bytes*.
    """
    try:
        async with asyncio.timeout(within_s):
            reader = await connect(target, tls, lambda: _Reader(most_bytes))
            try:
                return await reader.read(target, sign)
            finally:
                reader.close()
    except TimeoutError:
        raise unreachable(f"{target.host}:{target.port} did not answer in {within_s} s") from None


class _Reader(asyncio.Protocol):
    """One connection for one answer."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._body = bytearray()
        self._head_done = False
        self._framed = False
        self._seen_bytes = 0

    async def read(self, target: Target, sign: Callable[[bytes], bytes]) -> bytes:
        lines = (
            f"GET {target.path} HTTP/1.1",
            f"Host: {target.host_header}",
            "User-Agent: customhouse",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "Connection: close",
        )
        self._transport.write(sign("\r\n".join((*lines, "", "")).encode("ascii")))
        return await self._answer

    def close(self) -> None:
        if self._answer.done() and not self._answer.cancelled():
            self._answer.exception()  # looked at, also where the deadline came first
        self._transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self._seen_bytes += len(data)
        if self._seen_bytes > self._most_bytes + MAX_HEAD_BYTES:
            self._fail(broken(f"the document has more than {self._most_bytes} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as err:
            self._fail(broken(f"not a valid HTTP response: {err}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_done and not self._framed and exc is None:
            self._finish()  # HTTP/1.0 style: the end of the connection is the end
        self._fail(died("the connection ended before the document did"))

    # -- httptools -----------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.strip().lower()
        if name == b"content-encoding" and value != b"identity":
            self._fail(broken("the document is compressed, which was not asked for"))
        self._framed = self._framed or name in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _OK:
            return
        if status != _OK:
            self._fail(broken(_by_status(status)))
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._most_bytes:
            self._fail(broken(f"the document has more than {self._most_bytes} bytes"))

    def on_message_complete(self) -> None:
        if self._head_done:
            self._finish()

    def _finish(self) -> None:
        if not self._answer.done():
            self._answer.set_result(bytes(self._body))

    def _fail(self, failure: UpstreamFailed) -> None:
        if not self._answer.done():
            self._answer.set_exception(failure)


def _by_status(status: int) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed; configure the final URL"
    return f"HTTP {status} instead of a document"
