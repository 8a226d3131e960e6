"""Server-sent events, incrementally: bytes in, complete events out.

id: 41
event: message
data: {"jsonrpc":"2.0","id":7,"result":{}}
                                                 <- a blank line ends the event
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")
MESSAGE = b"message"  # the kind of an event that does not say its kind
MAX_ID_BYTES = 1024
MAX_RETRY_MS = 3_600_000


class EventReader:
    """One stream. The caller bounds the bytes it feeds; nothing is kept beyond one event."""

    __slots__ = ("_after_cr", "_data", "_id", "_kind", "_line", "last_id", "retry_ms")

    def __init__(self) -> None:
        self.last_id = b""  # of the last event that was complete; b"": it had none
        self.retry_ms: int | None = None  # how long the server wants us to wait before we return
        self._line = bytearray()  # the unfinished line
        self._data: list[bytes] = []
        self._kind = b""
        self._id = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[tuple[bytes, bytes]]:
        """The events that *chunk* completes, in order: kind and text, which is never empty."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CR LF that two chunks share
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        self._line += chunk
        if b"\n" not in chunk and b"\r" not in chunk:
            return []  # only the new chunk is searched: a slow drip stays linear
        lines = _LINE_END.split(bytes(self._line))
        self._line = bytearray(lines.pop())
        events = []
        for line in lines:
            if line:
                self._take(line)
                continue
            self.last_id = self._id
            text = b"\n".join(self._data)
            if text:
                events.append((self._kind or MESSAGE, text))
            self._data = []
            self._kind = b""
        return events

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value
        elif name == b"id" and b"\0" not in value and len(value) <= MAX_ID_BYTES:
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = min(int(value), MAX_RETRY_MS)
