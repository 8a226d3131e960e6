"""What one issuer of tokens is believed, and what its claims are worth here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.domain.model import Principal

MAX_NAME_CHARS = 255  # as OpenID Connect has it for `sub`
MAX_SCOPES = 256
MAX_ACTORS = 8
_SCOPE = "scope"
_SCOPE_CLAIMS = (_SCOPE, "scp")  # RFC 9068, and what the larger issuers write instead


class NotGood(Exception):
    """The token is not believed; the sentence says why, and repeats nothing of the token."""


class Worth(NamedTuple):
    """One row of `roles`: whoever has *value* in *claim* has *role*."""

    claim: str
    value: str
    role: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer of the configuration. *audience* is "" where endpoints are their own audience."""

    name: str
    url: str
    audience: str
    algorithms: frozenset[str]
    roles: tuple[Worth, ...]
    tenant: str
    team: str = ""
    role_of_scope: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        scopes = {row.value: row.role for row in self.roles if row.claim == _SCOPE}
        object.__setattr__(self, "role_of_scope", scopes)

    def principal(self, claims: Mapping[str, Any], mark: str) -> Principal:
        """Whom the *claims* of a token describe; *mark* tells the token from others of its client.

        Who calls is the actor, where there is one, and the subject is whom it acts for (RFC 8693).
        Raises: NotGood.
        """
        chain = [self._named(name) for name in _chain(claims)]
        scopes = _scopes(claims)
        client = claims.get("client_id", claims.get("azp", claims["sub"]))
        return Principal(
            tenant=self.tenant,
            subject=chain[0],
            team=self.team,
            roles=frozenset(row.role for row in self.roles if _has(claims, scopes, row)),
            scopes=scopes,
            actors=tuple(chain[1:]),
            credential=f"{self._named(client)}#{mark}",
        )

    def _named(self, name: Any) -> str:
        """A name of this issuer's: no agent's, no role's and no other issuer's."""
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
            raise NotGood("a name in it is missing, empty or too long")
        if not name.isprintable() or name != name.strip():
            raise NotGood("a name in it has characters that cannot be seen")
        return f"{self.name}/{name}"


def _chain(claims: Mapping[str, Any]) -> list[Any]:
    """Who calls, then those it acts for, nearest first.

    {"sub":"alice","act":{"sub":"agent","act":{"sub":"broker"}}}  ->  agent, broker, alice
    """
    chain: list[Any] = []
    act = claims.get("act")
    while act is not None:
        if not isinstance(act, dict) or len(chain) == MAX_ACTORS:
            raise NotGood("its chain of actors is malformed or too long")
        chain.append(act.get("sub"))
        act = act.get("act")
    return [*chain, claims.get("sub")]


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    said = next((claims[name] for name in _SCOPE_CLAIMS if name in claims), "")
    scopes = said.split() if isinstance(said, str) else said
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise NotGood("its scope is neither a string nor a list of strings")
    if len(scopes) > MAX_SCOPES:
        raise NotGood("it has too many scopes")
    return frozenset(scopes)


def _has(claims: Mapping[str, Any], scopes: frozenset[str], row: Worth) -> bool:
    if row.claim == _SCOPE:
        return row.value in scopes
    said = _claim(claims, row.claim)
    return row.value in said if isinstance(said, list) else said == row.value


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or the one that dots lead to: realm_access.roles."""
    if name in claims:
        return claims[name]
    node: Any = claims
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
