"""The session of a client of the older era, kept for it: its id, its revision, and its own stream.

A gateway that was restarted knows no session any more. A client on two pipes could not tell, so its
first words are said again for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from gateway.cli.border import Border, Exchange, Lost, decoded

PATIENCE_S = 10.0  # for what has no answer to wait for
GOODBYE_S = 2.0
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
OK = 200
_SESSION, _VERSION = "Mcp-Session-Id", "MCP-Protocol-Version"
_INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
_WHY = {
    404: "there is no gateway at this URL, or no such endpoint",
    503: "the gateway cannot take requests now",
}
_REFUSAL, _UNKNOWN = "io.customhouse/refusal", "unknown_session"


class Session:
    """Threads share it. Until `open` it is none, and its headers are empty."""

    def __init__(self, border: Border, write: Callable[[bytes], None]) -> None:
        self._border = border
        self._write = write
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stream: Exchange | None = None
        self._initialize = b""
        self.id = ""
        self._version = ""

    def headers(self) -> dict[str, str]:
        said = {_SESSION: self.id, _VERSION: self._version}
        return {name: value for name, value in said.items() if value}

    def open(self, initialize: bytes, exchange: Exchange, answer: Any) -> None:
        """Take up the session that *answer* to *initialize* opened; before the client sees it."""
        result = answer.get("result")
        if isinstance(result, dict):
            self.id, self._initialize = exchange.header(_SESSION), initialize
            self._version = str(result.get("protocolVersion", ""))

    def listen(self) -> None:
        """Pass on what the gateway says outside of any request, until `end`."""
        if self._stream is None:
            threading.Thread(target=self._attend, daemon=True).start()

    def renew(self, stale: str) -> bool:
        """Open another session in the place of *stale*, unless another thread has. Raises: Lost."""
        with self._lock:
            if self.id != stale:
                return True
            exchange = self._border.exchange("POST", {}, self._initialize)
            for line in received(exchange):
                message = decoded(line)
                if isinstance(message, dict) and "result" in message:
                    self.open(self._initialize, exchange, message)
            if self.id == stale:
                return False
            list(received(self.post(_INITIALIZED), PATIENCE_S))
            self.listen()
            return True

    def post(self, line: bytes) -> Exchange:
        return self._border.exchange("POST", self.headers(), line)

    def end(self) -> None:
        self._over.set()
        if self._stream is not None:
            self._stream.abort()
        if self.id:
            goodbye = self._border.exchange("DELETE", self.headers(), None)
            try:
                goodbye.send(GOODBYE_S)
            except Lost:
                return  # it ends by itself when nobody uses it
            goodbye.close()

    def _attend(self) -> None:
        pause_s = FIRST_RETRY_S
        while not self._over.wait(0):
            stale = self.id
            said = {**self.headers(), "Accept": "text/event-stream"}
            self._stream = self._border.exchange("GET", said, None)
            try:
                status = self._stream.send()
                for line in self._stream.messages():
                    if status == OK:
                        pause_s = FIRST_RETRY_S
                        self._write(line)
                    elif is_lost(line):
                        self.renew(stale)
                refused = status != OK and self.id == stale
            except Lost:
                refused = False
            if refused:  # it has no such stream, until there is another session
                break
            self._over.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)
        self._stream = None


def received(exchange: Exchange, patience_s: float | None = None) -> Iterator[bytes]:
    """The messages that *exchange* is answered with. Raises: Lost: an answer that is none."""
    status = exchange.send(patience_s)
    count = 0
    for count, line in enumerate(exchange.messages(), 1):  # noqa: B007 - whether there was one
        yield line
    if status >= 300 and not count:
        raise Lost(_WHY.get(status, f"the gateway answered {status}, which no gateway does"))


def is_lost(line: bytes) -> bool:
    """Whether *line* is the refusal of a session that the gateway does not know any more."""
    message = decoded(line)
    error = message.get("error") if isinstance(message, dict) else None
    data = error.get("data") if isinstance(error, dict) else None
    refusal = data.get(_REFUSAL) if isinstance(data, dict) else None
    return isinstance(refusal, dict) and refusal.get("code") == _UNKNOWN
