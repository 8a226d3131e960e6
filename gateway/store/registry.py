"""What is behind the border: servers, and every definition with the digest that was approved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine
from sqlmodel import Session, select

from gateway.domain.arguments import Validator, compile_schema
from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.definition import Listed, digest, only_reads, suspicion
from gateway.domain.model import Approval, Definition, Kind, object_name
from gateway.domain.names import called_as, wire_name
from gateway.domain.schema import BadSchema
from gateway.store.backing import keep
from gateway.store.looks import NAMED, LookBook, Looks, looks_of
from gateway.store.pins import Pin, Place, Seen, Sighting, Terms, pin_of
from gateway.store.tables import DefinitionRow, ServerRow
from gateway.store.writer import Effect

DECLARED, REGISTERED, REMOVED = "config", "registry", "removed"
MAX_PINS = 2_000  # of one server, those that are gone included


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a listing changes, and what is new in it beyond what a server may have."""

    sightings: list[Sighting]
    refused: list[Seen]


@dataclass(slots=True)
class Registry:
    """In memory and immutable towards readers: every change makes a new catalogue."""

    terms: dict[str, Terms] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    pins: dict[Place, Pin] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=lambda: Catalogue(0, (), {}))
    only: Mapping[Place, str] | None = None  # when frozen: the digests that may be in force
    extensions: dict[str, frozenset[str]] = field(default_factory=dict)  # what servers advertise
    # Called with the server of which something has another standing now.
    changed: Callable[[str], None] = lambda server: None
    _places: dict[str, dict[Place, None]] = field(default_factory=dict)  # by server
    _looks: LookBook = field(default_factory=LookBook)
    _validators: dict[str, Validator] = field(default_factory=dict)
    _definitions: dict[Place, tuple[Pin, Terms, Definition]] = field(default_factory=dict)

    def load(self, engine: Engine) -> None:
        with Session(engine) as session:
            definitions = session.exec(select(DefinitionRow)).all()
            servers = session.exec(select(ServerRow)).all()
        self.suspended = {row.name for row in servers if row.suspended}
        # What was approved had its looks first, whichever row was written last.
        for pin in sorted(map(pin_of, definitions), key=lambda pin: not pin.approved_digest):
            self._keep(pin)
        self._rebuild()

    def add_server(self, name: str, terms: Terms) -> None:
        self.terms[name] = terms
        for place in self._places.get(name, ()):
            self._looks.add(place, looks_of(terms.prefix, place[1], place[2]))
        self._rebuild()

    def introduced(self, name: str, extensions: frozenset[str]) -> None:
        """What the server says that it can, as of the newest look; nothing of it is pinned."""
        if self.extensions.get(name, frozenset()) != extensions:
            self.extensions[name] = extensions
            self._rebuild()

    def set_suspended(self, name: str, suspended: bool) -> None:
        (self.suspended.add if suspended else self.suspended.discard)(name)
        self._rebuild()
        self.changed(name)

    def remove_server(self, name: str) -> None:
        """Forget its terms; what its pins are from then on is for `apply`."""
        self.terms.pop(name, None)
        self.extensions.pop(name, None)
        self.suspended.discard(name)
        for place in self._places.get(name, ()):
            self._looks.drop(place)
        self._rebuild()

    def weigh(self, server: str, seen: Sequence[Seen]) -> Comparison:
        """What in *seen* differs from the pins, and what of it is too much. Changes nothing."""
        here = self._places.get(server, {})
        places = {(server, one.item.kind, one.item.name): one for one in reversed(seen)}
        room = MAX_PINS - len(here)
        wanting = sum(place not in self.pins for place in places) - room
        sightings: list[Sighting] = []
        for place in (place for place in here if place not in places):
            pin = self.pins[place]
            if wanting > 0 and not pin.approved_digest:
                dropped = replace(pin, gone=True, dropped=True)
                sightings.append(Sighting("definition.dropped", dropped, pin.digest))
                room, wanting = room + 1, wanting - 1
            elif not pin.gone:
                sightings.append(Sighting("definition.gone", replace(pin, gone=True), pin.digest))
        refused: list[Seen] = []
        newcomers = LookBook()
        for place, one in reversed(places.items()):
            if place not in self.pins and room <= 0:
                refused.append(one)
                continue
            room -= place not in self.pins
            sighting = self._sight(place, one)
            if sighting is not None:
                sightings.append(self._unless_alike(sighting, one, newcomers))
        return Comparison(sightings, refused)

    def shadowed_by(self, place: Place) -> Place | None:
        """Another definition, approved or proposed, whose wire name is or reads like this one's."""
        for other in self._looks.alike(place):
            pin = self.pins[other]
            stands = not pin.gone and pin.approval is not Approval.QUARANTINED
            if other != place and stands:
                return other
        return None

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

    def apply(self, pins: Iterable[Pin], seen: Sequence[Seen] = ()) -> None:
        """Take *pins* into force; call it when their entries are durable."""
        compiled = {one.digest: one.validator for one in seen if one.validator is not None}
        self._validators = compiled | self._validators
        looks = {(one.item.kind, one.item.name): one.looks for one in seen}
        servers = set()
        for pin in pins:
            self._keep(pin, looks.get(pin.place[1:]))
            servers.add(pin.place[0])
        self._rebuild()
        for server in servers:
            self.changed(server)

    def wire_name(self, place: Place) -> str:
        server, kind, name = place
        return wire_name(self.terms[server].prefix, name) if kind in NAMED else name

    def _keep(self, pin: Pin, looks: Looks | None = None) -> None:
        place = pin.place
        if pin.dropped:
            self.pins.pop(place, None)
            self._places.get(place[0], {}).pop(place, None)
            self._looks.drop(place)
            return
        self.pins[place] = pin
        self._places.setdefault(place[0], {})[place] = None
        if place[0] in self.terms and not self._looks.knows(place):
            prefix = self.terms[place[0]].prefix
            self._looks.add(place, looks or looks_of(prefix, place[1], place[2]))

    def _sight(self, place: Place, one: Seen) -> Sighting | None:
        pin, found, body = self.pins.get(place), one.digest, one.item.body
        if pin is None:
            return Sighting("definition.seen", self._first_pin(place, one))
        if pin.digest == found and not pin.gone:
            return None
        if found == pin.approved_digest and not one.item.fault:
            back = replace(
                pin, digest=found, body=body, approval=Approval.APPROVED, reason="", gone=False
            )
            return Sighting("definition.back", back, pin.digest)
        if place[1] is Kind.MODEL:  # what it is, nobody says but the operator
            return Sighting("definition.changed", self._first_pin(place, one), pin.digest)
        approval, reason = Approval.QUARANTINED, "the definition changed after it was approved"
        if not pin.approved_digest:
            approval, reason = _unapproved(one)
        changed = replace(
            pin, digest=found, body=body, approval=approval, reason=reason, gone=False
        )
        return Sighting("definition.changed", changed, pin.digest)

    def _first_pin(self, place: Place, one: Seen) -> Pin:
        approval, reason = _unapproved(one)
        body = one.item.body
        first_seen = self.terms[place[0]].first_seen and not self._unlocked(place, one.digest)
        if approval is Approval.PROPOSED and first_seen:
            return Pin(place, one.digest, body, Approval.APPROVED, "", one.digest, body)
        return Pin(place, one.digest, body, approval, reason)

    def _unless_alike(self, sighting: Sighting, one: Seen, newcomers: LookBook) -> Sighting:
        """Quarantined, when its wire name is, or reads like, one that was there before."""
        place = sighting.pin.place
        was = self.pins.get(place)
        if was is not None and was.approved_digest:
            # A glance has been had at it; what cannot be told apart at all is another thing.
            before = self._looks.alike_before(place)
            rivals = [other for other in before if self.pins[other].approved_digest]
        else:
            rivals = [other for other in self._looks.owners(place[1], one.looks) if other != place]
        if was is None:
            rivals = rivals or newcomers.owners(place[1], one.looks)
            newcomers.add(place, one.looks)
        return _shadowed(sighting, rivals[0]) if rivals else sighting

    def _rebuild(self) -> None:
        known = [p for p in self.pins.values() if p.place[0] in self.terms and not p.gone]
        views = {
            name: ServerView(
                suspended=name in self.suspended,
                instructions=self._instructions(name),
                requests=terms.requests,
                extensions=self.extensions.get(name, frozenset()),
                kind=terms.kind,
                rules=terms.rules,
            )
            for name, terms in self.terms.items()
        }
        self._definitions = {pin.place: self._defined(pin) for pin in known}
        definitions = tuple(definition for _, _, definition in self._definitions.values())
        used = {d.digest for d in definitions if d.validate is not None}
        self._validators = {key: v for key, v in self._validators.items() if key in used}
        self.catalogue = Catalogue(self.catalogue.version + 1, definitions, views)

    def _instructions(self, server: str) -> Definition | None:
        pin = self.pins.get((server, Kind.SERVER, ""))
        if pin is None or pin.gone or self._standing(pin)[0] is not Approval.APPROVED:
            return None
        return self._definition(pin)

    def unlocked(self) -> Iterator[tuple[Place, str]]:
        """What is approved and offered, but not served because the house is frozen; and why not."""
        for pin in self.pins.values():
            if pin.approval is Approval.APPROVED and not pin.gone and pin.place[0] in self.terms:
                why = self._unlocked(pin.place, pin.digest)
                if why:
                    yield pin.place, why

    def _standing(self, pin: Pin) -> tuple[Approval, str]:
        """What *pin* is here and now: frozen, what is not locked is not served, whoever approved it."""
        unlocked = self._unlocked(pin.place, pin.digest)
        if unlocked and pin.approval is Approval.APPROVED:
            return Approval.QUARANTINED, unlocked
        return pin.approval, pin.reason

    def _unlocked(self, place: Place, found: str) -> str:
        """Why it may not be served frozen; "" when it may."""
        if self.only is None or self.only.get(place) == found:
            return ""
        return "it is not what the lock says" if place in self.only else "it is not in the lock"

    def _validator(self, pin: Pin) -> Validator | None:
        """Compiled once per body; a schema that cannot be compiled was quarantined when listed."""
        if called_as(pin.place[1]) is not Kind.TOOL or pin.approval is not Approval.APPROVED:
            return None
        if pin.digest not in self._validators:
            try:
                schema = json.loads(pin.body)["inputSchema"]
                self._validators[pin.digest] = compile_schema(schema)
            except (BadSchema, KeyError):
                return None  # without a validator the checks refuse the call
        return self._validators[pin.digest]

    def _defined(self, pin: Pin) -> tuple[Pin, Terms, Definition]:
        """Made anew only when pin or terms are others: a look changes few of many thousands."""
        terms, made = self.terms[pin.place[0]], self._definitions.get(pin.place)
        if made is not None and made[0] is pin and made[1] is terms:
            return made
        return pin, terms, self._definition(pin)

    def _definition(self, pin: Pin) -> Definition:
        server, kind, name = pin.place
        terms = self.terms[server]
        approval, reason = self._standing(pin)
        return Definition(
            server=server,
            kind=kind,
            name=name,
            wire_name=self.wire_name(pin.place),
            body=pin.body,
            digest=pin.digest,
            approval=approval,
            reason=reason,
            tags=terms.tags_of(name),
            price_micros=terms.price_of(name),
            max_result_tokens=terms.result_tokens_of(name),
            cache_s=terms.cache_s_of(name) if _answers_twice(kind, pin.body) else 0,
            terms=terms.model if kind is Kind.MODEL else None,
            validate=self._validator(pin),
        )


