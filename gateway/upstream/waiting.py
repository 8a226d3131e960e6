"""Calls that wait for the next session: whoever comes first has the owner open it, all share it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from gateway.domain import refusal
from gateway.upstream.message import UpstreamFailed, unreachable

Session = TypeVar("Session")


class Waiting(Generic[Session]):
    """*missing*: what to say where the credential could not be read; "" where it could."""

    def __init__(self, missing: str) -> None:
        self.wanted = asyncio.Event()
        self._missing = missing
        self._gone = ""  # why no owner will ever answer; calls may come before it has begun
        self._turns: list[asyncio.Future[Session]] = []

    async def next(self, deadline: float) -> Session:
        """Raises: UpstreamFailed: there is none, or none in time."""
        if self._missing:
            raise UpstreamFailed(refusal.CREDENTIAL_MISSING.id, self._missing)
        if self._gone:
            raise unreachable(self._gone)
        turn: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        self.wanted.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except TimeoutError:
            raise unreachable("the server was not up before the deadline") from None

    def answer(self, answer: Session | UpstreamFailed) -> None:
        turns, self._turns = self._turns, []
        for turn in turns:
            if turn.done():
                continue
            if isinstance(answer, UpstreamFailed):
                turn.set_exception(answer)
            else:
                turn.set_result(answer)

    def end(self, why: str) -> None:
        """The owner has ended: whoever waits, and whoever comes, is told."""
        self._gone = why
        self.answer(unreachable(why))
