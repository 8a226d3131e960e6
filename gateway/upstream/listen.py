"""A standing subscription to a server's changes, beside its calls and on its own connection."""

from __future__ import annotations

import asyncio

import anyio

from gateway.domain.model import Status
from gateway.upstream import own
from gateway.upstream.changes import Changes
from gateway.upstream.exchange import Bounds, Run
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.subscribe import PAUSE_FIRST_S, PAUSE_MAX_S, STEADY_S

LISTEN_S = 3600.0  # then it is opened anew
MAX_BYTES = 4_194_304  # a thousand words a minute; a server that says more is heard again later


class Listener:
    """Also the relay of its own exchange: `up` from the acknowledgement to the end of the stream."""

    def __init__(self, server: str, run: Run, changes: Changes) -> None:
        self.up = False
        self._server = server
        self._run = run
        self._changes = changes
        self._announced = asyncio.Event()
        self._pause_s = PAUSE_FIRST_S
        self._was_up = False

    def announced(self) -> None:
        """The server says that it can tell of changes: listen, if that is not so already."""
        self._announced.set()

    async def listen(self) -> None:
        """Hold the subscription, opening it again after every end, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._announced.wait()
            began_s = loop.time()
            call = own.own_call(self._server, "subscriptions/listen", own.LISTEN_PARAMS)
            try:
                outcome = await own.ask(self._run, call, Bounds(LISTEN_S, MAX_BYTES), self)
                if outcome.status is Status.RPC_ERROR:
                    self._announced.clear()  # it cannot after all; ask again when it says so again
            except UpstreamFailed:
                pass
            finally:
                self.up = False
            if loop.time() - began_s >= STEADY_S:
                self._pause_s = PAUSE_FIRST_S
            await anyio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)

    async def notify(self, frame: bytes) -> None:
        if b'"notifications/subscriptions/acknowledged"' in frame:
            self.up = True
            if self._was_up:
                self._changes.noticed()  # whatever happened while nobody listened
            self._was_up = True
        elif b'/list_changed"' in frame:
            self._changes.noticed()
