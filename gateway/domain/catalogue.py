"""Everything behind the border at one instant: immutable, indexed once, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.domain.asking import DEFAULT_REQUESTS
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import Approval, Call, Definition, Kind
from gateway.domain.names import called_as
from gateway.domain.template import BadTemplate, Template

_Listing = tuple[Definition, ...]


@dataclass(frozen=True, slots=True)
class ServerView:
    """What the border knows of one server, whatever its definitions."""

    suspended: bool = False
    # Pinned like a tool, and shown only when approved; of a peer its card without the skills.
    instructions: Definition | None = None
    requests: frozenset[str] = DEFAULT_REQUESTS  # what it may ask its callers
    extensions: frozenset[str] = frozenset()  # of those that are carried, what it advertises
    kind: Kind = Kind.SERVER  # or MODEL, or PEER
    rules: MessageRules | None = None  # of a peer: what it may be sent


@dataclass(frozen=True)
class Catalogue:
    """Every definition, whatever its approval, and every server.

    `find` and `by_wire` also return what is not approved, so that the log can say why a call was
    refused; `listing` and `resource_owner` know only what may be used.
    Raises: ValueError: two definitions of one name, or two approved ones of one wire name (a silent
    shadow): the registry quarantines the newcomer instead.
    """

    version: int
    definitions: tuple[Definition, ...] = ()
    servers: Mapping[str, ServerView] = field(default_factory=dict)
    _named: Mapping[tuple[str, Kind, str], Definition] = field(
        init=False, repr=False, compare=False
    )
    _wired: Mapping[tuple[Kind, str], Definition] = field(init=False, repr=False, compare=False)
    _listings: Mapping[tuple[Kind, str | None], _Listing] = field(
        init=False, repr=False, compare=False
    )
    _templates: Mapping[str, list[tuple[Template, Definition]]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        ordered = sorted(self.definitions, key=lambda d: (d.wire_name, d.server, d.name))
        for name, index in (
            ("_named", _by_name(ordered)),
            ("_wired", _by_wire_name(ordered)),
            ("_listings", self._listed(ordered)),
            ("_templates", _compiled(ordered)),
        ):
            object.__setattr__(self, name, index)

    def find(self, server: str, kind: Kind, name: str) -> Definition | None:
        """The definition a server gave under its own *name*, approved or not."""
        return self._named.get((server, kind, name))

    def by_wire(self, kind: Kind, wire_name: str) -> Definition | None:
        """The definition that /mcp calls *wire_name*: the approved one, when several want it.

        A skill of a peer is found among the tools.
        """
        return self._wired.get((kind, wire_name))

    def listing(self, kind: Kind, server: str | None = None) -> _Listing:
        """The approved definitions of servers that serve, by wire name; of one server or of all.

        Skills of peers are among the tools, and also for themselves.
        """
        return self._listings.get((kind, server), ())

    def serves(self, server: str) -> bool:
        """The server is known and not suspended; "" is the gateway itself.

        A peer is where its card says, so that nothing is sent to one whose card is not approved.
        """
        view = self.servers.get(server)
        if view is None or view.suspended:
            return not server
        return view.kind is not Kind.PEER or view.instructions is not None

    def requests_of(self, server: str) -> frozenset[str]:
        """The kinds of input that *server* may ask its callers for."""
        view = self.servers.get(server)
        return view.requests if view is not None else frozenset()

    def resource(self, server: str, uri: str) -> Definition | None:
        """What pins *uri* on *server*: the resource listed so, else a template that matches.

        A resource that is listed but not approved is returned as it is: a template never opens a
        way around its quarantine.
        """
        exact = self.find(server, Kind.RESOURCE, uri)
        if exact is not None:
            return exact
        fitting = [d for template, d in self._templates.get(server, ()) if template.matches(uri)]
        approved = [d for d in fitting if d.approval is Approval.APPROVED]
        return next(iter(approved or fitting), None)

    def resource_owner(self, uri: str) -> list[str]:
        """The serving servers that list exactly *uri* or have an approved template for it, sorted."""
        return sorted(
            server
            for server in self.servers
            if self.serves(server)
            and (definition := self.resource(server, uri)) is not None
            and definition.approval is Approval.APPROVED
        )

    def current(self, call: Call) -> Definition | None:
        """What this catalogue has for *call*, whichever catalogue it was named with."""
        if call.definition is None:
            return None
        if call.kind in (Kind.RESOURCE, Kind.TEMPLATE) and call.definition.name != call.name:
            return self.resource(call.server, call.name)
        return self.find(call.server, call.definition.kind, call.definition.name)

    def _listed(self, ordered: list[Definition]) -> Mapping[tuple[Kind, str | None], _Listing]:
        rows: dict[tuple[Kind, str | None], list[Definition]] = {}
        for definition in ordered:
            if definition.approval is Approval.APPROVED and self.serves(definition.server):
                for kind in {definition.kind, called_as(definition.kind)}:
                    rows.setdefault((kind, None), []).append(definition)
                    rows.setdefault((kind, definition.server), []).append(definition)
        return {key: tuple(found) for key, found in rows.items()}


def _by_name(ordered: list[Definition]) -> dict[tuple[str, Kind, str], Definition]:
    named = {(d.server, d.kind, d.name): d for d in ordered}
    if len(named) != len(ordered):
        raise ValueError("a server has two definitions of one kind and name")
    return named


def _by_wire_name(ordered: list[Definition]) -> dict[tuple[Kind, str], Definition]:
    wired: dict[tuple[Kind, str], Definition] = {}
    for definition in ordered:
        key = (called_as(definition.kind), definition.wire_name)
        taken = wired.get(key)
        if taken is None or taken.approval is not Approval.APPROVED:
            wired[key] = definition
        elif definition.approval is Approval.APPROVED and _exclusive(definition):
            raise ValueError(f"two approved definitions have the wire name {key[1]!a:.60}")
    return wired


def _exclusive(definition: Definition) -> bool:
    """Tools and prompts are called by wire name alone; several servers may know one URI."""
    return called_as(definition.kind) in (Kind.TOOL, Kind.PROMPT)


def _compiled(ordered: list[Definition]) -> dict[str, list[tuple[Template, Definition]]]:
    """The templates of each server; one that cannot be read matches nothing."""
    compiled: dict[str, list[tuple[Template, Definition]]] = {}
    for definition in ordered:
        if definition.kind is Kind.TEMPLATE:
            with suppress(BadTemplate):
                pair = (Template.parse(definition.name), definition)
                compiled.setdefault(definition.server, []).append(pair)
    return compiled
