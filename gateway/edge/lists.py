"""What the gateway answers itself: lists of what the caller may see, and who the gateway is."""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from gateway.domain.asking import TASKS
from gateway.domain.catalogue import Catalogue
from gateway.domain.model import MODERN_VERSION, Approval, Call, Definition, Kind, Principal
from gateway.domain.refusal import BAD_CURSOR, Refused
from gateway.edge.calls import Place
from gateway.edge.endpoint import Endpoint, Span
from gateway.edge.reply import CALL_META, SERVER_INFO_META, Identification, call_meta
from gateway.edge.search import TOOLS

PAGE_ENTRIES = 1_000
_MAX_SEEN = 65_536  # a principal is another one with every credential
_MAX_CURSOR_CHARS = 256
_MAX_CURSOR_DIGITS = 9
# What is offered, and no more. Whether a server lets its resources be followed, it says when asked.
CAPABILITIES: Mapping[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}

_SEARCHED: Mapping[str, Any] = {**CAPABILITIES, "tools": {}}  # two tools that never change
_MEMBERS: Mapping[str, tuple[str, Kind]] = {
    "tools/list": ("tools", Kind.TOOL),
    "prompts/list": ("prompts", Kind.PROMPT),
    "resources/list": ("resources", Kind.RESOURCE),
    "resources/templates/list": ("resourceTemplates", Kind.TEMPLATE),
}
_LISTED_KINDS = tuple(kind for _, kind in _MEMBERS.values())
_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Page(NamedTuple):
    """Which answer of the cache: everything that changes its bytes, but for the call id."""

    principal: Principal
    endpoint: Endpoint
    method: str
    modern: bool
    first: int


@dataclass(frozen=True, slots=True)
class Era:
    """The two revisions of what is behind the border that a list answer depends on."""

    policy: str
    catalogue: int


