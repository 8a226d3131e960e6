"""The older era: initialize opens a session, and everything after it belongs to that session.

What is plain is answered here; the SDK opens sessions, and answers in them what is unusual.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from time import monotonic

import anyio
from starlette.types import Send

from gateway.domain.model import Client
from gateway.domain.refusal import MALFORMED, TOO_MANY_STREAMS, Refused
from gateway.edge.answers import Answers
from gateway.edge.arrival import Arrival, Visitor
from gateway.edge.calls import Asked, check_aside, read_meta
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head, accepted
from gateway.edge.hearing import Hearing
from gateway.edge.house import Settings
from gateway.edge.line import respond
from gateway.edge.reply import Answer
from gateway.edge.sdk import SESSION_HEADER, SdkLeg
from gateway.edge.sessions import Owner, Session, Sessions, Slot, begin, owner_of
from gateway.edge.strict import Message, Response
from gateway.edge.ties import NewRuns, ties_of
from gateway.edge.watch import Watch

VERSIONS = frozenset({b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"})
_UNSETTLED = "initialize"  # the revision of a client that has not agreed on one
_VERSION_HEADER = b"mcp-protocol-version"
_TIDY_S = 60.0
_TAKEN = Answer(HTTPStatus.ACCEPTED, b"")


class Handshake:
    def __init__(self, settings: Settings, answers: Answers, sdk: SdkLeg) -> None:
        self._settings = settings
        self._answers = answers
        self._sdk = sdk
        self._sessions = Sessions(settings.session_idle_s, settings.max_sessions_per_principal)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Inside this, the SDK forgets the sessions that nobody uses any more."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tidy)
            yield
            group.cancel_scope.cancel()

    async def serve(self, arrival: Arrival) -> None:
        """Raises: Refused: there is no such session, or no room for another."""
        message = arrival.message
        if message.method == "initialize" and message.id:
            await self._open(arrival)
            return
        session = self._find(arrival.visitor)
        exchange = _exchange(arrival, self._answers.runs, session.client, session.hearing)
        exchange.asks = session.asks
        if not message.id:
            await self._notified(exchange, arrival, session)
            return
        head = arrival.visitor.head
        is_plain = self._is_plain(message, head)
        taken = begin(session, message.key, exchange if is_plain else None)
        try:
            if is_plain:
                answer = await self._answers.answer(exchange)
            else:
                answer = (await self._sdk.carry(exchange, head, arrival.body)).answer
        finally:
            del session.in_flight[taken]
            session.used_s = monotonic()
        await exchange.finish(answer)

    async def answered(self, visitor: Visitor, response: Response, send: Send) -> None:
        """The caller says what it was asked. Raises: Refused: nobody asked, in a session of its own."""
        session = self._find(visitor)
        session.asks.answer(response)
        session.used_s = monotonic()
        await respond(send, _TAKEN, [])

    async def listen(self, visitor: Visitor, send: Send, watch: Watch) -> None:
        """GET: tell the session what changes, until it is over.

        Raises: Refused: there is no such session, or it has its stream already.
        """
        session = self._find(visitor)
        if session.stream is not None:
            problem = "this session has a stream already"
            raise Refused(TOO_MANY_STREAMS, detail={"problem": problem})
        message = Message("GET", b"", "", {}, {})
        asked = Asked(message, visitor.endpoint, visitor.principal, session.client, {})
        exchange = Exchange(asked, send, can_stream=True, address=visitor.address)
        session.stream = exchange
        watch.over(exchange)
        try:
            answer = await self._answers.attended(exchange, session.hearing)
        finally:
            session.stream = None
            session.used_s = monotonic()
        await exchange.finish(answer)

    async def end(self, visitor: Visitor) -> None:
        """DELETE: the caller ends its session. Raises: Refused: UNKNOWN_SESSION."""
        session = self._find(visitor)
        self._sessions.close(session)
        await self._sdk.end_session(session.owner, session.id)

    async def _open(self, arrival: Arrival) -> None:
        owner = _owner(arrival.visitor)
        declared = _declared(arrival)
        exchange = _exchange(arrival, self._answers.runs, declared)
        with self._sessions.slot(owner, monotonic()) as slot:
            await self._agree(exchange, arrival, slot)

    async def _agree(self, exchange: Exchange, arrival: Arrival, slot: Slot) -> None:
        declared, owner = exchange.asked.client, slot.owner
        # An id on an initialize would lead the SDK into the session of that id.
        head = Head({k: v for k, v in arrival.visitor.head.values.items() if k != SESSION_HEADER})
        carried = await self._sdk.carry(exchange, head, arrival.body)
        if carried.answer.is_refusal or not exchange.negotiated:
            # The SDK keeps a session whose initialize it answered with an error.
            await self._sdk.end_session(owner, carried.session_id)
        else:
            client = Client(exchange.negotiated, declared.capabilities, declared.info)
            self._sessions.open(slot, carried.session_id, client, monotonic())
            exchange.headers.append((SESSION_HEADER, carried.session_id.encode("latin-1")))
        await exchange.finish(carried.answer)

    async def _notified(self, exchange: Exchange, arrival: Arrival, session: Session) -> None:
        answer = await self._answers.notified(exchange)
        if not answer.is_refusal:
            # A cancellation is applied inside the session, and nowhere else: here or by the SDK.
            if arrival.message.method == "notifications/cancelled":
                session.cancel(arrival.message.params.get("requestId"))
            await self._sdk.carry(exchange, arrival.visitor.head, arrival.body)
        await exchange.finish(answer)

    def _is_plain(self, message: Message, head: Head) -> bool:
        """Whether the SDK would only pass the request on to us; any doubt says no."""
        return (
            message.method in self._settings.fast
            and not head.repeated
            and (_VERSION_HEADER not in head.values or head.get(_VERSION_HEADER) in VERSIONS)
            and accepted(head.values.get(b"accept", b"")).json
        )

    async def _tidy(self) -> None:
        while True:
            await anyio.sleep(min(_TIDY_S, self._settings.session_idle_s))
            for session in self._sessions.forgotten(monotonic()):
                await self._sdk.end_session(session.owner, session.id)

    def _find(self, visitor: Visitor) -> Session:
        session_id = visitor.head.get(SESSION_HEADER).decode("latin-1")
        if not session_id or SESSION_HEADER in visitor.head.repeated:
            raise Refused(MALFORMED, detail={"problem": "expected one Mcp-Session-Id header"})
        return self._sessions.find(session_id, _owner(visitor), monotonic())


def _owner(visitor: Visitor) -> Owner:
    return owner_of(visitor.principal, visitor.endpoint)


def _declared(arrival: Arrival) -> Client:
    raw = arrival.message.raw
    return Client(
        _UNSETTLED,
        bytes(raw.get("capabilities", b"{}")),
        bytes(raw.get("clientInfo", b"")),
    )


def _exchange(
    arrival: Arrival, runs: NewRuns, client: Client, hearing: Hearing | None = None
) -> Exchange:
    visitor, message = arrival.visitor, arrival.message
    check_aside(message, client)
    meta = read_meta(message)
    if hearing is not None:
        hearing.mark(meta)
    ties = ties_of(visitor.head, meta, visitor.principal, runs)
    asked = Asked(message, visitor.endpoint, visitor.principal, client, meta, hearing, ties)
    exchange = Exchange(asked, arrival.send, can_stream=visitor.can_stream, address=visitor.address)
    arrival.watch.over(exchange)
    return exchange
