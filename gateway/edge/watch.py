"""Keeps an eye on one open request: is its body coming, has the caller left, is its key still good?"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.types import Receive

from gateway.domain.refusal import MALFORMED, Refused
from gateway.edge.exchange import Exchange, Leave
from gateway.edge.house import House, Settings


class Watch:
    """`async with Watch(...)` around a request. One that is answered at once costs one timer.

    Raises: Refused: MALFORMED: the body did not come in time.
    """

    __slots__ = (
        "_exchange",
        "_house",
        "_is_late",
        "_loop",
        "_receive",
        "_request",
        "_settings",
        "_stalled",
        "_task",
        "_timer",
    )

    def __init__(self, receive: Receive, house: House, settings: Settings) -> None:
        self._receive = receive
        self._house = house
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._is_late = False
        self._stalled = False

    async def __aenter__(self) -> Watch:
        self._loop = asyncio.get_running_loop()
        self._request = asyncio.current_task()
        self._timer = self._loop.call_later(self._settings.watch_after_s, self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._stalled and self._request is not None and self._request.uncancel() == 0:
            raise Refused(MALFORMED, detail={"problem": "the body did not come in time"})

    def over(self, exchange: Exchange) -> None:
        """There is a whole request now: from here on it is the caller that is watched."""
        self._exchange = exchange
        if self._is_late:
            self._timer.cancel()
            self._begin()

    def _begin(self) -> None:
        self._is_late = True
        if self._exchange is None:
            self._timer = self._loop.call_later(self._settings.body_deadline_s, self._give_up)
            return
        # The one task of the edge outside a group: a group would cost every short call what only
        # long ones need. It belongs to this object, which cancels it on leaving.
        self._task = self._loop.create_task(self._keep(self._exchange))

    def _give_up(self) -> None:
        if self._request is not None:
            self._stalled = True
            self._request.cancel()

    async def _keep(self, exchange: Exchange) -> None:
        period_s = self._settings.liveness_period_s
        credential = exchange.asked.principal.credential
        while not exchange.finished:
            if await self._is_gone(exchange, period_s):
                exchange.leave(Leave.GONE)
            if not self._house.identity.is_live(credential, self._house.clock()):
                exchange.leave(Leave.REVOKED)
            if exchange.is_abandoned:
                return
            if exchange.left is None:
                await exchange.ping(self._settings.ping_period_s)

    async def _is_gone(self, exchange: Exchange, within_s: float) -> bool:
        if exchange.left is Leave.GONE:
            await asyncio.sleep(within_s)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                message = await self._receive()
                return bool(message["type"] == "http.disconnect")
        return False
