"""What came of a call, for whoever made it: read from the log, whatever this process remembers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from gateway.audit import entry as entries
from gateway.domain.model import Principal, Status
from gateway.store.engine import Readers
from gateway.store.pseudonyms import SUBJECT, TENANT, Pseudonyms

# Without the second condition no index is used.
OF_CALL = "SELECT body FROM entries WHERE call_id = ? AND call_id <> '' ORDER BY idx"


@dataclass(frozen=True, slots=True)
class Told:
    """What its caller may know of a call; never where it stands in the log."""

    call_id: str
    state: str  # under way | ended | unknown | refused
    status: str = ""  # of the outcome
    code: str = ""
    tokens: int = 0
    cost: int = 0
    at_us: int = 0

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Outcomes:
    def __init__(self, readers: Readers, pseudonyms: Pseudonyms) -> None:
        self._readers = readers
        self._pseudonyms = pseudonyms

    async def of(self, who: Principal, call_id: str) -> Told | None:
        """What came of *call_id*; None: *who* made no such call."""
        named = (
            self._pseudonyms.of(SUBJECT, who.subject),
            self._pseudonyms.of(TENANT, who.tenant),
            tuple(self._pseudonyms.of(SUBJECT, actor) for actor in who.actors),
        )
        return await asyncio.to_thread(self._read, named, call_id)

    def _read(self, who: tuple[str, str, tuple[str, ...]], call_id: str) -> Told | None:
        with self._readers.reading() as connection:
            rows = connection.execute(OF_CALL, (call_id,)).fetchall()
        told: Told | None = None
        is_own = False
        for (body,) in rows:
            entry = entries.decode(body)
            if isinstance(entry, entries.Intent):
                is_own = _caller(entry) == who
                told = Told(call_id, "under way", at_us=entry.t) if is_own else told
            elif isinstance(entry, entries.Outcome) and is_own:
                told = _ended(entry)
            elif isinstance(entry, entries.Refused) and _caller(entry) == who:
                told = told or Told(call_id, "refused", code=entry.code, at_us=entry.t)
        return told


def _caller(entry: entries.Intent | entries.Refused) -> tuple[str, str, tuple[str, ...]]:
    return entry.who, entry.tenant, entry.actors


def _ended(outcome: entries.Outcome) -> Told:
    is_known = outcome.status not in (Status.UNKNOWN, Status.CANCELLED)
    return Told(
        outcome.call,
        "ended" if is_known else "unknown",
        str(outcome.status),
        outcome.code,
        outcome.used.tokens,
        outcome.used.cost,
        outcome.t,
    )
