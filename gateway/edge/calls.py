"""From a parsed message to a Call: who asks what of which object, complete and undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from gateway.domain.catalogue import Catalogue
from gateway.domain.model import Call, Client, Definition, Kind, Principal
from gateway.domain.names import called_as
from gateway.domain.refusal import bad_params
from gateway.domain.toolset import Toolset
from gateway.edge.endpoint import Endpoint, Span
from gateway.edge.hearing import Hearing
from gateway.edge.house import Snapshot
from gateway.edge.methods import Method, Naming
from gateway.edge.strict import Message
from gateway.edge.ties import NO_TIES, Ties

MAX_NAME_CHARS = 1024
MAX_URI_CHARS = 8192
MAX_META_BYTES = 8192
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Asked(msgspec.Struct, frozen=True):
    """One message, with all that the request around it proved."""

    message: Message
    endpoint: Endpoint
    principal: Principal
    client: Client
    meta: Mapping[str, bytes]  # the caller's _meta, raw values
    hearing: Hearing | None = None  # of the session; the newest era has none
    ties: Ties = NO_TIES

    @property
    def server(self) -> str:
        return self.endpoint.server


class Found(msgspec.Struct, frozen=True):
    """What a name means at this endpoint; no definition when it means nothing."""

    kind: Kind
    server: str
    name: str
    definition: Definition | None = None
    changed: tuple[str, bytes] | None = None  # the parameter that must read differently upstream


class Place(msgspec.Struct, frozen=True):
    """Where names are looked up: what is behind the border, and who may see which of it."""

    catalogue: Catalogue
    snapshot: Snapshot
    toolsets: Mapping[str, Toolset]

    def has(self, endpoint: Endpoint) -> bool:
        """Whether there is a server or a toolset of that name, whoever may see it."""
        there = self.catalogue.servers if endpoint.span is Span.SERVER else self.toolsets
        return endpoint.name in there

    def visible(
        self, principal: Principal, endpoint: Endpoint, kind: Kind
    ) -> tuple[Definition, ...]:
        """What *principal* may see at *endpoint*, in the order of lists."""
        server = endpoint.name if endpoint.span is Span.SERVER else None
        seen = self.snapshot.visible(principal, self.catalogue.listing(kind, server))
        if endpoint.span is Span.TOOLSET:
            return tuple(d for d in seen if self._bundles(endpoint.name, d, principal))
        return seen

    def extensions(self, principal: Principal, endpoint: Endpoint) -> frozenset[str]:
        """What servers advertise of which *principal* sees anything at *endpoint*."""
        servers = self.catalogue.servers
        return frozenset(
            extension
            for server in {
                d.server for kind in Kind for d in self.visible(principal, endpoint, kind)
            }
            for extension in servers[server].extensions
        )

    def named(
        self, name: str, kind: Kind, endpoint: Endpoint, principal: Principal
    ) -> Definition | None:
        """What *name* means at *endpoint*, approved or not, and whoever may see it.

        What a toolset leaves out is nothing there: it is not to be told apart from what is nowhere.
        Nor is any tool of a server at a search endpoint, where it is called through call_tool.
        """
        if endpoint.search and kind is Kind.TOOL:
            return None
        if endpoint.span is Span.SERVER:
            return self._own(endpoint.name, kind, name)
        found = self.catalogue.by_wire(kind, name)
        if found is None or endpoint.span is Span.ALL:
            return found
        return found if self._bundles(endpoint.name, found, principal) else None

    def _own(self, server: str, kind: Kind, name: str) -> Definition | None:
        found = self.catalogue.find(server, kind, name)
        if found is None and kind is Kind.TOOL:
            return self.catalogue.find(server, Kind.PEER, name)
        return found

    def _bundles(self, toolset: str, definition: Definition, principal: Principal) -> bool:
        bundle = self.toolsets.get(toolset)
        if bundle is None or called_as(definition.kind) is not Kind.TOOL:
            return False
        return bundle.names(definition.server, definition.name) or any(
            self.snapshot.visible_to_role(replace(principal, subject=role), (definition,))
            for role in bundle.roles
        )


def read_meta(message: Message) -> dict[str, bytes]:
    """The raw members of params._meta. Raises: Refused: BAD_PARAMS: it is not an object."""
    raw = message.raw.get("_meta")
    if raw is None:
        return {}
    try:
        return {name: bytes(value) for name, value in _MEMBERS.decode(raw).items()}
    except msgspec.ValidationError:
        raise bad_params("_meta must be an object") from None


def check_aside(message: Message, client: Client | None = None) -> None:
    """Bound what goes upstream beside the arguments: it is neither metered nor committed to.

    *client* is what a handshake declared; the newest era says it in `_meta`.
    Raises: Refused: BAD_PARAMS.
    """
    aside_bytes = len(message.raw.get("_meta", b""))
    if client is not None:
        aside_bytes += len(client.capabilities) + len(client.info)
    if aside_bytes > MAX_META_BYTES:
        raise bad_params(
            f"_meta, clientInfo and client capabilities are {aside_bytes} bytes together,"
            f" and may be {MAX_META_BYTES}"
        )


def to_call(asked: Asked, row: Method, place: Place, call_id: str) -> Call:
    """Name the object and make the call; what is unknown is a call, too, with no definition.

    Raises: Refused: BAD_PARAMS: the params do not name an object at all.
    """
    message = asked.message
    found = _find(asked, row, place)
    params = {name: bytes(value) for name, value in message.raw.items() if name != "_meta"}
    if found.changed is not None:
        params[found.changed[0]] = found.changed[1]
    return Call(
        id=call_id,
        principal=asked.principal,
        method=message.method,
        kind=found.kind,
        server=found.server,
        name=found.name,
        act=row.act,
        weight=row.weight,
        params=params,
        arguments=_arguments(message.params, params),
        meta=asked.meta,
        client=asked.client,
        definition=found.definition,
        trace=asked.ties.trace,
        run=asked.ties.run,
        parent=asked.ties.parent,
        key=asked.ties.key if row.once else "",
    )


def _find(asked: Asked, row: Method, place: Place) -> Found:
    naming = row.naming
    if naming is Naming.NAME:
        return _by_name(asked, row.kind, asked.message.params.get("name"), place)
    if naming is Naming.URI:
        return _by_uri(asked, place)
    if naming is Naming.REF:
        return _by_ref(asked, place)
    return Found(row.kind, asked.server, "*")


def _by_name(asked: Asked, kind: Kind, name: Any, place: Place) -> Found:
    name = _text(name, "name", MAX_NAME_CHARS)
    definition = place.named(name, kind, asked.endpoint, asked.principal)
    if definition is None:
        return Found(kind, asked.server, name)
    kind = definition.kind  # a skill of a peer is called like a tool
    if asked.server:
        return Found(kind, asked.server, name, definition)
    # The server knows the tool by its own name, whatever /mcp calls it.
    own_name = ("name", msgspec.json.encode(definition.name))
    return Found(kind, definition.server, definition.name, definition, own_name)


def _by_uri(asked: Asked, place: Place) -> Found:
    uri = _text(asked.message.params.get("uri"), "uri", MAX_URI_CHARS)
    catalogue = place.catalogue
    if asked.server:
        return Found(Kind.RESOURCE, asked.server, uri, catalogue.resource(asked.server, uri))
    if asked.endpoint.span is Span.TOOLSET:
        return Found(Kind.RESOURCE, "", uri)
    owners = [catalogue.resource(server, uri) for server in catalogue.resource_owner(uri)]
    definition = _only_one(asked.principal, owners, place.snapshot)
    return Found(Kind.RESOURCE, definition.server if definition else "", uri, definition)


def _by_ref(asked: Asked, place: Place) -> Found:
    """The prompt or template whose argument is being completed."""
    ref = asked.message.params.get("ref")
    if not isinstance(ref, dict):
        raise bad_params("ref must be an object")
    if ref.get("type") == "ref/prompt":
        found = _by_name(asked, Kind.PROMPT, ref.get("name"), place)
        if found.changed is None:
            return found
        members = _MEMBERS.decode(asked.message.raw["ref"])
        renamed = {**members, "name": msgspec.Raw(found.changed[1])}
        changed = ("ref", msgspec.json.encode(renamed))
        return Found(found.kind, found.server, found.name, found.definition, changed)
    if ref.get("type") == "ref/resource":
        return _by_template(asked, _text(ref.get("uri"), "ref.uri", MAX_URI_CHARS), place)
    raise bad_params("ref.type must be ref/prompt or ref/resource")


def _by_template(asked: Asked, uri: str, place: Place) -> Found:
    catalogue = place.catalogue
    if asked.endpoint.span is Span.TOOLSET:
        return Found(Kind.TEMPLATE, "", uri)
    servers = [asked.server] if asked.server else filter(catalogue.serves, catalogue.servers)
    listed = [
        catalogue.find(server, Kind.TEMPLATE, uri) or catalogue.find(server, Kind.RESOURCE, uri)
        for server in servers
    ]
    definition = _only_one(asked.principal, listed, place.snapshot)
    if definition is None:
        return Found(Kind.TEMPLATE, asked.server, uri)
    return Found(definition.kind, definition.server, uri, definition)


def _only_one(
    principal: Principal, candidates: list[Definition | None], snapshot: Snapshot
) -> Definition | None:
    """The one that is meant: of several, the only one that the principal may see."""
    known = [definition for definition in candidates if definition is not None]
    if len(known) > 1:
        known = list(snapshot.visible(principal, known))
    return known[0] if len(known) == 1 else None


def _text(value: Any, where: str, most_chars: int) -> str:
    if not isinstance(value, str) or not value:
        raise bad_params(f"{where} must be a string that is not empty")
    if len(value) > most_chars:
        raise bad_params(f"{where} is longer than {most_chars} characters")
    return value


def _arguments(members: Mapping[str, Any], params: dict[str, bytes]) -> Mapping[str, Any]:
    arguments = members.get("arguments")
    if arguments is None:
        # null and absent are one thing; the upstream must not see a difference we did not judge.
        params.pop("arguments", None)
        return {}
    if not isinstance(arguments, dict):
        raise bad_params("arguments must be an object")
    return arguments
