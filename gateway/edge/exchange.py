"""One MCP request and its one response: JSON, or a stream from the moment there is something to tell."""

from __future__ import annotations

import msgspec
from starlette.types import Send

from gateway.domain.model import Reply
from gateway.edge.asks import Asks
from gateway.edge.calls import Asked
from gateway.edge.levels import LOG_LEVEL_META, is_heard
from gateway.edge.line import Leave, Line
from gateway.edge.reply import Answer
from gateway.edge.ties import tell_run


class _Params(msgspec.Struct):
    level: str = ""


class _Notification(msgspec.Struct):
    method: str
    params: _Params = msgspec.field(default_factory=_Params)


_NOTIFICATION = msgspec.json.Decoder(_Notification)


class Exchange(Line):
    """Writes the response; is the Relay of the call that the request made."""

    __slots__ = ("address", "answer", "asked", "asks", "governed", "negotiated")

    def __init__(self, asked: Asked, send: Send, *, can_stream: bool, address: str) -> None:
        super().__init__(asked.principal, send, can_stream=can_stream)
        self.asked = asked
        self.run = asked.ties.run
        if self.run:
            tell_run(self.headers, self.run)
        self.address = address
        self.asks: Asks | None = None  # of the session: how its caller is asked something
        self.answer: Answer | None = None  # what the pipeline made of it, when it is in
        self.governed = False  # the pipeline was asked
        self.negotiated = ""  # the revision that an initialize settled on

    def told(self, reply: Reply) -> Reply:
        """*reply*, of whose run the response tells: an earlier answer may be of another, or of none."""
        if reply.is_replay and not self.streaming:
            tell_run(self.headers, reply.call.run)
        return reply

    async def notify(self, frame: bytes) -> None:
        """Pass on one notification of the upstream, if the caller can hear it and asked for it."""
        if not self.can_stream or self.finished or self.left or not self._is_wanted(frame):
            return
        await self.chunk(_as_event(frame))

    async def tell(self, frame: bytes) -> None:
        """Write one message of ours, if anybody hears it."""
        if self.hears:
            await self.chunk(_as_event(frame))

    async def finish(self, answer: Answer) -> None:
        """Write the final frame; nothing is written after it."""
        may_stream = self._writing is not None
        await self.close(answer, _as_event(answer.body) if may_stream and answer.body else b"")

    @property
    def is_abandoned(self) -> bool:
        """In the handshake era a lost connection does not cancel (2025-11-25, transports)."""
        if self.left is Leave.GONE:
            return self.asked.client.modern or not self.asked.message.id  # the latter: a GET
        return self.left is not None

    def _is_wanted(self, frame: bytes) -> bool:
        """Progress is; log messages are from the level that the request or its session asked for."""
        try:
            said = _NOTIFICATION.decode(frame)
        except msgspec.DecodeError:
            return False
        if said.method == "notifications/message":
            return is_heard(said.params.level, self.asked.meta.get(LOG_LEVEL_META))
        return said.method == "notifications/progress"


def _as_event(frame: bytes) -> bytes:
    # JSON has raw line breaks only between its tokens; in an event they would end the field.
    if b"\n" in frame or b"\r" in frame:
        frame = frame.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\r\ndata: %b\r\n\r\n" % frame
