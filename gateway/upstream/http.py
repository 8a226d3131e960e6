"""Servers behind a URL: which revision one speaks is found out, remembered, and found out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import anyio
from structlog.typing import FilteringBoundLogger

from gateway.domain import refusal
from gateway.domain.model import Outcome
from gateway.upstream.changes import Changes
from gateway.upstream.exchange import Exchange
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import UpstreamFailed, unreachable
from gateway.upstream.negotiate_http import HttpSession, Place, meet
from gateway.upstream.older import SessionLost
from gateway.upstream.origin import Origin, Pools
from gateway.upstream.spec import HttpTransport, Offer, ServerSpec
from gateway.upstream.subscribe import Told

CLOSE_S = 2.0


class HttpConnector:
    """One server. `own` is its one owner task: only it opens a session, only it ends it.

    A session that is over is opened anew by the next call, or look. Raises, when made: BadTarget.
    """

    def __init__(
        self,
        spec: ServerSpec,
        transport: HttpTransport,
        log: FilteringBoundLogger,
        changed: Callable[[], None],
        offer: Offer | None = None,
    ) -> None:
        """*offer*: of the one caller this connector is for; None when callers share it."""
        self._spec = spec
        self._transport = transport
        self._origin = Origin(transport)
        self._log = log
        self._changes = Changes(changed)
        self._offer = offer
        self._pools: Pools | None = None
        self._session: HttpSession | None = None
        self._has_owner = True  # until it has ended: calls may come before it has begun
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[HttpSession]] = []
        self._sessions = 0

    # -- Connector -----------------------------------------------------------

    async def own(self) -> None:
        try:
            self._pools = await self._origin.connect()
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._one_session(self._pools)
        finally:
            self._changes.close()
            self._has_owner = False
            self._answer_waiting(unreachable("the server was taken away"))
            if self._pools is not None:
                self._pools.close()

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        session = self._session
        if session is None or session.over.is_set():
            session = await self._live(exchange.deadline)
        try:
            return await session.run(exchange)
        except SessionLost:
            exchange.again()
        # Once, and not again: a server that loses every session has no answer.
        return await (await self._live(exchange.deadline)).run(exchange)

    async def introduce(self, ask: Ask) -> Introduction:
        session = self._session
        if session is not None and not session.over.is_set():
            try:
                introduction = await session.introduce(ask)
            except UpstreamFailed:
                if not session.over.is_set():
                    raise
            else:
                if not session.over.is_set():
                    return introduction
        return (await self._begun()).introduction

    async def follow(self, uri: str, told: Told) -> None:
        session = self._session
        if session is None or session.over.is_set():
            session = await self._begun()
        await session.follow(uri, told)

    def health(self) -> Mapping[str, int | str]:
        session = self._session
        return {
            "connections": self._pools.calls.size if self._pools else 0,
            "listening": int(session.listening) if session else 0,
            "version": session.introduction.version if session else "",
            "sessions": self._sessions,
        }

    # -- waiting for a session -----------------------------------------------

    async def _begun(self) -> HttpSession:
        return await self._live(asyncio.get_running_loop().time() + self._spec.start_timeout_s)

    async def _live(self, deadline: float) -> HttpSession:
        """The next session; whoever comes first has the owner open it, all share it."""
        if self._transport.auth_missing:
            sentence = "the configured credential could not be read"
            raise UpstreamFailed(refusal.CREDENTIAL_MISSING.id, sentence)
        if not self._has_owner:
            raise unreachable("the server was taken away, or its certificates could not be read")
        turn: asyncio.Future[HttpSession] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wanted.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except TimeoutError:
            raise unreachable("no session was open before the deadline") from None

    def _answer_waiting(self, answer: HttpSession | UpstreamFailed) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if turn.done():
                continue
            if isinstance(answer, UpstreamFailed):
                turn.set_exception(answer)
            else:
                turn.set_result(answer)

    # -- the owner task ------------------------------------------------------

    async def _one_session(self, pools: Pools) -> None:
        """Open a session, serve until it is over, see to it that the server knows."""
        place = Place(self._spec, self._origin, pools, self._changes, self._offer)
        try:
            session = await meet(place)
        except UpstreamFailed as failure:
            self._answer_waiting(failure)
            return
        self._session = session
        self._sessions += 1
        version = session.introduction.version
        self._log.info("upstream_session", server=self._spec.name, version=version)
        if self._sessions > 1:
            self._changes.noticed()  # whoever begins anew may have become another
        self._answer_waiting(session)
        try:
            await session.serve()
        finally:
            self._session = None
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
                await session.close()
        self._log.warning("upstream_session_over", server=self._spec.name, why=session.why)
