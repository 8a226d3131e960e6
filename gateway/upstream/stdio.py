"""Servers that are child processes: started when needed, restarted with patience, ended surely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import anyio
from structlog.typing import FilteringBoundLogger

from gateway.domain import refusal
from gateway.domain.model import Outcome
from gateway.upstream import own
from gateway.upstream.changes import Changes
from gateway.upstream.child import spawn
from gateway.upstream.envelope import modern_request
from gateway.upstream.exchange import Bounds, Exchange
from gateway.upstream.follow import listen_for, subscribe_in
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import UpstreamFailed, unreachable
from gateway.upstream.negotiate import greet
from gateway.upstream.own import LISTEN_PARAMS, own_call
from gateway.upstream.session import Era, Session
from gateway.upstream.spec import Offer, ServerSpec, StdioTransport
from gateway.upstream.stderr import StderrLog
from gateway.upstream.subscribe import Told
from gateway.upstream.waiting import Waiting

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 30.0
PROBE_S = 10.0  # for server/discover: a slow start is more common than a server that stays silent
LINE_FRAMING_BYTES = 65_536


class StdioConnector:
    """One server. `own` is its one owner task: only it starts the child, only it ends it.

    A child that ended is started again by the next call, at once; one that keeps ending before it
    has answered a call is left alone for longer each time, up to BACKOFF_MAX_S.
    """

    def __init__(
        self,
        spec: ServerSpec,
        transport: StdioTransport,
        log: FilteringBoundLogger,
        changed: Callable[[], None],
        offer: Offer | None = None,
    ) -> None:
        """*offer*: of the one caller this child is for; None when callers share it."""
        self._spec = spec
        self._transport = transport
        self._log = log
        self._changes = Changes(changed)
        self._session: Session | None = None
        self._introduction: Introduction | None = None
        missing = "a configured credential could not be read" if transport.auth_missing else ""
        self._waiting = Waiting[Session](missing)
        self._offer = offer
        # What the last child spoke; before the first: what its caller does, if that is settled.
        self._era = Era.LEGACY if offer and offer.is_handshake else None
        self._starts = 0
        self._failures = 0  # ends in a row without one answered call
        self._not_before_s = 0.0  # in the time of the event loop
        self._dropped = 0
        self._bad_lines = 0
        self._stderr: StderrLog | None = None  # of the newest child

    # -- Connector -----------------------------------------------------------

    async def own(self) -> None:
        try:
            while True:
                await self._waiting.wanted.wait()
                self._waiting.wanted.clear()
                await self._one_life()
        finally:
            self._changes.close()
            self._waiting.end("the server was taken away")

    async def run(self, exchange: Exchange) -> Outcome:
        session = self._session
        if session is None or session.over.is_set():
            session = await self._live(exchange.deadline)
        return await session.run(exchange)

    async def introduce(self, ask: Ask) -> Introduction:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.over.is_set():
            await self._live(loop.time() + self._spec.start_timeout_s)
        if self._introduction is None:
            raise unreachable("the server ended while it was asked")
        return self._introduction

    async def follow(self, uri: str, told: Told) -> None:
        session = self._session
        if session is None or session.over.is_set():
            until_s = asyncio.get_running_loop().time() + self._spec.start_timeout_s
            session = await self._live(until_s)
        if session.era is Era.MODERN:
            await listen_for(self._spec.name, session.run, uri, told)
        else:
            await subscribe_in(session, self._spec.name, uri, told)

    def health(self) -> Mapping[str, int | str]:
        session = self._session
        return {
            "state": "up" if session else "backing_off" if self._failures else "down",
            "era": self._era.value if self._era else "",
            "starts": self._starts,
            "dropped": self._dropped + (session.dropped if session else 0),
            "bad_lines": self._bad_lines + (session.bad_lines if session else 0),
        }

    # -- waiting for a child -------------------------------------------------

    async def _live(self, deadline: float) -> Session:
        """The next session. Raises: UpstreamFailed."""
        if asyncio.get_running_loop().time() < self._not_before_s:
            raise self._left_alone()
        return await self._waiting.next(deadline)

    # -- the owner task ------------------------------------------------------

    async def _one_life(self) -> None:
        """Start a child, serve until it ends, see to it that nothing of it is left."""
        session = Session(self._changes.noticed, self._offer.capabilities if self._offer else None)
        failure: UpstreamFailed | None = None
        try:
            with anyio.CancelScope(shield=True):  # a child is either not begun, or ours to end
                await self._spawn(session)
            try:
                await self._serve(session)
            finally:
                self._session = self._introduction = None
                with anyio.CancelScope(shield=True):
                    await session.child.end()
        except UpstreamFailed as err:
            failure = self._with_last_words(err)
        self._after(session, failure)

    async def _spawn(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        spec, transport = self._spec, self._transport
        stderr = StderrLog(spec.name, transport.env.values(), self._log, loop.time)
        self._stderr = stderr
        await spawn(transport, spec.max_result_bytes + LINE_FRAMING_BYTES, session, stderr)

    def _with_last_words(self, failure: UpstreamFailed) -> UpstreamFailed:
        """The failure of a start, with the line that most often says why."""
        last = self._stderr.last if self._stderr else ""
        if not last:
            return failure
        return UpstreamFailed(failure.code, f"{failure.sentence}; it said: {last}")

    async def _serve(self, session: Session) -> None:
        """Negotiate and be there for calls. Raises: UpstreamFailed: no conversation came about."""
        introduction = await greet(session, self._asker(session), self._era)
        session.answered = 0
        self._era, self._introduction, self._session = session.era, introduction, session
        self._starts += 1
        self._log.info("upstream_started", server=self._spec.name, version=introduction.version)
        self._waiting.answer(session)
        listens = self._offer is None and introduction.announces_changes  # one session is enough
        if session.era is Era.MODERN and listens:
            call = own_call(self._spec.name, "subscriptions/listen", LISTEN_PARAMS)
            session.tell(modern_request(call, session.next_id(), logs=False) + b"\n")
        if self._starts > 1:
            self._changes.noticed()  # whoever starts anew may have become another
        await session.over.wait()

    def _asker(self, session: Session) -> Ask:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._spec.start_timeout_s

        async def ask(method: str, params: Mapping[str, bytes]) -> Outcome:
            left_s = until_s - loop.time()
            if method == "server/discover":
                left_s = min(left_s, PROBE_S)
            bounds = Bounds(left_s, self._spec.max_result_bytes)
            call = own_call(self._spec.name, method, params)
            return await own.ask(session.run, call, bounds)

        return ask

    def _after(self, session: Session, failure: UpstreamFailed | None) -> None:
        """What follows from the end of a child: for those who wait, and for the next start."""
        self._dropped += session.dropped
        self._bad_lines += session.bad_lines
        why = failure.sentence if failure else session.why
        if failure and failure.code == refusal.UPSTREAM_DIED.id and self._era is None:
            # Some servers of the old era end when their first message is not initialize.
            self._era = Era.LEGACY
            self._waiting.wanted.set()
            self._log.info("upstream_ended_at_probe", server=self._spec.name, why=why)
            return
        served = failure is None and session.answered > 0
        self._failures = 0 if served else self._failures + 1
        pause_s = 0.0
        if self._failures > 1:
            pause_s = min(BACKOFF_FIRST_S * 2.0 ** (self._failures - 2), BACKOFF_MAX_S)
        self._not_before_s = asyncio.get_running_loop().time() + pause_s
        self._log.warning("upstream_ended", server=self._spec.name, why=why, pause_s=pause_s)
        if failure is not None:
            self._era = None
            self._waiting.answer(failure)
        elif pause_s:
            self._waiting.wanted.clear()
            self._waiting.answer(self._left_alone())

    def _left_alone(self) -> UpstreamFailed:
        return unreachable(f"it ended {self._failures} times in a row and is left alone a while")
