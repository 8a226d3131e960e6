"""Keeps an eye on one open request: has the caller left, is its credential still good?"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.types import Receive

from gateway.edge.exchange import Exchange, Leave
from gateway.edge.house import House, Settings


class Watch:
    """Used as `async with Watch(...)`: a request that is answered at once never starts the task."""

    __slots__ = ("_exchange", "_house", "_receive", "_settings", "_task", "_timer")

    def __init__(
        self, exchange: Exchange, receive: Receive, house: House, settings: Settings
    ) -> None:
        self._exchange = exchange
        self._receive = receive
        self._house = house
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._settings.watch_after_s, self._begin, loop)

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

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        # The one task of the edge outside a group: a group would cost every short call what only
        # long ones need. It belongs to this object, which cancels it on leaving.
        self._task = loop.create_task(self._keep())

    async def _keep(self) -> None:
        exchange, period_s = self._exchange, self._settings.liveness_period_s
        credential = exchange.asked.principal.credential
        while not exchange.finished:
            if await self._is_gone(period_s):
                exchange.leave(Leave.GONE)
            if not self._house.identity.is_live(credential, self._house.clock()):
                exchange.leave(Leave.REVOKED)
            if exchange.is_abandoned:
                return
            if exchange.left is None:
                await exchange.ping(self._settings.ping_period_s)

    async def _is_gone(self, within_s: float) -> bool:
        if self._exchange.left is Leave.GONE:
            await asyncio.sleep(within_s)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                message = await self._receive()
                return bool(message["type"] == "http.disconnect")
        return False
