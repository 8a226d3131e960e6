"""Word of a server that its lists have changed: many in one breath are one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET_S = 0.1


class Changes:
    """One per server; *tell* is called on the event loop, QUIET_S after the first word of a burst."""

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
