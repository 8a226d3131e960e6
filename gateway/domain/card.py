"""The card of another agent (A2A 1.0 s8): read strictly, judged, and made into tools.

Only members that the protocol knows are kept: what is not signed, or means nothing, is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.domain.a2a import HTTP_JSON, JSONRPC
from gateway.domain.jcs import MAX_DEPTH, NotCanonical, canonical_json

MAX_CARD_BYTES = 262_144
MAX_SKILLS = 500
MAX_SIGNATURES = 8
META = "io.customhouse/a2a"
_SKILL_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # "*" would stand for every skill in policy
_MAX_DESCRIPTION_CHARS = 4_000
_MAX_EXAMPLES = 5
_MAX_EXAMPLE_CHARS = 300
_MAX_TAGS = 20

# The messages of the protocol, by their members; None: taken as it is.
_TEXTS: list[Any] = [None]
_REQUIREMENTS = [{"schemes": {"*": {"list": _TEXTS}}}]
_FLOW = {
    "authorizationUrl": None,
    "deviceAuthorizationUrl": None,
    "tokenUrl": None,
    "refreshUrl": None,
    "scopes": {"*": None},
    "pkceRequired": None,
}
_FLOWS = ("authorizationCode", "clientCredentials", "implicit", "password", "deviceCode")
_SCHEME = {
    "apiKeySecurityScheme": {"description": None, "location": None, "name": None},
    "httpAuthSecurityScheme": {"description": None, "scheme": None, "bearerFormat": None},
    "oauth2SecurityScheme": {
        "description": None,
        "flows": dict.fromkeys(_FLOWS, _FLOW),
        "oauth2MetadataUrl": None,
    },
    "openIdConnectSecurityScheme": {"description": None, "openIdConnectUrl": None},
    "mtlsSecurityScheme": {"description": None},
}
_SKILL = {
    "id": None,
    "name": None,
    "description": None,
    "tags": _TEXTS,
    "examples": _TEXTS,
    "inputModes": _TEXTS,
    "outputModes": _TEXTS,
    "securityRequirements": _REQUIREMENTS,
}
_CARD = {
    "name": None,
    "description": None,
    "supportedInterfaces": [
        {"url": None, "protocolBinding": None, "tenant": None, "protocolVersion": None}
    ],
    "provider": {"url": None, "organization": None},
    "version": None,
    "documentationUrl": None,
    "capabilities": {
        "streaming": None,
        "pushNotifications": None,
        "extensions": [{"uri": None, "description": None, "required": None, "params": None}],
        "extendedAgentCard": None,
    },
    "securitySchemes": {"*": _SCHEME},
    "securityRequirements": _REQUIREMENTS,
    "defaultInputModes": _TEXTS,
    "defaultOutputModes": _TEXTS,
    "skills": [_SKILL],
    "signatures": [{"protected": None, "signature": None, "header": None}],
    "iconUrl": None,
}


class BadCard(ValueError):
    """The card cannot be used; one sentence says why, and holds nothing of it but short names."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One place at which an agent is asked, and how."""

    url: str
    binding: str
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """A JWS whose payload is the card (s8.4.2); both parts base64url, as they came."""

    protected: str
    signature: str


