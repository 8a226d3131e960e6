"""From an HTTP request to one A2A request, whichever binding it came in.

POST /a2a/<peer>                                     JSON-RPC 2.0; also with a slash behind it
POST /a2a/<peer>/message:send                        HTTP+JSON, as the protocol spells its paths
GET  /a2a/<peer>/tasks/<id>?historyLength=5
GET  /a2a/<peer>/.well-known/agent-card.json         the card
POST /a2a/<peer>/push/<word>                         what the peer tells: gateway.edge.a2a.counter
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from gateway.domain.a2a import METHODS, VERSION, BadMember, as_spelled
from gateway.domain.a2a import Method as Wire
from gateway.domain.refusal import MALFORMED, UNSUPPORTED_MEDIA, Refused, bad_params
from gateway.edge.a2a.errors import NotCalled, NotSpoken
from gateway.edge.head import Head
from gateway.edge.strict import parse, scan_whole

PREFIX, PUSH = "/a2a/", "push"
CARD_PATH = ".well-known/agent-card.json"
_JSON = frozenset({b"application/json", b"application/a2a+json"})
_VERSION = b"a2a-version"
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_NUMBERS = frozenset({"historyLength", "pageSize"})
_TRUTHS = {"includeArtifacts": {"true": True, "false": False}}


class Place(NamedTuple):
    """What of the path comes behind /a2a/: the peer, and what is asked of it ("": JSON-RPC)."""

    peer: str
    rest: str


class Asked(NamedTuple):
    """One request. *id*: of the JSON-RPC message, raw; b"" in HTTP+JSON."""

    peer: str
    method: str
    params: dict[str, Any]
    id: bytes = b""
    n_bytes: int = 0  # of its body, or of its query

    @property
    def is_rpc(self) -> bool:
        return bool(self.id)


def place_of(path: str) -> Place | None:
    """None: the path is not of this outlet."""
    if not path.startswith(PREFIX):
        return None
    peer, _, rest = path[len(PREFIX) :].partition("/")
    return Place(peer, rest) if peer else None


def is_pushed(place: Place) -> bool:
    return place.rest.startswith(PUSH + "/")


def read_rpc(place: Place, head: Head, body: bytes) -> Asked:
    """Raises: Refused: UNSUPPORTED_MEDIA, UNPARSABLE, MALFORMED, TOO_LARGE_REQUEST."""
    check_type(head)
    message = parse(body)
    if not message.id:
        raise Refused(MALFORMED, detail={"problem": "a request without an id has no answer"})
    return Asked(place.peer, message.method, dict(message.params), message.id, len(body))


def read_rest(place: Place, verb: str, query: bytes, head: Head, body: bytes) -> Asked:
    """Raises: Refused: as `read_rpc`, and UNKNOWN_METHOD: no such path, or not with this verb."""
    wire, named = _routed(verb, "/" + place.rest)
    if verb != "POST":
        return Asked(place.peer, wire.name, _only(_in_query(query), named), n_bytes=len(query))
    if not body:
        return Asked(place.peer, wire.name, named)
    check_type(head)
    return Asked(place.peer, wire.name, _only(object_in(body), named), n_bytes=len(body))


def _only(said: dict[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside what the path names. Raises: Refused: BAD_PARAMS."""
    params = in_one_spelling(said)
    for member, value in named.items():
        if params.get(member, value) != value:
            raise bad_params(f"{member} is said beside the path, and is not the one in it")
    return {**params, **named}


def in_one_spelling(params: dict[str, Any]) -> dict[str, Any]:
    """Raises: Refused: BAD_PARAMS."""
    try:
        return as_spelled(params)
    except BadMember as err:
        raise bad_params(str(err)) from None


def check_version(head: Head, method: str) -> None:
    """Missing means 0.3 (A2A 1.0 s3.6.2). Raises: NotSpoken."""
    said = head.get(_VERSION).decode("latin-1")
    if said.split(".")[0] != VERSION.split(".", maxsplit=1)[0] or _VERSION in head.repeated:
        raise NotSpoken(said[:40], method)


def check_type(head: Head) -> None:
    """Raises: Refused: UNSUPPORTED_MEDIA."""
    kind = head.get(b"content-type").split(b";")[0].strip().lower()
    if kind not in _JSON or b"content-encoding" in head.values:
        raise Refused(UNSUPPORTED_MEDIA)


def _routed(verb: str, path: str) -> tuple[Wire, dict[str, Any]]:
    for wire, pattern in _ROUTES:
        found = pattern.fullmatch(path)
        # A subscription is asked for with either verb (the specification says GET, the SDK POST).
        fits = wire.verb == verb or (wire.name == "SubscribeToTask" and verb == "POST")
        if found is not None and fits:
            return wire, found.groupdict()
    raise NotCalled("")


def _pattern(wire: Wire) -> re.Pattern[str]:
    # An id of ours holds none of these characters.
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(wire.path)))


_ROUTES = tuple((wire, _pattern(wire)) for wire in METHODS.values())


def _in_query(raw: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64
        )
    except ValueError:
        raise bad_params("the query is not a list of name=value in UTF-8") from None
    members: dict[str, Any] = {}
    for name, text in pairs:
        if name in members:
            raise bad_params("a parameter is given twice")
        members[name] = _typed(name, text)
    return members


def _typed(name: str, text: str) -> Any:
    if name in _NUMBERS:
        if not _WHOLE.fullmatch(text):
            raise bad_params(f"{name} must be a whole number")
        return int(text)
    if name in _TRUTHS:
        if text.lower() not in _TRUTHS[name]:
            raise bad_params(f"{name} must be true or false")
        return _TRUTHS[name][text.lower()]
    return text


def object_in(body: bytes) -> dict[str, Any]:
    """The members of *body*, read strictly. Raises: Refused."""
    members = scan_whole(body)
    if not isinstance(members, dict):
        raise Refused(MALFORMED, detail={"problem": "the body is not an object"})
    return members
