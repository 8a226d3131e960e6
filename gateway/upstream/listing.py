"""Everything a server says it has: all pages of all lists, raw, one broken entry at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.domain.asking import EXTENSIONS
from gateway.domain.definition import MAX_DEFINITION_BYTES, Listed
from gateway.domain.model import Kind, Outcome, Status
from gateway.upstream.message import METHOD_NOT_FOUND, broken, decode_members, error_code

MAX_PAGES = 100
MAX_DEFINITIONS = 5_000
MAX_LISTING_BYTES = 33_554_432
MAX_NAME_CHARS = {Kind.TOOL: 128, Kind.PROMPT: 128, Kind.PEER: 128}  # what is called by name
MAX_URI_CHARS = 2_048

Ask = Callable[[str, Mapping[str, bytes]], Awaitable[Outcome]]  # method, params -> outcome


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a server says of itself: the result of server/discover or of initialize."""

    version: str  # the protocol revision it is spoken to in
    capabilities: frozenset[str] | None = None  # names; None: it did not say
    instructions: str = ""
    announces_changes: bool = False  # it will say when a list has changed
    extensions: frozenset[str] = frozenset()  # of those that are carried, what it advertises


@dataclass(frozen=True, slots=True)
class Listing:
    """One complete look at a server. Names are unique per kind among entries without a fault."""

    introduction: Introduction
    definitions: tuple[Listed, ...]  # bodies raw, as the server sent them

    @property
    def instructions(self) -> str:
        return self.introduction.instructions


@dataclass(frozen=True, slots=True)
class _List:
    kind: Kind
    method: str
    capability: str
    member: str
    name_key: str


_LISTS = (
    _List(Kind.TOOL, "tools/list", "tools", "tools", "name"),
    _List(Kind.PROMPT, "prompts/list", "prompts", "prompts", "name"),
    _List(Kind.RESOURCE, "resources/list", "resources", "resources", "uri"),
    _List(
        Kind.TEMPLATE, "resources/templates/list", "resources", "resourceTemplates", "uriTemplate"
    ),
    _List(Kind.MODEL, "models/list", "models", "models", "name"),
    _List(Kind.PEER, "peers/list", "skills", "skills", "name"),
)
# What is not MCP is listed by connectors of ours alone: no server makes itself a model or a peer.
_OURS = frozenset({"models", "skills"})


@dataclass(slots=True)
class _Collection:
    """What was listed so far, held to the bounds of the whole listing."""

    found: dict[tuple[Kind, str], Listed] = field(default_factory=dict)
    nameless: list[Listed] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, entry: Listed) -> None:
        """Raises: UpstreamFailed: a bound is reached; half a listing would hide the rest."""
        self.n_bytes += len(entry.body)
        if self.n_bytes > MAX_LISTING_BYTES:
            raise broken(f"the lists hold more than {MAX_LISTING_BYTES} bytes")
        if len(self.found) + len(self.nameless) >= MAX_DEFINITIONS:
            raise broken(f"the lists hold more than {MAX_DEFINITIONS} definitions")
        place = (entry.kind, entry.name)
        first = self.found.get(place)
        if not entry.name:
            self.nameless.append(entry)
        elif first is None:
            self.found[place] = entry
        elif first.body != entry.body:  # the same entry on two pages is only a shifted page
            fault = "listed more than once, with different definitions"
            self.found[place] = Listed(entry.kind, entry.name, first.body, fault)


async def list_all(introduction: Introduction, ask: Ask) -> Listing:
    """Every list the server offers. Raises: UpstreamFailed: one of them could not be read whole."""
    collection = _Collection()
    for wanted in _LISTS:
        offered = introduction.capabilities
        if wanted.capability in offered if offered is not None else wanted.capability not in _OURS:
            await _pages(wanted, ask, collection)
    entries = (*collection.found.values(), *collection.nameless)
    return Listing(introduction, entries)