@dataclass(frozen=True, slots=True)
class Card:
    members: Mapping[str, Any]  # those the protocol knows, without the signatures
    signatures: tuple[Signature, ...]
    interface: Interface  # the one that is used

    @property
    def capabilities(self) -> Mapping[str, Any]:
        found = self.members.get("capabilities", {})
        return found if isinstance(found, dict) else {}

    @property
    def streams(self) -> bool:
        return self.capabilities.get("streaming") is True


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an approved definition says of how its agent is asked."""

    interface: Interface
    streams: bool


def read_card(body: bytes) -> Card:
    """The card in *body*. Raises: BadCard."""
    members = _known(_strict(body), _CARD, "the card")
    raw = members.pop("signatures", [])
    if len(raw) > MAX_SIGNATURES:
        raise BadCard(f"it has more than {MAX_SIGNATURES} signatures")
    name = members.get("name")
    if not isinstance(name, str) or not name:
        raise BadCard("it has no name")
    skills = members.get("skills", [])
    if not skills or len(skills) > MAX_SKILLS:
        raise BadCard(f"it has {len(skills)} skills; 1 to {MAX_SKILLS} can be used")
    signatures = tuple(_signature(one) for one in raw)
    try:
        canonical_json(members)  # as it is pinned, listed and signed, skills and all
    except NotCanonical as err:
        raise BadCard(f"it has no canonical form: {err}") from None
    return Card(members, signatures, _chosen(members.get("supportedInterfaces", [])))


def signing_payload(members: Mapping[str, Any]) -> bytes:
    """What a signature of ours over a card is over: without members that are empty.

    Raises: NotCanonical.
    """
    return canonical_json(_filled({**members, "signatures": None}))


def signed_payloads(card: Card) -> tuple[bytes, ...]:
    """What a signature may be over: the card without members that are empty, or as it is said.

    The protocol wants defaults removed and required members kept (s8.4.1); its own SDK removes
    every empty member. Raises: BadCard: it has no canonical form.
    """
    try:
        return signing_payload(card.members), canonical_json(card.members)
    except NotCanonical as err:
        raise BadCard(f"it has no canonical form: {err}") from None


def card_text(card: Card) -> str:
    """The card without its skills, and the interface that is used: what is pinned of the agent."""
    members = {name: value for name, value in card.members.items() if name != "skills"}
    return canonical_json({**members, "interface": _told(card)}).decode()


def skills_as_tools(card: Card) -> list[dict[str, Any]]:
    """A tool for each skill. One whose id cannot be used has no name, which is its fault."""
    return [_tool(card, skill) for skill in card.members["skills"]]


def card_members(body: bytes) -> dict[str, Any]:
    """The card that the definition *body* of a peer was made of, without its skills."""
    members: dict[str, Any] = json.loads(json.loads(body)["instructions"])
    members.pop("interface", None)
    return members


def skill_of(body: bytes) -> dict[str, Any]:
    """The skill that the definition *body* was made of."""
    skill: dict[str, Any] = json.loads(body)["_meta"][META]["skill"]
    return skill


def pinned(body: bytes) -> Pinned | None:
    """What the definition *body* of a skill, or of a peer, says of its agent; None: nothing."""
    try:
        said: Any = json.loads(body)
        if "_meta" in said:
            place = said["_meta"][META]["interface"]
        else:
            place = json.loads(said["instructions"])["interface"]
        interface = Interface(place["url"], place["binding"], place["tenant"])
        return Pinned(interface, place["streams"] is True)
    except (ValueError, KeyError, TypeError):
        return None


# -- reading --------------------------------------------------------------------------------------
def _strict(body: bytes) -> Any:
    if len(body) > MAX_CARD_BYTES:
        raise BadCard(f"it has more than {MAX_CARD_BYTES} bytes")
    try:
        return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise BadCard("it is nested too deeply") from None
    except BadCard:
        raise
    except ValueError:
        raise BadCard("it is not JSON in UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadCard("a member is there twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise BadCard(f"{name} is not JSON")


def _known(value: Any, shape: Any, where: str) -> Any:
    """What of *value* the protocol knows. Raises: BadCard: a part is of another type."""
    if shape is None:
        return _bounded(value)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise BadCard(f"{where} is not a list")
        return [_known(one, shape[0], where) for one in value]
    if not isinstance(value, dict):
        raise BadCard(f"{where} is not an object")
    shapes = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
    return {
        name: _known(value[name], inner, name[:40])
        for name, inner in shapes.items()
        if value.get(name) is not None
    }


def _bounded(value: Any) -> Any:
    pending = [(value, 8)]  # as deep as the shapes around it may be
    while pending:
        one, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise BadCard(f"it is nested more than {MAX_DEPTH} deep")
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        pending.extend((part, depth + 1) for part in inner)
    return value


def _signature(raw: Mapping[str, Any]) -> Signature:
    protected, signature = raw.get("protected"), raw.get("signature")
    if not isinstance(protected, str) or not isinstance(signature, str):
        raise BadCard("a signature is incomplete")
    return Signature(protected, signature)


def _chosen(interfaces: list[Mapping[str, Any]]) -> Interface:
    """The one that is used: JSON-RPC before HTTP+JSON, of protocol version 1."""
    for binding in (JSONRPC, HTTP_JSON):
        for one in interfaces:
            url, tenant = one.get("url"), one.get("tenant", "")
            version = str(one.get("protocolVersion", ""))
            usable = isinstance(url, str) and isinstance(tenant, str)
            if usable and one.get("protocolBinding") == binding and version.split(".")[0] == "1":
                return Interface(str(url), binding, str(tenant))
    raise BadCard(
        "it offers no interface that can be used; needed is JSONRPC or HTTP+JSON of version 1.0"
    )


def _filled(value: Any) -> Any:
    """*value* without members and entries that are empty texts, lists or objects."""
    if isinstance(value, Mapping):
        found = {name: _filled(one) for name, one in value.items()}
        return {name: one for name, one in found.items() if not _is_empty(one)}
    if isinstance(value, list):
        return [one for one in map(_filled, value) if not _is_empty(one)]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, dict)) and not value)


# -- tools ----------------------------------------------------------------------------------------
def _told(card: Card) -> dict[str, Any]:
    place = card.interface
    return {
        "url": place.url,
        "binding": place.binding,
        "tenant": place.tenant,
        "streams": card.streams,
    }


def _tool(card: Card, skill: Mapping[str, Any]) -> dict[str, Any]:
    name = skill.get("id")
    tool: dict[str, Any] = {
        "title": _text(skill.get("name")),
        "description": _description(skill),
        "inputSchema": _INPUT,
        "annotations": {"openWorldHint": True},
        "_meta": {META: {"interface": _told(card), "skill": dict(skill)}},
    }
    return {"name": name, **tool} if isinstance(name, str) and _SKILL_ID.fullmatch(name) else tool


# Whether there is a message or data is looked at when it is called: model providers refuse schemas
# that begin with anyOf.
_INPUT = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What to ask the agent, in plain text."},
        "data": {"type": "object", "description": "Structured input for the agent."},
        "taskId": {
            "type": "string",
            "maxLength": 200,
            "description": "To continue a task that asked for input: its taskId.",
        },
        "contextId": {
            "type": "string",
            "maxLength": 200,
            "description": "To stay in a conversation: the contextId of an earlier answer.",
        },
    },
    "additionalProperties": False,
}


def _description(skill: Mapping[str, Any]) -> str:
    said = [_text(skill.get("description"))[:_MAX_DESCRIPTION_CHARS]]
    tags = _some(skill.get("tags"), _MAX_TAGS)
    examples = _some(skill.get("examples"), _MAX_EXAMPLES)
    if tags:
        said.append("Tags: " + ", ".join(tags))
    if examples:
        said.append("Examples: " + " | ".join(examples))
    return "\n".join(part for part in said if part)


def _some(raw: Any, most: int) -> list[str]:
    found = raw if isinstance(raw, list) else []
    return [_text(one)[:_MAX_EXAMPLE_CHARS] for one in found[:most] if _text(one)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
