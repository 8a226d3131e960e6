"""The response to one request for a model: JSON, or the events of its stream as they come."""

from __future__ import annotations

from starlette.types import Send

from gateway.domain.model import Principal
from gateway.domain.model_stream import is_last
from gateway.edge.line import Line
from gateway.edge.models.errors import Said
from gateway.edge.models.reach import CHAT
from gateway.edge.reply import Answer


class Telling(Line):
    """Is the Relay of the call. The last event is kept back: it says that all of it is settled."""

    __slots__ = ("_last", "_of_chat", "_told", "call_id")

    def __init__(self, principal: Principal, send: Send, api: str, *, can_stream: bool) -> None:
        super().__init__(principal, send, can_stream=can_stream)
        self._of_chat = api == CHAT
        self.call_id = ""  # of the call that is under way
        self._told = False
        self._last = b""

    @property
    def has_told(self) -> bool:
        """Whether the caller has had a part of an answer, so that no other can begin."""
        return self._told

    @property
    def has_answer(self) -> bool:
        return self._told or bool(self._last)

    async def notify(self, frame: bytes) -> None:
        if is_last(frame.partition(b"data: ")[2].strip(), of_chat=self._of_chat):
            self._last = frame
            return
        if self.hears:
            self._told = True
            await self.chunk(frame)

    async def finish(self, result: bytes) -> None:
        """The rest of a stream; all of it, *result*, when this call only repeats an earlier one."""
        rest = self._last if self.has_answer else result
        if not self.streaming:
            await self.chunk(rest)
            rest = b""
        await self.close(Answer(200, b""), rest)

    async def fail(self, said: Said, api: str) -> None:
        """Nothing more comes: as a response, or as an event where a stream has begun."""
        self.headers += said.headers
        await self.close(said.answer, said.event(api))