async def _pages(wanted: _List, ask: Ask, collection: _Collection) -> None:
    cursors: set[bytes] = set()
    params: dict[str, bytes] = {}
    for _ in range(MAX_PAGES):
        page = _page(wanted, await ask(wanted.method, params))
        for raw in page.entries:
            collection.add(read_entry(wanted.kind, wanted.name_key, raw))
        if not page.cursor:
            return
        if page.cursor in cursors:
            raise broken(f"{wanted.method} repeats a cursor: its pages never end")
        cursors.add(page.cursor)
        params = {"cursor": page.cursor}
    raise broken(f"{wanted.method} has more than {MAX_PAGES} pages")


@dataclass(frozen=True, slots=True)
class _Page:
    entries: list[msgspec.Raw]
    cursor: bytes  # raw; b"" on the last page


def _page(wanted: _List, outcome: Outcome) -> _Page:
    if outcome.status is Status.RPC_ERROR:
        code = error_code(outcome.error)
        if code == METHOD_NOT_FOUND:
            return _Page([], b"")
        raise broken(f"{wanted.method} is answered with error {code}")
    try:
        members = decode_members(outcome.result)
        entries = msgspec.json.decode(members[wanted.member], type=list[msgspec.Raw])
        cursor = members.get("nextCursor", msgspec.Raw(b"null"))
        text = msgspec.json.decode(cursor, type=str | None)
    except KeyError:
        raise broken(f"{wanted.method} is answered without {wanted.member}") from None
    except msgspec.MsgspecError as err:
        raise broken(f"{wanted.method} is answered with something else: {err}") from None
    return _Page(entries, bytes(cursor) if text is not None else b"")


def read_entry(kind: Kind, name_key: str, raw: msgspec.Raw) -> Listed:
    """One entry of a list; what is wrong with it is its *fault* and nobody else's."""
    body = bytes(raw)
    try:
        name = msgspec.json.decode(decode_members(body)[name_key], type=str)
    except KeyError:
        return Listed(kind, "", body[:MAX_DEFINITION_BYTES], f"it has no {name_key}")
    except msgspec.MsgspecError:
        fault = f"it is not an object with a text as {name_key}"
        return Listed(kind, "", body[:MAX_DEFINITION_BYTES], fault)
    if not name or len(name) > MAX_NAME_CHARS.get(kind, MAX_URI_CHARS):
        return Listed(kind, "", body[:MAX_DEFINITION_BYTES], f"its {name_key} is empty or too long")
    if len(body) > MAX_DEFINITION_BYTES:
        fault = f"it has {len(body)} bytes, more than {MAX_DEFINITION_BYTES}"
        return Listed(kind, name, b"{}", fault)
    return Listed(kind, name, body)


class _Capability(msgspec.Struct):
    list_changed: bool = msgspec.field(name="listChanged", default=False)


class _Discovered(msgspec.Struct):
    capabilities: dict[str, msgspec.Raw] = {}
    instructions: str = ""


def read_introduction(version: str, result: bytes) -> Introduction:
    """The result of server/discover or initialize. Raises: UpstreamFailed: it is neither."""
    try:
        said = msgspec.json.decode(result, type=_Discovered)
    except msgspec.MsgspecError as err:
        raise broken(f"the server introduces itself with something else: {err}") from None
    return Introduction(
        version,
        frozenset(said.capabilities) - _OURS,
        said.instructions,
        any(_announces(raw) for raw in said.capabilities.values()),
        _extensions(said.capabilities.get("extensions", msgspec.Raw(b"{}"))),
    )


def _extensions(raw: msgspec.Raw) -> frozenset[str]:
    try:
        return EXTENSIONS.intersection(decode_members(raw))
    except msgspec.MsgspecError:
        return frozenset()


def _announces(capability: msgspec.Raw) -> bool:
    try:
        return msgspec.json.decode(capability, type=_Capability).list_changed
    except msgspec.MsgspecError:  # an extension's own shape
        return False
