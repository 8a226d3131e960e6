"""Server-sent events, incrementally: bytes in, the text of complete `message` events out.

event: message
data: {"jsonrpc":"2.0","id":7,"result":{}}
                                                 <- a blank line ends the event
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """One stream. The caller bounds the bytes it feeds; nothing is kept beyond one event."""

    __slots__ = ("_after_cr", "_data", "_line", "_type")

    def __init__(self) -> None:
        self._line = bytearray()  # the unfinished line
        self._data: list[bytes] = []
        self._type = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that *chunk* completes, in order."""
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
            elif self._data:
                events.append(self._dispatch())
            else:
                self._type = b""
        return [event for event in events if event]

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value

    def _dispatch(self) -> bytes:
        text = b"\n".join(self._data) if self._type in {b"", b"message"} else b""
        self._data = []
        self._type = b""
        return text
