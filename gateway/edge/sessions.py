"""The sessions of the handshake era: each belongs to one principal at one endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.domain.model import Client, Principal
from gateway.domain.refusal import MALFORMED, TOO_MANY_STREAMS, UNKNOWN_SESSION, Refused

Owner = tuple[str, str, tuple[str, ...], str]  # tenant, subject, actors, server of the endpoint


@dataclass(slots=True)
class Session:
    id: str
    owner: Owner
    client: Client  # as its initialize declared it
    used_s: float  # monotonic
    in_flight: set[str] = field(default_factory=set)  # request ids, as the transport keys them


def owner_of(principal: Principal, server: str) -> Owner:
    """Whose a session is: not bound to the key, so that a key can be replaced while it lives."""
    return principal.tenant, principal.subject, principal.actors, server


@dataclass(slots=True)
class Slot:
    """Room for one session, taken before it is there, so that two cannot take the last."""

    owner: Owner
    used: bool = False


class Sessions:
    def __init__(self, idle_s: float, max_per_principal: int) -> None:
        self._idle_s = idle_s
        self._max_per_principal = max_per_principal
        self._open: dict[str, Session] = {}
        # Whoever acts for many, or at many endpoints, is still one.
        self._counts: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def slot(self, owner: Owner, now_s: float) -> Iterator[Slot]:
        """Room for a session of *owner*, given back if none was opened in it.

        Raises: Refused: TOO_MANY_STREAMS: the principal has as many sessions as one may have.
        """
        self._count(owner, now_s)
        slot = Slot(owner)
        try:
            yield slot
        finally:
            if not slot.used:
                self._uncount(owner)

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
        if not session.in_flight and now_s - session.used_s > self._idle_s:
            self.close(session_id)
            raise Refused(UNKNOWN_SESSION)
        session.used_s = now_s
        return session

    def close(self, session_id: str) -> None:
        session = self._open.pop(session_id, None)
        if session is not None:
            self._uncount(session.owner)

    def _count(self, owner: Owner, now_s: float) -> None:
        principal = owner[:2]
        if self._counts[principal] >= self._max_per_principal:
            self._forget_idle(now_s)
        if self._counts[principal] >= self._max_per_principal:
            raise Refused(TOO_MANY_STREAMS, detail={"limit": self._max_per_principal})
        self._counts[principal] += 1

    def _uncount(self, owner: Owner) -> None:
        principal = owner[:2]
        self._counts[principal] -= 1
        if not self._counts[principal]:
            del self._counts[principal]

    def _forget_idle(self, now_s: float) -> None:
        idle = [
            session.id
            for session in self._open.values()
            if not session.in_flight and now_s - session.used_s > self._idle_s
        ]
        for session_id in idle:
            self.close(session_id)


def begin(session: Session, key: str | int) -> str:
    """Take a request id for as long as the request is open.

    Raises: Refused: MALFORMED: a request of the same id is open. The transport keys them as text,
    so that 1 and "1" are the same, and answers both on the stream of the later one.
    """
    text = str(key)
    if text in session.in_flight:
        raise Refused(MALFORMED, detail={"problem": "a request with this id is still open"})
    session.in_flight.add(text)
    return text
