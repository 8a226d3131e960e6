"""What is not a call: events that come for as long as the server likes, and notes without an answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from gateway.upstream.changes import Dam
from gateway.upstream.connection import Connection, Unread
from gateway.upstream.message import broken
from gateway.upstream.origin import connected
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.response import Response

MAX_NOTE_BYTES = 65_536
_NONE_YET = Response()


class Stream:
    """The response to a GET. *take* is given each event, and says whether a call waits for it.

    What it raises ends the stream. *ended* is told at once, before anybody else can act.
    """

    max_wire_bytes = sys.maxsize

    def __init__(
        self,
        take: Callable[[bytes, bytes], bool],
        max_event_bytes: int,
        ended: Callable[[Exception], None] | None = None,
    ) -> None:
        self.response = _NONE_YET
        self.up = False
        self.spoken = asyncio.Event()  # the first event was taken, or none will come
        self.over = asyncio.Event()
        self.failure: Exception | None = None
        self._take = take
        self._ended = ended
        self._max_event_bytes = max_event_bytes
        self._pending_bytes = 0  # since the last event
        self._dam: Dam | None = None
        self._loop = asyncio.get_running_loop()

    async def open(
        self,
        pool: ConnectionPool,
        request: bytes,
        deadline: float,
        sign: Callable[[bytes], bytes] = bytes,
    ) -> Connection:
        """Ask for it, with what *sign* makes of the request. Raises: UpstreamFailed."""
        connection = await connected(pool, deadline)
        connection.send(self, sign(request))
        self._dam = Dam(connection.rest)
        return connection

    def begun(self) -> None:
        return

    def headed(self, response: Response) -> bool:
        self.response = response
        if response.status != 200 or response.events is None:
            raise response.failure()
        self.up = True
        return False

    def count(self, n_bytes: int) -> bool:
        self._pending_bytes += n_bytes
        if self._pending_bytes <= self._max_event_bytes:
            return True
        self.fail(broken(f"an event of more than {self._max_event_bytes} bytes"))
        return False

    def take(self, kind: bytes, text: bytes) -> bool:
        self._pending_bytes = 0
        is_awaited = self._take(kind, text)
        self.spoken.set()
        if not is_awaited and self._dam is not None:
            self._dam.word(self._loop.time())
        return False

    def fail(self, failure: Exception) -> None:
        if self.over.is_set():
            return
        self.failure = failure
        self.up = False
        self.over.set()
        self.spoken.set()
        if self._ended is not None:
            self._ended(failure)


class Note(Unread):
    """A message that is only taken, or not. *failed* is told when it was not."""

    max_wire_bytes = MAX_NOTE_BYTES

    def __init__(self, failed: Callable[[Exception], None] | None = None) -> None:
        self.status = 0
        self._failed = failed
        self._failure: Exception | None = None
        self._over = asyncio.Event()

    async def taken(self, deadline: float) -> None:
        """Raises: UpstreamFailed: it was not."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._over.wait()
        except TimeoutError:
            raise broken("a message was not taken in time") from None
        if self._failure is not None:
            raise self._failure

    def begun(self) -> None:
        return

    def headed(self, response: Response) -> bool:
        self.status = response.status
        if not 200 <= response.status < 300:
            raise response.failure()
        self._over.set()
        return True

    def fail(self, failure: Exception) -> None:
        if self._over.is_set():
            return
        self._failure = failure
        self._over.set()
        if self._failed is not None:
            self._failed(failure)
