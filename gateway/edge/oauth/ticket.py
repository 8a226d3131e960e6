"""What one token of the gateway itself says: whom it speaks for, who acts, and how much it allows.

{"iss": "https://tools.example.com", "aud": "https://tools.example.com/mcp", "jti": "9c4f0e...",
 "iat": ..., "exp": ..., "client_id": "worker", "tenant": "default", "by": "k3f2a9c10b7d4",
 "sub": "report-bot", "act": {"sub": "worker", "act": {"sub": "planner"}},
 "scope": "tool/docs/*", "budget": {"calls": 20}, "run": "run-7d1f0c2a",
 "chain": [{"jti": "52ab...", "by": "config:planner:1a2b3c4d", "scope": "tool/*"}, ...]}

`chain` are the tokens that this one came from, nearest first. `by` names the key with which a token
was obtained. `roles` and `of` are there where an issuer's token began the chain: what it proved, and
under which names it can be revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.domain.model import Grant
from gateway.domain.revocation import (
    EVERYBODYS,
    OURS,
    agent_of,
    all_tokens,
    obtained_with,
    one_token,
)
from gateway.edge.oauth.issuer import NotGood

_Said = TypeVar("_Said", str, list[Any], dict[str, Any])


@dataclass(frozen=True, slots=True)
class Link:
    """One token of a chain."""

    grant: Grant
    by: str  # id of the key with which it was obtained

    def claims(self) -> dict[str, Any]:
        said: dict[str, Any] = {"jti": self.grant.id, "by": self.by}
        if self.grant.objects:
            said["scope"] = " ".join(self.grant.objects)
        if self.grant.budget:
            said["budget"] = dict(self.grant.budget)
        return said


@dataclass(frozen=True, slots=True)
class Ticket:
    own: Link
    client: str
    tenant: str
    subject: str
    audience: str
    issued_s: int
    ends_s: int
    actors: tuple[str, ...] = ()  # nearest first
    parents: tuple[Link, ...] = ()  # nearest first
    run: str = ""
    roles: tuple[str, ...] = ()  # that an issuer's token proved of the subject
    of: tuple[str, ...] = ()  # further names under which it is revoked

    @property
    def links(self) -> tuple[Link, ...]:
        return (self.own, *self.parents)

    @property
    def grants(self) -> tuple[Grant, ...]:
        return tuple(link.grant for link in self.links)

    @property
    def names(self) -> tuple[str, ...]:
        """Everything with which the token dies, but for its own id."""
        people = (self.subject, *self.actors)
        agents = dict.fromkeys(name for name in (*people, self.client) if "/" not in name)
        return (
            EVERYBODYS,
            *map(all_tokens, people),
            *(one_token(OURS, link.grant.id) for link in self.parents),
            *(agent_of(self.tenant, name) for name in agents),
            *dict.fromkeys(obtained_with(link.by) for link in self.links),
            *self.of,
        )

    def claims(self, issuer: str) -> dict[str, Any]:
        said: dict[str, Any] = {
            "iss": issuer,
            "aud": self.audience,
            "sub": self.subject,
            "iat": self.issued_s,
            "exp": self.ends_s,
            "client_id": self.client,
            "tenant": self.tenant,
            **self.own.claims(),
        }
        actor: dict[str, Any] = {}
        for name in reversed(self.actors):  # RFC 8693 s4.1: the nearest holds those before it
            actor = {"sub": name, **({"act": actor} if actor else {})}
        more = {
            "act": actor,
            "run": self.run,
            "chain": [link.claims() for link in self.parents],
            "roles": list(self.roles),
            "of": list(self.of),
        }
        return said | {name: value for name, value in more.items() if value}


def read_ticket(claims: Mapping[str, Any]) -> Ticket:
    """The ticket that was signed as *claims*. Raises: NotGood: no such thing was ever signed."""
    actors, act = [], _said(claims, "act", {})
    while act:
        actors.append(_said(act, "sub", ""))
        act = _said(act, "act", {})
    issued, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(ends, int):
        raise NotGood("it is none of the gateway's: it says no times")
    return Ticket(
        own=_link(claims),
        client=_said(claims, "client_id", ""),
        tenant=_said(claims, "tenant", ""),
        subject=_said(claims, "sub", ""),
        audience=_said(claims, "aud", ""),
        issued_s=issued,
        ends_s=ends,
        actors=tuple(actors),
        parents=tuple(_link(said) for said in _said(claims, "chain", [])),
        run=_said(claims, "run", ""),
        roles=tuple(_said(claims, "roles", [])),
        of=tuple(_said(claims, "of", [])),
    )


def _link(claims: Any) -> Link:
    if not isinstance(claims, dict):
        raise NotGood("it is none of the gateway's: its chain is broken")
    budget = tuple(sorted(_said(claims, "budget", {}).items()))
    objects = tuple(_said(claims, "scope", "").split())
    grant = Grant(_said(claims, "jti", ""), objects, budget)
    link = Link(grant, _said(claims, "by", ""))
    if not grant.id or not link.by:
        raise NotGood("it is none of the gateway's: a link of its chain has no id")
    return link


def _said(claims: Mapping[str, Any], name: str, none: _Said) -> _Said:
    value = claims.get(name, none)
    if type(value) is not type(none):
        raise NotGood("it is none of the gateway's: a claim is of another type")
    return value