def _answers_twice(kind: Kind, body: bytes) -> bool:
    """Whether a result may be kept; of a model, the request says which of them."""
    return kind is Kind.MODEL or (kind is Kind.TOOL and only_reads(body))


def registered_servers(engine: Engine) -> dict[str, str]:
    """Name -> stored table (JSON) of every server that was added by command."""
    with Session(engine) as session:
        rows = session.exec(select(ServerRow)).all()
    return {row.name: row.spec for row in rows if row.origin == REGISTERED}


def server_effect(name: str, origin: str, spec: str, *, suspended: bool) -> Effect:
    return keep("servers", (name, origin, spec, int(suspended)))


def examine(terms: Terms, listed: Sequence[Listed]) -> list[Seen]:
    """What *terms* take of *listed*, looked at whole: it may take seconds, so not on the loop."""
    return [_examined(terms, item) for item in listed if terms.takes(item.kind, item.name)]


def _examined(terms: Terms, item: Listed) -> Seen:
    doubt, validator = item.fault or suspicion(item.body), None
    if called_as(item.kind) is Kind.TOOL and not doubt:
        try:
            validator = compile_schema(json.loads(item.body).get("inputSchema", {}))
        except BadSchema as err:
            doubt = f"the input schema cannot be used: {err}"
    looks = looks_of(terms.prefix, item.kind, item.name)
    return Seen(item, digest(item.body), doubt, looks, validator)


def _unapproved(one: Seen) -> tuple[Approval, str]:
    return (Approval.QUARANTINED, one.doubt) if one.doubt else (Approval.PROPOSED, "")


def _shadowed(sighting: Sighting, owner: Place) -> Sighting:
    reason = f"its name is, or reads like, the one of {object_name(owner[1], owner[0], owner[2])}"
    pin = replace(sighting.pin, approval=Approval.QUARANTINED, reason=reason)
    if sighting.what == "definition.seen":  # first sight approves nothing of it, now or later
        pin = replace(pin, approved_digest="", approved_body=b"")
    return replace(sighting, pin=pin)
