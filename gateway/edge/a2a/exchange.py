"""One A2A request and its one response: JSON, or a stream of events as they come."""

from __future__ import annotations

from starlette.types import Send

from gateway.domain.model import Principal
from gateway.edge.a2a.asked import Asked
from gateway.edge.a2a.errors import Said, rest_answer, rpc_answer, rpc_frame
from gateway.edge.a2a.tasks import Telling
from gateway.edge.line import JSON_TYPE, Line
from gateway.edge.reply import Answer, result_frame

A2A_TYPE = b"application/a2a+json"


class Exchange(Line):
    """Writes the response; is the Relay of the call that the request made."""

    __slots__ = ("asked", "telling")

    def __init__(self, principal: Principal, send: Send, asked: Asked) -> None:
        super().__init__(principal, send, can_stream=True)
        self.asked = asked
        self.server = asked.peer
        self.telling: Telling | None = None  # once there is a call

    async def notify(self, frame: bytes) -> None:
        """Pass on one event, once what it tells of tasks is durable; heard or not, that is kept."""
        if self.telling is None:
            return
        told = await self.telling.outward(frame)
        if self.hears:
            await self.chunk(_as_event(self._framed(told)))

    async def finish(self, result: bytes) -> None:
        """The result, whole: nothing is written after it."""
        body = self._framed(result)
        await self.close(Answer(200, body), _as_event(body), self._type)

    async def finish_stream(self, last: bytes) -> None:
        """The last event; b"": it was written already, and the stream ends."""
        if not self.streaming:
            await self.open()
        await self.close(Answer(200, b""), _as_event(self._framed(last)) if last else b"")

    async def fail(self, said: Said) -> None:
        if self.asked.is_rpc:
            answer, last = rpc_answer(self.asked.id, said), rpc_frame(self.asked.id, said)
        else:
            answer, last = rest_answer(said), said.as_rest()
        await self.close(answer, b"event: error\r\n" + _as_event(last), JSON_TYPE)

    @property
    def _type(self) -> bytes:
        return JSON_TYPE if self.asked.is_rpc else A2A_TYPE

    def _framed(self, result: bytes) -> bytes:
        return result_frame(self.asked.id, result) if self.asked.is_rpc else result


def _as_event(frame: bytes) -> bytes:
    # What we encode has no raw line breaks: they would end the field.
    return b"data: %b\r\n\r\n" % frame
