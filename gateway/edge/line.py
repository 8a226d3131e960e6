"""One response being written: whole, or as a stream; and whether anybody still waits for it."""

from __future__ import annotations

from asyncio import CancelledError, Lock, Task, current_task, sleep
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import Any, TypeVar

from starlette.types import Message, Send

from gateway.domain.model import Principal
from gateway.domain.refusal import Refused
from gateway.edge.reply import Answer

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = b"application/json"
_STREAM: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_PING = b": ping\r\n\r\n"


class Leave(Enum):
    """Why nobody waits for the answer any more."""

    GONE = "gone"  # the connection was closed
    REVOKED = "revoked"  # the credential is no longer good
    CANCELLED = "cancelled"  # the caller took the request back
    ENDED = "ended"  # and with it the whole session
    STOPPED = "stopped"  # somebody stopped what the call is part of, or goes to


class Line:
    """Writes one response, and ends the work behind it when nobody may have it any more."""

    __slots__ = (
        "_cancelled",
        "_send",
        "_sent_s",
        "_task",
        "_writing",
        "can_stream",
        "finished",
        "headers",
        "left",
        "principal",
        "run",
        "server",
        "streaming",
    )

    def __init__(self, principal: Principal, send: Send, *, can_stream: bool) -> None:
        self.principal = principal
        self.run = ""  # of the call that is made here, once that is known
        self.server = ""  # the same
        self.can_stream = can_stream
        self.headers: Headers = []  # of the response, beside its own
        self.left: Leave | None = None
        self.streaming = False
        self.finished = False
        self._send = send
        self._sent_s = monotonic()
        self._task: Task[Any] | None = None  # while the pipeline runs in it
        self._cancelled = False
        self._writing: Lock | None = None

    @property
    def hears(self) -> bool:
        """Whether what is told can reach the caller at all."""
        return self.can_stream and not self.finished and self.left is None

    async def chunk(self, chunk: bytes) -> None:
        """Write one piece of the stream, which this begins; the call and the watch may both want to."""
        if self._writing is None:
            self._writing = Lock()
        async with self._writing:
            if not self.streaming:
                headers = [*_STREAM, *self.headers]
                await self._write(
                    {"type": "http.response.start", "status": 200, "headers": headers}
                )
                self.streaming = True
            self._sent_s = monotonic()
            await self._write({"type": "http.response.body", "body": chunk, "more_body": True})

    async def open(self) -> None:
        """Begin a stream before there is anything to tell."""
        await self.chunk(_PING)

    async def ping(self, after_s: float) -> None:
        """Keep a silent connection open across proxies, once it was silent for *after_s*."""
        if not self.can_stream or self.finished or monotonic() - self._sent_s < after_s:
            return
        if self._writing is not None and self._writing.locked():
            return  # something is being written; whoever reads nothing is not waited for
        await self.chunk(_PING)

    async def close(self, answer: Answer, last: bytes, content_type: bytes = JSON_TYPE) -> None:
        """Write *answer*, or *last* where a stream has begun; nothing is written after it."""
        if self.finished:
            return
        self.finished = True
        if self._writing is None:
            await respond(self._write, answer, self.headers, content_type)
            return
        async with self._writing:
            if not self.streaming:
                await respond(self._write, answer, self.headers, content_type)
                return
            await self._write({"type": "http.response.body", "body": last, "more_body": False})

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What *work* comes to, or None when it was cancelled because nobody may have the answer.

        Cancels the task itself: a scope for every call would cost more than deciding the call.
        """
        if self.is_abandoned:
            work.close()
            return None
        self._task = task = current_task()
        try:
            outcome = await work
        except CancelledError:
            # Somebody else may have cancelled as well (drain, the other era's cancellation).
            if not self._cancelled or task is None or task.uncancel() > 0:
                raise
            return None
        finally:
            self._task = None
        if self._cancelled and task is not None:
            # It came to its end in the same turn of the loop: the cancellation is still to come.
            with suppress(CancelledError):
                await sleep(0)
            task.uncancel()
        return outcome

    def leave(self, why: Leave) -> None:
        """The answer will not be read, or may not be given: stop the call, if that is its end."""
        if self.finished or self.left not in (None, Leave.GONE):
            return
        self.left = why
        if self._task is not None and self.is_abandoned and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    @property
    def is_abandoned(self) -> bool:
        return self.left is not None

    async def _write(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # ASGI 2.4: how a server says that the caller has left
            self.left = self.left or Leave.GONE


async def respond(
    send: Send, answer: Answer, headers: Headers, content_type: bytes = JSON_TYPE
) -> None:
    """Write a whole response at once."""
    status, body, _ = answer
    said = [(b"content-length", b"%d" % len(body)), *headers]
    if body:
        said.append((b"content-type", content_type))
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def retry_after(refused: Refused) -> Headers:
    """When it may be tried again, as HTTP says it; nothing where nobody knows."""
    wait_ms = refused.shown_detail.get("retry_after_ms")
    return [(b"retry-after", b"%d" % -(-wait_ms // 1000))] if isinstance(wait_ms, int) else []
