"""The sessions of the handshake era: each belongs to one principal at one endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.domain.model import Client, Principal
from gateway.domain.refusal import MALFORMED, UNKNOWN_SESSION, Refused
from gateway.edge.asks import Asks
from gateway.edge.endpoint import Endpoint
from gateway.edge.exchange import Exchange
from gateway.edge.hearing import Hearing
from gateway.edge.line import Leave
from gateway.edge.rooms import Rooms

# Tenant, subject, actors, path of the endpoint, client of the token.
Owner = tuple[str, str, tuple[str, ...], str, str]


@dataclass(slots=True)
class Session:
    id: str
    owner: Owner
    client: Client  # as its initialize declared it
    used_s: float  # monotonic
    # By request id, as the transport keys them. None: the SDK has it, and cancels it by itself.
    in_flight: dict[str, Exchange | None] = field(default_factory=dict)
    asks: Asks = field(default_factory=Asks)  # what its caller was asked, and has not answered
    hearing: Hearing = field(default_factory=Hearing)
    stream: Exchange | None = None  # what it GETs

    def cancel(self, key: object) -> None:
        """The caller takes one of its requests back; what is no id of an open one is no fault."""
        exchange = self.in_flight.get(str(key)) if type(key) in (str, int) else None
        if exchange is not None:
            exchange.leave(Leave.CANCELLED)

    def end(self) -> None:
        """Stop what is open: nobody has this session any more."""
        for exchange in self.in_flight.values():
            if exchange is not None:
                exchange.leave(Leave.ENDED)
        if self.stream is not None:
            self.stream.leave(Leave.ENDED)
        self.hearing.close()


def owner_of(principal: Principal, endpoint: Endpoint) -> Owner:
    """Whose a session is: not bound to key or token, so that one can be replaced while it lives.

    But to the client of a token, for somebody's other client may have been trusted with less.
    """
    who, client = principal, principal.credential_named if principal.token else ""
    return who.tenant, who.subject, who.actors, endpoint.path, client


@dataclass(slots=True)
class Slot:
    """Room for one session, taken before it is there, so that two cannot take the last."""

    owner: Owner
    used: bool = False


class Sessions:
    def __init__(self, idle_s: float, max_per_principal: int) -> None:
        self._idle_s = idle_s
        self._open: dict[str, Session] = {}
        self._forgotten: list[Session] = []
        self._rooms = Rooms(max_per_principal)

    @contextmanager
    def slot(self, owner: Owner, now_s: float) -> Iterator[Slot]:
        """Room for a session of *owner*, given back if none was opened in it.

        Raises: Refused: TOO_MANY_STREAMS: the principal has as many sessions as one may have.
        """
        if not self._rooms.left(owner[:2]):
            self._forget_idle(now_s)
        self._rooms.take(owner[:2])
        slot = Slot(owner)
        try:
            yield slot
        finally:
            if not slot.used:
                self._rooms.give_back(owner[:2])

    def open(self, slot: Slot, session_id: str, client: Client, now_s: float) -> None:
        self._open[session_id] = Session(session_id, slot.owner, client, now_s)
        slot.used = True

    def find(self, session_id: str, owner: Owner, now_s: float) -> Session:
        """The session of that id, if it is *owner*'s.

        Raises: Refused: UNKNOWN_SESSION: there is none, it ended, or it is somebody else's.
        """
        session = self._open.get(session_id)
        if session is None or session.owner != owner:
            raise Refused(UNKNOWN_SESSION)
        if self._is_idle(session, now_s):
            self._forget(session)
            raise Refused(UNKNOWN_SESSION)
        session.used_s = now_s
        return session

    def close(self, session: Session) -> None:
        """Its owner ends it. Whatever is open in it is stopped."""
        if self._open.pop(session.id, None) is not None:
            self._rooms.give_back(session.owner[:2])
            session.end()

    def forgotten(self, now_s: float) -> list[Session]:
        """Those that nobody used for too long, since this was asked last."""
        self._forget_idle(now_s)
        gone, self._forgotten = self._forgotten, []
        return gone

    def _forget_idle(self, now_s: float) -> None:
        for session in [s for s in self._open.values() if self._is_idle(s, now_s)]:
            self._forget(session)

    def _is_idle(self, session: Session, now_s: float) -> bool:
        is_open = bool(session.in_flight) or session.stream is not None
        return not is_open and now_s - session.used_s > self._idle_s

    def _forget(self, session: Session) -> None:
        self.close(session)
        self._forgotten.append(session)


def begin(session: Session, key: str | int, exchange: Exchange | None) -> str:
    """Take a request id for as long as the request is open.

    Raises: Refused: MALFORMED: a request of the same id is open. The transport keys them as text,
    so that 1 and "1" are the same, and answers both on the stream of the later one.
    """
    text = str(key)
    if text in session.in_flight:
        raise Refused(MALFORMED, detail={"problem": "a request with this id is still open"})
    session.in_flight[text] = exchange
    return text
