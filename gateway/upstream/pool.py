"""The kept connections of one upstream: bounded, last in first out, and a line to wait in."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from gateway.upstream.connection import Connection, State
from gateway.upstream.fetch import Target, connect
from gateway.upstream.message import UpstreamFailed, died, unreachable


class ConnectionPool:
    """Whoever finds every connection busy waits for one to be freed, or for the room to open one."""

    def __init__(self, target: Target, max_connections: int, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._tls = tls
        self._max_connections = max_connections
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._connecting = 0
        self._closed = False
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    @property
    def size(self) -> int:
        return len(self._all) + self._connecting

    def take(self) -> Connection | None:
        """An idle connection that is good to send on, without waiting."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    async def open(self, deadline: float) -> Connection:
        """The next connection that is freed, or a new one. Raises: UpstreamFailed."""
        try:
            async with asyncio.timeout_at(deadline):
                while self.size >= self._max_connections:
                    freed = await self._wait_in_line()
                    if freed is not None and freed.usable():
                        return freed
                    if freed is not None:
                        freed.close()
                return await self._connect()
        except TimeoutError:
            raise unreachable("no connection was ready before the deadline") from None

    def close(self) -> None:
        """End every connection for good; the exchanges on them, and those that wait, fail."""
        self._closed = True
        for connection in tuple(self._all):
            connection.end(died("the gateway closed its connections"))
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    # -- the connections' side -----------------------------------------------

    def freed(self, connection: Connection) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(connection)
                return
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._invite()

    # -- inside --------------------------------------------------------------

    async def _connect(self) -> Connection:
        self._refuse_when_closed()
        self._connecting += 1
        try:
            connection = await connect(self._target, self._tls, lambda: Connection(self))
        finally:
            self._connecting -= 1
            self._invite()
        if connection.state is State.CLOSED:
            raise unreachable(f"{self._target.host} closed the connection at once")
        self._all.add(connection)
        try:
            self._refuse_when_closed()
        except UpstreamFailed as err:
            connection.end(err)
            raise
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise unreachable("the gateway closed its connections")

    async def _wait_in_line(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # What was given to one who left at the same moment goes to the next in line.
            given = turn.result() if turn.done() and not turn.cancelled() else None
            if given is not None and given.state is State.IDLE:
                self.freed(given)
            self._invite()
            raise

    def _invite(self) -> None:
        """Tell the first in line that there is room to open a connection."""
        while self._waiting and self.size < self._max_connections:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
