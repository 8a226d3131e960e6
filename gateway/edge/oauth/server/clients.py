"""The clients of the token endpoint are the agents of the registry: how each proves who it is.

client_secret_basic, client_secret_post   its name, and one of its API keys
private_key_jwt                           a JWT that it signed with a key of its `jwks`
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

from gateway.domain.model import Principal
from gateway.edge.oauth.issuer import NotGood
from gateway.edge.oauth.server import wire
from gateway.edge.oauth.server.assertions import Assertions
from gateway.edge.oauth.server.narrowing import Client
from gateway.edge.oauth.server.wanted import malformed

Answer = tuple[int, Any, list[tuple[str, str]]]  # status, members of a JSON object, headers


class Agents(Protocol):
    """Who is registered. In memory; asked from other threads than that of the event loop."""

    def by_key(self, key: str, now_us: int) -> Principal | None:
        """The agent whose API key that is, if it may come in."""
        ...

    def by_name(self, name: str, credential: str) -> Principal | None:
        """The agent of that name, if it may come in; *credential*: with what it proved itself."""
        ...

    def key_ends_us(self, key_id: str) -> int:
        """When an API key ends; 0: never."""
        ...


@dataclass(slots=True)
class Asking:
    """One request of the token endpoint."""

    form: Mapping[str, str]
    authorization: str
    now_us: int
    client: Client | None = None  # once it is proved
    made: Any = None  # the ticket, and the token that says it


@dataclass(slots=True)
class Claimant:
    """Whoever says to be the client of that name. Of those that are not there one is made, too: who
    tries names learns nothing by the answer."""

    name: str
    asking: Asking
    agents: Agents = field(repr=False)

    def check_client_secret(self, secret: str) -> bool:
        principal = self.agents.by_key(secret, self.asking.now_us)
        if principal is None or principal.subject != self.name:
            return False
        ends_us = self.agents.key_ends_us(principal.credential)
        self.asking.client = Client(principal, principal.credential, ends_us // 1_000_000)
        return True

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method in wire.METHODS

    def check_grant_type(self, _grant_type: str) -> bool:
        return True


def key_name(agent: str, thumbprint: str) -> str:
    """What a public key of an agent is called where others have the id of an API key."""
    return f"jwks:{agent}:{thumbprint}"


def by_assertion(assertions: Assertions, agents: Agents, asking: Asking) -> Claimant | None:
    """The client that a signed assertion proves, or None."""
    form = asking.form
    if form.get("client_assertion_type") != wire.ASSERTION or "client_assertion" not in form:
        return None
    try:
        name, key = assertions.proved(form["client_assertion"], asking.now_us)
    except NotGood:
        return None
    key_id = key_name(name, key.thumbprint)
    principal = agents.by_name(name, key_id)
    if principal is None or form.get("client_id", name) != name:
        return None
    asking.client = Client(principal, key_id, 0)
    return Claimant(name, asking, agents)


def check_credentials(asking: Asking) -> None:
    """Raises: Unfit: more than one way to prove oneself (RFC 6749 s2.3), or a header of another sort."""
    form = asking.form
    ways = [bool(asking.authorization), "client_secret" in form, "client_assertion" in form]
    if sum(ways) > 1:
        raise malformed("A client proves itself in one way, not in several at once.")


def is_basic(authorization: str) -> bool:
    """Whether it can be read as RFC 7617 has it."""
    return ":" in _basic(authorization)


def secret_in(form: Mapping[str, str], authorization: str) -> str:
    """The secret with which somebody comes; "" when there is none."""
    return form.get("client_secret") or unquote(_basic(authorization).partition(":")[2])


def _basic(authorization: str) -> str:
    scheme, _, said = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(said.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
