"""The card of a peer as its callers get it: ours in every place where it leads somewhere.

What the agent says of itself stays. Where it is asked, how one proves who one is, and which skills
there are for this caller is the gateway's to say, and so is the signature: a JWS (RFC 7515) over the
card in its canonical form (RFC 8785), by the key that /.well-known/jwks.json has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.a2a import HTTP_JSON, JSONRPC, VERSION, encoded
from gateway.domain.card import card_members, signing_payload, skill_of
from gateway.domain.model import Definition
from gateway.edge.a2a.asked import PREFIX

JWKS = "/.well-known/jwks.json"
_BEARER = "bearer"
_LINKS = ("documentationUrl", "iconUrl")
_NOT_SAID = ("supportedInterfaces", "securitySchemes", "securityRequirements", "signatures")


@dataclass(frozen=True, slots=True)
class Press:
    """What makes cards. *sign*: of a key set's URL and a payload, the two parts of its JWS."""

    base: str
    sign: Callable[[str, bytes], tuple[str, str]]
    issuers: tuple[str, ...] = ()  # whose tokens are taken, beside keys

    def body(self, peer: str, pinned: Definition, skills: Sequence[Definition]) -> bytes:
        """The card of *peer* for whoever may use *skills*, signed."""
        members = _shown(card_members(pinned.body), peer, self)
        members["skills"] = [_skill(one) for one in skills]
        protected, signature = self.sign(self.base + JWKS, signing_payload(members))
        signatures = [{"protected": protected, "signature": signature}]
        return encoded({**members, "signatures": signatures})


def has_extended(pinned: Definition) -> bool:
    """Whether the agent says that it has a card for those it knows."""
    capabilities = card_members(pinned.body).get("capabilities")
    return isinstance(capabilities, dict) and capabilities.get("extendedAgentCard") is True


def _shown(members: dict[str, Any], peer: str, press: Press) -> dict[str, Any]:
    url = f"{press.base}{PREFIX}{peer}"
    shown = {name: value for name, value in members.items() if name not in _NOT_SAID}
    shown = {name: value for name, value in shown.items() if name not in _LINKS or _is_link(value)}
    provider = shown.get("provider")
    if isinstance(provider, dict) and not _is_link(provider.get("url")):
        shown["provider"] = {name: value for name, value in provider.items() if name != "url"}
    shown["capabilities"] = _capabilities(shown.get("capabilities"))
    shown["supportedInterfaces"] = [
        {"url": url, "protocolBinding": binding, "protocolVersion": VERSION}
        for binding in (JSONRPC, HTTP_JSON)
    ]
    schemes: dict[str, Any] = {_BEARER: {"httpAuthSecurityScheme": {"scheme": "Bearer"}}}
    for number, issuer in enumerate(press.issuers, 1):
        known = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        schemes[f"issuer{number}"] = {"openIdConnectSecurityScheme": {"openIdConnectUrl": known}}
    shown["securitySchemes"] = schemes
    shown["securityRequirements"] = [{"schemes": {name: {}}} for name in schemes]
    return shown


def _is_link(said: Any) -> bool:
    """Whether a caller may show it to a person, or fetch it: no script, nothing in the clear."""
    return isinstance(said, str) and said.startswith("https://")


def _capabilities(said: Any) -> dict[str, Any]:
    """A default that is said is no part of what a reader of the protocol sees signed."""
    told = dict(said) if isinstance(said, dict) else {}
    listed = told.get("extensions")
    if isinstance(listed, list):
        told["extensions"] = [
            {name: value for name, value in one.items() if (name, value) != ("required", False)}
            for one in listed
        ]
    return told


def _skill(definition: Definition) -> dict[str, Any]:
    skill = skill_of(definition.body)
    return {name: value for name, value in skill.items() if name != "securityRequirements"}
