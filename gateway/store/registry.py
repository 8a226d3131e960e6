"""What is behind the border: servers, and every definition with the digest that was approved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, select

from gateway.domain.arguments import BadSchema, compile_schema
from gateway.domain.budget import Limits
from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.definition import Listed, digest, suspicion
from gateway.domain.model import Approval, Definition, Kind
from gateway.domain.names import skeleton, wire_name
from gateway.store.tables import DefinitionRow, ServerRow
from gateway.store.writer import Effect

DEFAULT_RESULT_TOKENS = 25_000
DECLARED, REGISTERED = "config", "registry"

Place = tuple[str, Kind, str]  # server, kind, name
Validator = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a server is behind the border: the operator's table, ready to apply."""

    prefix: str
    first_seen: bool = False  # approve what is seen first, instead of asking a person
    tools: tuple[str, ...] = ("*",)
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    prices: tuple[tuple[str, int], ...] = ()  # glob -> micro-units per call
    result_tokens: tuple[tuple[str, int], ...] = ()  # glob -> ceiling of one result
    limits: Limits | None = None

    def takes(self, kind: Kind, name: str) -> bool:
        return kind is not Kind.TOOL or any(fnmatchcase(name, glob) for glob in self.tools)

    def tags_of(self, name: str) -> frozenset[str]:
        return frozenset(t for glob, tags in self.tags if fnmatchcase(name, glob) for t in tags)

    def price_of(self, name: str) -> int:
        return next((price for glob, price in self.prices if fnmatchcase(name, glob)), 0)

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


@dataclass(frozen=True, slots=True)
class Sighting:
    """One difference between a listing and the pins: the pin to be, and the word for the log."""

    what: str  # definition.seen | definition.changed | definition.gone | definition.back
    pin: Pin
    prior: str = ""


