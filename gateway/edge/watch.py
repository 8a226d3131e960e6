"""Keeps an eye on one open request: is its body coming, has the caller left, is its key still good?"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.types import Receive

from gateway.domain.refusal import MALFORMED, Refused
from gateway.edge.house import House, Settings
from gateway.edge.line import Leave, Line


class Soon:
    """Begins the watches that are still open after *after_s*, on one timer for all of them.

    All wait equally long, so that they come due in the order in which they were opened.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._open: dict[Watch, float] = {}  # when each is due, in the time of the loop
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        self._open[watch] = due = loop.time() + self._after_s
        if self._timer is None:
            self._timer = loop.call_at(due, self._begin, loop)

    def drop(self, watch: Watch) -> None:
        self._open.pop(watch, None)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for watch, due in tuple(self._open.items()):
            if due > now:
                self._timer = loop.call_at(due, self._begin, loop)
                return
            del self._open[watch]
            watch.begin()


class Watch:
    """`async with Watch(...)` around a request. One that is answered at once costs no timer.

    Raises: Refused: MALFORMED: the body did not come in time.
    """

    __slots__ = (
        "_house",
        "_line",
        "_loop",
        "_receive",
        "_request",
        "_settings",
        "_soon",
        "_stalled",
        "_task",
        "_timer",
    )

    def __init__(self, receive: Receive, house: House, settings: Settings, soon: Soon) -> None:
        self._soon = soon
        self._timer: asyncio.TimerHandle | None = None
        self._receive = receive
        self._house = house
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._line: Line | None = None
        self._stalled = False

    async def __aenter__(self) -> Watch:
        self._loop = asyncio.get_running_loop()
        self._request = asyncio.current_task()
        self._soon.add(self, self._loop)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._soon.drop(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._stalled and self._request is not None and self._request.uncancel() == 0:
            raise Refused(MALFORMED, detail={"problem": "the body did not come in time"})

    def over(self, line: Line) -> None:
        """There is a whole request now: from here on it is the caller that is watched."""
        self._line = line
        if self._timer is not None:
            self._timer.cancel()
            self.begin()

    def begin(self) -> None:
        """The request has been open for a while: watch its body, or its caller."""
        if self._line is None:
            self._timer = self._loop.call_later(self._settings.body_deadline_s, self._give_up)
            return
        # The one task of the edge outside a group: a group would cost every short call what only
        # long ones need. It belongs to this object, which cancels it on leaving.
        self._task = self._loop.create_task(self._keep(self._line))

    def _give_up(self) -> None:
        if self._request is not None:
            self._stalled = True
            self._request.cancel()

    async def _keep(self, line: Line) -> None:
        period_s = self._settings.liveness_period_s
        principal = line.principal
        while not line.finished:
            if await self._is_gone(line, period_s):
                line.leave(Leave.GONE)
            if not self._house.identity.is_live(principal, self._house.clock()):
                line.leave(Leave.REVOKED)
            if self._house.is_stopped(principal, line.run, line.server):
                line.leave(Leave.STOPPED)
            if line.is_abandoned:
                return
            if line.left is None:
                await self._ping(line, period_s / 4)

    async def _ping(self, line: Line, within_s: float) -> None:
        """Whoever does not read is not waited for: it is to be seen whether its key is still good."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await line.ping(self._settings.ping_period_s)

    async def _is_gone(self, line: Line, within_s: float) -> bool:
        if line.left is Leave.GONE:
            await asyncio.sleep(within_s)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                message = await self._receive()
                return bool(message["type"] == "http.disconnect")
        return False