class Lists:
    """Answers lists from what is in force now; bytes are kept until that changes."""

    def __init__(
        self, place: Callable[[], Place], own: Identification, max_cached_bytes: int
    ) -> None:
        self._place = place
        self._own = own
        self._max_cached_bytes = max_cached_bytes
        self._key = os.urandom(32)  # of cursors: they end with the process, as the catalogue does
        self._now = Era("", -1)
        self._pages: OrderedDict[Page, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._sees: dict[tuple[Principal, Endpoint], bool] = {}
        self._extensions: dict[tuple[Principal, Endpoint], frozenset[str]] = {}

    def sees(self, principal: Principal, endpoint: Endpoint) -> bool:
        """Whether *principal* may see anything at all at *endpoint*, so that it exists for them."""
        place = self._current()
        if not place.has(endpoint):  # the caller's to choose: nothing is worked out for it, or kept
            return False
        seen = self._sees.get((principal, endpoint))
        if seen is None:
            seen = any(place.visible(principal, endpoint, kind) for kind in _LISTED_KINDS)
            if len(self._sees) >= _MAX_SEEN:
                self._sees.clear()
            self._sees[(principal, endpoint)] = seen
        return seen

    def result(self, call: Call, endpoint: Endpoint, cursor: Any) -> bytes:
        """The result of a list method, raw. Raises: Refused: BAD_CURSOR."""
        place = self._current()
        page = Page(call.principal, endpoint, call.method, call.client.modern, 0)
        if cursor is not None:
            page = page._replace(first=self._first(cursor, page, call.id))
        opening = self._pages.get(page)
        if opening is None:
            opening = self._opening(page, place)
            self._keep(page, opening)
        else:
            self._pages.move_to_end(page)
        return b'%b"%b":%b}}' % (opening, CALL_META.encode(), call_meta(call, {}))

    def discovered(self, call: Call, endpoint: Endpoint) -> bytes:
        """The result of server/discover."""
        said: dict[str, Any] = {
            "supportedVersions": [MODERN_VERSION],
            "capabilities": self._capabilities(call, endpoint),
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
            **self._instructed(call),
            "_meta": {
                SERVER_INFO_META: msgspec.Raw(self._own.raw),
                CALL_META: msgspec.Raw(call_meta(call, {})),
            },
        }
        return msgspec.json.encode(said)

    def initialized(self, call: Call, endpoint: Endpoint, version: str) -> bytes:
        """The result of initialize, at the negotiated *version*."""
        said: dict[str, Any] = {
            "protocolVersion": version,
            "capabilities": self._capabilities(call, endpoint),
            "serverInfo": msgspec.Raw(self._own.raw),
            **self._instructed(call),
            "_meta": {CALL_META: msgspec.Raw(call_meta(call, {}))},
        }
        return msgspec.json.encode(said)

    def _capabilities(self, call: Call, endpoint: Endpoint) -> Mapping[str, Any]:
        """What is offered everywhere, and the extensions of servers that the caller sees here."""
        place = self._current()
        offered = _SEARCHED if endpoint.search else CAPABILITIES
        known = {name for name, view in place.catalogue.servers.items() if view.extensions}
        if not known:
            return offered
        seen = self._extensions.get((call.principal, endpoint))
        if seen is None:
            seen = place.extensions(call.principal, endpoint)
            if len(self._extensions) >= _MAX_SEEN:
                self._extensions.clear()
            self._extensions[call.principal, endpoint] = seen
        if not call.client.modern:
            seen = seen - {TASKS}
        extensions: dict[str, Any] = {name: {} for name in sorted(seen)}
        return {**offered, "extensions": extensions} if seen else offered

    def _instructed(self, call: Call) -> dict[str, str]:
        text = _instructions(self._place().catalogue, call.server) if call.server else ""
        return {"instructions": text} if text else {}

    def _current(self) -> Place:
        place = self._place()
        now = Era(place.snapshot.version, place.catalogue.version)
        if now != self._now:
            self._now = now
            self._pages.clear()
            self._sees.clear()
            self._extensions.clear()
            self._cached_bytes = 0
        return place

    def _opening(self, page: Page, place: Place) -> bytes:
        """The answer up to the one member of its `_meta` that is different every time."""
        member, kind = _MEMBERS[page.method]
        bodies = _visible_bodies(page, kind, place)
        shown = list(islice(bodies, page.first, page.first + PAGE_ENTRIES))
        said: dict[str, Any] = {member: shown}
        if page.first + PAGE_ENTRIES < len(bodies):
            said["nextCursor"] = self._cursor(page, page.first + PAGE_ENTRIES)
        meta: dict[str, Any] = {}
        if page.modern:
            said |= {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            meta[SERVER_INFO_META] = msgspec.Raw(self._own.raw)
        said["_meta"] = meta
        closed = msgspec.json.encode(said)
        return closed[:-2] + (b"," if meta else b"")

    def _keep(self, page: Page, opening: bytes) -> None:
        self._pages[page] = opening
        self._cached_bytes += len(opening)
        while self._cached_bytes > self._max_cached_bytes and self._pages:
            _, forgotten = self._pages.popitem(last=False)
            self._cached_bytes -= len(forgotten)

    def _cursor(self, page: Page, first: int) -> str:
        return f"{first}.{self._mark(page, first)}"

    def _first(self, cursor: Any, page: Page, call_id: str) -> int:
        """Where the page begins; a cursor is good only for the list that gave it."""
        if type(cursor) is not str or len(cursor) > _MAX_CURSOR_CHARS or not cursor.isascii():
            raise Refused(BAD_CURSOR, call_id)
        number, _, mark = cursor.partition(".")
        if not number.isdecimal() or len(number) > _MAX_CURSOR_DIGITS:
            raise Refused(BAD_CURSOR, call_id)
        first = int(number)
        if not compare_digest(mark, self._mark(page, first)):
            raise Refused(BAD_CURSOR, call_id)
        return first

    def _mark(self, page: Page, first: int) -> str:
        """What only this process can write, of this list as it is now. It reveals no revision."""
        who = page.principal
        of = [self._now.policy, self._now.catalogue, who.tenant, who.subject, *who.actors]
        said = json.dumps([of, page.endpoint.path, page.method, first]).encode()
        return blake2b(said, key=self._key, digest_size=16).hexdigest()


def _visible_bodies(page: Page, kind: Kind, place: Place) -> list[msgspec.Raw]:
    if page.endpoint.search and kind is Kind.TOOL:
        return list(TOOLS)
    visible = place.visible(page.principal, page.endpoint, kind)
    if page.endpoint.span is Span.SERVER:
        return [msgspec.Raw(_told_of(definition)) for definition in visible]
    if kind in (Kind.TOOL, Kind.PROMPT):
        return [_as_wired(definition) for definition in visible]
    # A URI that two servers know means neither of them here, so that it is not listed either.
    owners = Counter(definition.name for definition in visible)
    return [msgspec.Raw(d.body) for d in visible if owners[d.name] == 1]


def _told_of(definition: Definition) -> bytes:
    """The definition as callers see it: of a skill without where its agent is."""
    if definition.kind is not Kind.PEER:
        return definition.body
    members = _BODY.decode(definition.body)
    members.pop("_meta", None)
    return msgspec.json.encode(members)


def _as_wired(definition: Definition) -> msgspec.Raw:
    if definition.name == definition.wire_name:
        return msgspec.Raw(_told_of(definition))
    members = _BODY.decode(_told_of(definition))
    members["name"] = msgspec.Raw(msgspec.json.encode(definition.wire_name))
    return msgspec.Raw(msgspec.json.encode(members))


def _instructions(catalogue: Catalogue, server: str) -> str:
    """What the server tells its users, as a person approved it; of peers nothing.

    {"instructions":"Use get_time for ..."}
    """
    view = catalogue.servers.get(server)
    pinned = view.instructions if view is not None else None
    if view is None or pinned is None or pinned.approval is not Approval.APPROVED:
        return ""
    if view.kind is Kind.PEER:  # its card says where it is, which is for nobody but the gateway
        return ""
    said = json.loads(pinned.body)
    text = said.get("instructions", "") if isinstance(said, dict) else said
    return text if isinstance(text, str) else ""