@dataclass(slots=True)
class Registry:
    """In memory and immutable towards readers: every change makes a new catalogue."""

    terms: dict[str, Terms] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    pins: dict[Place, Pin] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(0, (), {}))
    _validators: dict[str, Validator] = field(default_factory=dict)

    def load(self, engine: Engine) -> None:
        with Session(engine) as session:
            definitions = session.exec(select(DefinitionRow)).all()
            servers = session.exec(select(ServerRow)).all()
        self.pins = {pin.place: pin for pin in map(_pin, definitions)}
        self.suspended = {row.name for row in servers if row.suspended}
        self._rebuild()

    def add_server(self, name: str, terms: Terms) -> None:
        self.terms[name] = terms
        self._rebuild()

    def set_suspended(self, name: str, suspended: bool) -> None:
        (self.suspended.add if suspended else self.suspended.discard)(name)
        self._rebuild()

    def compare(self, server: str, listed: Sequence[Listed]) -> list[Sighting]:
        """What in *listed* differs from the pins. Decides; changes nothing."""
        terms = self.terms[server]
        seen: dict[Place, Listed] = {}
        for item in listed:
            if terms.takes(item.kind, item.name):
                seen.setdefault((server, item.kind, item.name), item)
        sightings = [s for place, item in seen.items() if (s := self._sight(place, item))]
        for place, pin in self.pins.items():
            if place[0] == server and place not in seen and not pin.gone:
                sightings.append(Sighting("definition.gone", replace(pin, gone=True), pin.digest))
        return self._without_look_alikes(sightings)

    def shadowed_by(self, place: Place) -> Place | None:
        """Another definition, approved or proposed, whose wire name is or reads like this one's."""
        if place[1] not in (Kind.TOOL, Kind.PROMPT):
            return None
        mine = self._looks(place)
        for other, pin in self.pins.items():
            rival = other != place and other[1] == place[1] and other[0] in self.terms
            stands = not pin.gone and pin.approval is not Approval.QUARANTINED
            if rival and stands and mine & self._looks(other):
                return other
        return None

    def _looks(self, place: Place) -> frozenset[str]:
        """How the name looks on the wire, and as the server writes it behind its prefix."""
        written = f"{self.terms[place[0]].prefix}_{place[2]}"
        return frozenset((skeleton(self.wire_name(place)), skeleton(written)))

    def approve(self, place: Place, expected_digest: str) -> Pin | None:
        """The approved pin, or None when the definition is not (or no longer) the expected one.

        Ask `shadowed_by` first: a look-alike is not approved while the other stands.
        """
        pin = self.pins.get(place)
        if pin is None or pin.digest != expected_digest:
            return None
        return replace(
            pin,
            approval=Approval.APPROVED,
            reason="",
            approved_digest=pin.digest,
            approved_body=pin.body,
        )

    def apply(self, pins: Iterable[Pin]) -> None:
        """Take *pins* into force; call it when their entries are durable."""
        self.pins.update((pin.place, pin) for pin in pins)
        self._rebuild()

    def wire_name(self, place: Place) -> str:
        server, kind, name = place
        if kind in (Kind.TOOL, Kind.PROMPT):
            return wire_name(self.terms[server].prefix, name)
        return name

    def _sight(self, place: Place, item: Listed) -> Sighting | None:
        pin, found = self.pins.get(place), digest(item.body)
        if pin is None:
            return Sighting("definition.seen", self._first_pin(place, item, found))
        if pin.digest == found and not pin.gone:
            return None
        if found == pin.approved_digest:
            back = replace(
                pin, digest=found, body=item.body, approval=Approval.APPROVED, reason="", gone=False
            )
            return Sighting("definition.back", back, pin.digest)
        approval, reason = Approval.QUARANTINED, "the definition changed after it was approved"
        if not pin.approved_digest:
            approval, reason = _unapproved(item)
        changed = replace(
            pin, digest=found, body=item.body, approval=approval, reason=reason, gone=False
        )
        return Sighting("definition.changed", changed, pin.digest)

    def _first_pin(self, place: Place, item: Listed, found: str) -> Pin:
        approval, reason = _unapproved(item)
        if approval is Approval.PROPOSED and self.terms[place[0]].first_seen:
            return Pin(place, found, item.body, Approval.APPROVED, "", found, item.body)
        return Pin(place, found, item.body, approval, reason)

    def _without_look_alikes(self, sightings: list[Sighting]) -> list[Sighting]:
        """Quarantine newcomers whose wire name is, or reads like, one that is already there."""
        taken = {
            (place[1], look): place
            for place in self.pins
            if place[0] in self.terms and place[1] in (Kind.TOOL, Kind.PROMPT)
            for look in self._looks(place)
        }
        kept: list[Sighting] = []
        for sighting in sightings:
            place = sighting.pin.place
            if place[1] not in (Kind.TOOL, Kind.PROMPT):
                kept.append(sighting)
                continue
            owners = {taken.setdefault((place[1], look), place) for look in self._looks(place)}
            rivals = sorted(owners - {place})
            kept.append(_shadowed(sighting, rivals[0]) if rivals else sighting)
        return kept

    def _rebuild(self) -> None:
        known = [p for p in self.pins.values() if p.place[0] in self.terms and not p.gone]
        views = {
            name: ServerView(
                name=name,
                prefix=terms.prefix,
                suspended=name in self.suspended,
                instructions=self._instructions(name),
                limits=terms.limits,
            )
            for name, terms in self.terms.items()
        }
        definitions = tuple(self._definition(pin) for pin in known)
        self.catalogue = Catalogue(self.catalogue.version + 1, definitions, views)

    def _instructions(self, server: str) -> Definition | None:
        pin = self.pins.get((server, Kind.SERVER, ""))
        if pin is None or pin.gone or pin.approval is not Approval.APPROVED:
            return None
        return self._definition(pin)

    def _validator(self, pin: Pin) -> Validator | None:
        """Compiled once per body; a schema that cannot be compiled was quarantined when listed."""
        if pin.place[1] is not Kind.TOOL or pin.approval is not Approval.APPROVED:
            return None
        if pin.digest not in self._validators:
            try:
                schema = json.loads(pin.body)["inputSchema"]
                self._validators[pin.digest] = compile_schema(schema)
            except (BadSchema, KeyError):
                return None  # without a validator the checks refuse the call
        return self._validators[pin.digest]

    def _definition(self, pin: Pin) -> Definition:
        server, kind, name = pin.place
        terms = self.terms[server]
        return Definition(
            server=server,
            kind=kind,
            name=name,
            wire_name=self.wire_name(pin.place),
            body=pin.body,
            digest=pin.digest,
            approval=pin.approval,
            reason=pin.reason,
            tags=terms.tags_of(name),
            price_micros=terms.price_of(name),
            max_result_tokens=terms.result_tokens_of(name),
            validate=self._validator(pin),
        )


def registered_servers(engine: Engine) -> dict[str, str]:
    """Name -> stored table (JSON) of every server that was added by command."""
    with Session(engine) as session:
        rows = session.exec(select(ServerRow)).all()
    return {row.name: row.spec for row in rows if row.origin == REGISTERED}


def pin_effect(pin: Pin) -> Effect:
    server, kind, name = pin.place
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
    return "REPLACE INTO definitions VALUES (?,?,?,?,?,?,?,?,?,?)", values


def server_effect(name: str, origin: str, spec: str, *, suspended: bool) -> Effect:
    return "REPLACE INTO servers VALUES (?,?,?,?)", (name, origin, spec, int(suspended))


def _unapproved(item: Listed) -> tuple[Approval, str]:
    reason = item.fault or suspicion(item.body)
    return (Approval.QUARANTINED, reason) if reason else (Approval.PROPOSED, "")


def _shadowed(sighting: Sighting, owner: Place) -> Sighting:
    reason = f"its name is, or reads like, the one of {owner[1]}/{owner[0]}/{owner[2]}"
    pin = replace(sighting.pin, approval=Approval.QUARANTINED, reason=reason)
    return replace(sighting, pin=pin)


def _pin(row: DefinitionRow) -> Pin:
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
