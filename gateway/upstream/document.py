"""One small document from a judged address: bounded in size and time, and no redirect is followed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from gateway.upstream.fetch import Target
from gateway.upstream.message import broken, unreachable
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.response import Response


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
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.host_header}",
        "User-Agent: customhouse",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    pool, document = ConnectionPool(target, 1, tls), _Document(most_bytes)
    try:
        async with asyncio.timeout(within_s):
            connection = await pool.open(asyncio.get_running_loop().time() + within_s)
            connection.send(document, sign("\r\n".join((*lines, "", "")).encode("ascii")))
            return await document.body
    except TimeoutError:
        raise unreachable(f"{target.host}:{target.port} did not answer in {within_s} s") from None
    finally:
        pool.close()


class _Document:
    """What a connection carries for `get`."""

    def __init__(self, most_bytes: int) -> None:
        self.max_wire_bytes = most_bytes
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._n_bytes = 0

    def begun(self) -> None:
        return

    def headed(self, response: Response) -> bool:
        if 300 <= response.status < 400:
            raise response.failure()
        if response.status != 200:
            raise broken(f"HTTP {response.status} instead of a document")
        # Whatever type the body is said to be of, it is one document, which ends with the body.
        response.is_json, response.events = True, None
        return False

    def count(self, n_bytes: int) -> bool:
        self._n_bytes += n_bytes
        if self._n_bytes > self.max_wire_bytes:
            self.fail(broken(f"the document has more than {self.max_wire_bytes} bytes"))
        return self._n_bytes <= self.max_wire_bytes

    def take(self, kind: bytes, text: bytes) -> bool:
        if not self.body.done():
            self.body.set_result(text)
        return True

    def fail(self, failure: Exception) -> None:
        if not self.body.done():
            self.body.set_exception(failure)
            self.body.exception()  # looked at, also where the deadline came first
