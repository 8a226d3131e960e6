"""Servers behind a URL: which revision one speaks is found out, remembered, and found out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import anyio
from structlog.typing import FilteringBoundLogger

from gateway.domain.model import Outcome
from gateway.upstream.changes import Changes
from gateway.upstream.exchange import Exchange
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.negotiate_http import HttpSession, Place, meet
from gateway.upstream.older import SessionLost
from gateway.upstream.origin import Origin, Pools
from gateway.upstream.spec import HttpTransport, Offer, ServerSpec
from gateway.upstream.subscribe import Told
from gateway.upstream.waiting import Waiting

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
        self._origin = Origin(transport)
        self._log = log
        self._changes = Changes(changed)
        self._offer = offer
        self._pools: Pools | None = None
        self._session: HttpSession | None = None
        missing = "the configured credential could not be read" if transport.auth_missing else ""
        self._waiting = Waiting[HttpSession](missing)
        self._sessions = 0

    # -- Connector -----------------------------------------------------------

    async def own(self) -> None:
        try:
            self._pools = await self._origin.connect()
            while True:
                await self._waiting.wanted.wait()
                self._waiting.wanted.clear()
                await self._one_session(self._pools)
        finally:
            self._changes.close()
            self._waiting.end("the server was taken away, or its certificates could not be read")
            if self._pools is not None:
                self._pools.close()

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        session = self._session
        if session is None or session.over.is_set():
            session = await self._waiting.next(exchange.deadline)
        try:
            return await session.run(exchange)
        except SessionLost:
            exchange.again()
        # Once, and not again: a server that loses every session has no answer.
        return await (await self._waiting.next(exchange.deadline)).run(exchange)

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
        until_s = asyncio.get_running_loop().time() + self._spec.start_timeout_s
        return await self._waiting.next(until_s)

    # -- the owner task ------------------------------------------------------

    async def _one_session(self, pools: Pools) -> None:
        """Open a session, serve until it is over, see to it that the server knows."""
        place = Place(self._spec, self._origin, pools, self._changes, self._offer)
        try:
            session = await meet(place)
        except UpstreamFailed as failure:
            self._waiting.answer(failure)
            return
        self._session = session
        self._sessions += 1
        version = session.introduction.version
        self._log.info("upstream_session", server=self._spec.name, version=version)
        if self._sessions > 1:
            self._changes.noticed()  # whoever begins anew may have become another
        self._waiting.answer(session)
        try:
            await session.serve()
        finally:
            self._session = None
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
                await session.close()
        self._log.warning("upstream_session_over", server=self._spec.name, why=session.why)
