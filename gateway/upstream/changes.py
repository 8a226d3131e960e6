"""What a server says of itself unasked: many words in one breath are one, and a flood is dammed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET_S = 0.1
# Of what no call waits for. Each costs microseconds; the server waits for us when there is more.
MOST_WORDS = 500
BREATH_S = 0.1


class Changes:
    """*tell* is called on the event loop, QUIET_S after the first word of a burst."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None

    def noticed(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._pass_on)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_on(self) -> None:
        self._timer = None
        self._tell()


class Dam:
    """Between a child's output and us: *rest* stops reading it for so many seconds."""

    def __init__(self, rest: Callable[[float], None]) -> None:
        self._rest = rest
        self._since_s = 0.0
        self._words = 0

    def word(self, now_s: float) -> None:
        """One more came unasked, at *now_s* of a monotonic clock."""
        if now_s - self._since_s >= BREATH_S:
            self._since_s = now_s
            self._words = 0
        self._words += 1
        if self._words == MOST_WORDS:
            self._rest(self._since_s + BREATH_S - now_s)
