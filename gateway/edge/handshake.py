"""The older era: initialize opens a session, and everything after it belongs to that session."""

from __future__ import annotations

from time import monotonic

from gateway.domain.model import Client
from gateway.domain.refusal import MALFORMED, Refused
from gateway.edge.answers import Answers
from gateway.edge.arrival import Arrival, Visitor
from gateway.edge.calls import Asked, check_aside, read_meta
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head
from gateway.edge.house import House, Settings
from gateway.edge.sdk import SESSION_HEADER, SdkLeg
from gateway.edge.sessions import Owner, Session, Sessions, Slot, begin, owner_of

VERSIONS = frozenset({b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"})
_UNSETTLED = "initialize"  # the revision of a client that has not agreed on one


class Handshake:
    def __init__(self, house: House, settings: Settings, answers: Answers, sdk: SdkLeg) -> None:
        self._house = house
        self._settings = settings
        self._answers = answers
        self._sdk = sdk
        self._sessions = Sessions(settings.session_idle_s, settings.max_sessions_per_principal)

    async def serve(self, arrival: Arrival) -> None:
        """Raises: Refused: there is no such session, or no room for another."""
        message = arrival.message
        if message.method == "initialize" and message.id:
            await self._open(arrival)
            return
        session = self._find(arrival.visitor)
        exchange = _exchange(arrival, session.client)
        if not message.id:
            await self._notified(exchange, arrival)
            return
        taken = begin(session, message.key)
        try:
            carried = await self._sdk.carry(exchange, arrival.visitor.head, arrival.body)
        finally:
            session.in_flight.discard(taken)
            session.used_s = monotonic()
        await exchange.finish(carried.answer)

    async def end(self, visitor: Visitor) -> None:
        """DELETE: the caller ends its session. Raises: Refused: UNKNOWN_SESSION."""
        session = self._find(visitor)
        self._sessions.close(session.id)
        await self._sdk.end_session(session.owner, session.id)

    async def _open(self, arrival: Arrival) -> None:
        owner = _owner(arrival.visitor)
        declared = _declared(arrival)
        exchange = _exchange(arrival, declared)
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

    async def _notified(self, exchange: Exchange, arrival: Arrival) -> None:
        answer = await self._answers.notified(exchange)
        if not answer.is_refusal:
            # The SDK applies a cancellation inside the session, and nowhere else.
            await self._sdk.carry(exchange, arrival.visitor.head, arrival.body)
        await exchange.finish(answer)

    def _find(self, visitor: Visitor) -> Session:
        session_id = visitor.head.get(SESSION_HEADER).decode("latin-1")
        if not session_id or SESSION_HEADER in visitor.head.repeated:
            raise Refused(MALFORMED, detail={"problem": "expected one Mcp-Session-Id header"})
        return self._sessions.find(session_id, _owner(visitor), monotonic())


def _owner(visitor: Visitor) -> Owner:
    return owner_of(visitor.principal, visitor.server)


def _declared(arrival: Arrival) -> Client:
    raw = arrival.message.raw
    return Client(
        _UNSETTLED,
        bytes(raw.get("capabilities", b"{}")),
        bytes(raw.get("clientInfo", b"")),
    )


def _exchange(arrival: Arrival, client: Client) -> Exchange:
    visitor, message = arrival.visitor, arrival.message
    check_aside(message, client)
    asked = Asked(message, visitor.server, visitor.principal, client, read_meta(message))
    exchange = Exchange(asked, arrival.send, can_stream=visitor.can_stream, address=visitor.address)
    arrival.watch.over(exchange)
    return exchange
