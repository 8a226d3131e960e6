"""What is known of one definition and of one server's terms, and what a look finds different."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from gateway.domain.arguments import Validator
from gateway.domain.asking import DEFAULT_REQUESTS
from gateway.domain.budget import Limits
from gateway.domain.definition import Listed, digest
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import Approval, Kind, ModelTerms
from gateway.domain.names import called_as
from gateway.store.backing import keep
from gateway.store.looks import Looks
from gateway.store.tables import DefinitionRow
from gateway.store.writer import Effect

DEFAULT_RESULT_TOKENS = 25_000
_NO_BODY, _REMOVED = b"{}", "its server was removed"
_DROP = "DELETE FROM definitions WHERE server = ? AND kind = ? AND name = ?"

Place = tuple[str, Kind, str]  # server, kind, name


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a server is behind the border: the operator's table, ready to apply."""

    prefix: str
    first_seen: bool = False  # approve what is seen first, instead of asking a person
    tools: tuple[str, ...] = ("*",)
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    prices: tuple[tuple[str, int], ...] = ()  # glob -> micro-units per call
    result_tokens: tuple[tuple[str, int], ...] = ()  # glob -> ceiling of one result
    cache_s: tuple[tuple[str, int], ...] = ()  # glob -> how long a result answers equal calls
    limits: Limits | None = None
    requests: frozenset[str] = DEFAULT_REQUESTS  # what it may ask its callers
    kind: Kind = Kind.SERVER  # or MODEL, or PEER
    model: ModelTerms | None = None  # of a model
    rules: MessageRules | None = None  # of a peer

    def takes(self, kind: Kind, name: str) -> bool:
        if kind in (Kind.MODEL, Kind.PEER) and kind is not self.kind:
            return False  # no server makes itself one
        return called_as(kind) is not Kind.TOOL or any(fnmatchcase(name, g) for g in self.tools)

    def tags_of(self, name: str) -> frozenset[str]:
        return frozenset(t for glob, tags in self.tags if fnmatchcase(name, glob) for t in tags)

    def price_of(self, name: str) -> int:
        return next((price for glob, price in self.prices if fnmatchcase(name, glob)), 0)

    def cache_s_of(self, name: str) -> int:
        return next((seconds for glob, seconds in self.cache_s if fnmatchcase(name, glob)), 0)

    def result_tokens_of(self, name: str) -> int:
        found = (n for glob, n in self.result_tokens if fnmatchcase(name, glob))
        return next(found, DEFAULT_RESULT_TOKENS)


@dataclass(frozen=True, slots=True)
class Pin:
    """One definition: what the server says now, and what was approved."""

    place: Place
    digest: str
    body: bytes
    approval: Approval
    reason: str = ""
    approved_digest: str = ""
    approved_body: bytes = b""
    gone: bool = False
    dropped: bool = False  # nobody ever approved it, and its row goes, too

    @property
    def was_approved(self) -> bool:
        """Somebody approved it, and its server was not removed since."""
        return bool(self.approved_digest) and self.approved_body != _NO_BODY


@dataclass(frozen=True, slots=True)
class Seen:
    """One listed definition, examined: all that costs time and needs no knowledge of the pins."""

    item: Listed
    digest: str
    doubt: str  # why a person should look first; "" for no reason
    looks: Looks
    validator: Validator | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One difference between a listing and the pins: the pin to be, and the word for the log."""

    what: str  # definition.seen | definition.changed | ... gone | back | dropped
    pin: Pin
    prior: str = ""


def pin_effect(pin: Pin) -> Effect:
    server, kind, name = pin.place
    if pin.dropped:
        return _DROP, (server, kind, name)
    values = (
        server,
        kind,
        name,
        pin.digest,
        pin.body,
        pin.approval,
        pin.reason,
        pin.approved_digest,
        pin.approved_body,
        int(pin.gone),
    )
    return keep("definitions", values)


def dropped_pin(pin: Pin) -> Pin:
    """*pin* when its server is removed: without approval, and quarantined should it come back.

    The row of what was approved stays, emptied: the log knows of it, and a row that is taken away
    reads like one that somebody took.
    """
    if not pin.approved_digest:
        return replace(pin, gone=True, dropped=True)
    empty = digest(_NO_BODY)
    return Pin(
        pin.place, empty, _NO_BODY, Approval.QUARANTINED, _REMOVED, empty, _NO_BODY, gone=True
    )


def pin_of(row: DefinitionRow) -> Pin:
    return Pin(
        place=(row.server, Kind(row.kind), row.name),
        digest=row.digest,
        body=row.body,
        approval=Approval(row.approval),
        reason=row.reason,
        approved_digest=row.approved_digest,
        approved_body=row.approved_body,
        gone=bool(row.gone),
    )
