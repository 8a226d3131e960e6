"""The tokens that the gateway gives out: made for agents of the registry, each entered in the log.

Imported when it is needed: see gateway.app.issuers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.config import ConfigError
from gateway.domain.model import Principal
from gateway.domain.refusal import LOG_UNAVAILABLE, Refused
from gateway.edge.endpoint import ALL
from gateway.edge.oauth.issuer import Issuer
from gateway.edge.oauth.keyset import KeySet, read_key_set
from gateway.edge.oauth.own import Own, Retired, TokenKeys
from gateway.edge.oauth.server import counter
from gateway.edge.oauth.server.assertions import Assertions
from gateway.edge.oauth.server.clients import key_name
from gateway.edge.oauth.server.grants import Office
from gateway.edge.oauth.ticket import Ticket
from gateway.edge.oauth.tokens import Tokens
from gateway.store.identity import Identity
from gateway.store.keyring import retired_token_keys
from gateway.store.ledger import LogUnavailable

MAX_KEY_FILE_BYTES = 262_144
AUTHOR = "agent:"  # others are `uid:`


class Giving:
    def __init__(self, house: House, public_url: str, issuers: tuple[Issuer, ...]) -> None:
        """Raises: ConfigError: the public keys of an agent cannot be read."""
        key_sets = dict(_key_sets(house))
        house.identity.public_keys = frozenset(
            key_name(agent, one.thumbprint) for agent, held in key_sets.items() for one in held.keys
        )
        self._house = house
        self._keys = TokenKeys(house.token_key, _retired(house))
        agents = Registered(house.identity)
        own = Own(public_url, self._keys, agents)
        token_url = public_url + counter.TOKEN
        audiences = (public_url, f"{public_url}/", token_url)
        self.tokens = Tokens(issuers, public_url + ALL.path, house.identity.withdrawn_us, own)
        self.office = Office(
            own=own,
            agents=agents,
            assertions=Assertions(key_sets, audiences, wall_us()),
            most_actors=house.config.runs.depth,
            token_url=token_url,
            others_scopes=frozenset(scope for one in issuers for scope in one.role_of_scope),
        )

    def resign(self) -> None:
        self._keys.take(self._house.token_key, _retired(self._house))

    async def enter(self, ticket: Ticket) -> None:
        """Durable when it returns. Raises: Refused: nothing is admitted, so none is given out."""
        closed_by = self._house.ledger.closed_by
        if closed_by:
            raise Refused(next(iter(closed_by.values())))
        parent = ticket.parents[0].grant.id if ticket.parents else ""
        try:
            await self._house.ledger.change(
                "token.exchange" if ticket.actors else "token.issue",
                f"{AUTHOR}{ticket.client}",
                subject=f"agent/{ticket.subject}",
                digest=mark_of(ticket.own.grant.id),
                prior=mark_of(parent) if parent else "",
                note=json.dumps(noted(ticket, parent)),
            )
        except LogUnavailable as err:
            raise Refused(LOG_UNAVAILABLE) from err


class Registered:
    """The agents of the registry, as the token endpoint asks for them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def by_key(self, key: str, now_us: int) -> Principal | None:
        return self._identity.authenticate(key, now_us)

    def by_name(self, name: str, credential: str) -> Principal | None:
        agent = self._identity.agents.get(name)
        if agent is None or agent.disabled:
            return None
        return Principal(agent.tenant, agent.name, agent.team, credential=credential)

    def key_ends_us(self, key_id: str) -> int:
        known = self._identity.keys.get(key_id)
        return known.expires_at_us if known is not None else 0

    def team(self, tenant: str, agent: str) -> str | None:
        found = self._identity.standing(tenant, agent)
        return found.team if found is not None else None


def mark_of(jti: str) -> str:
    """What the log calls a token in the clear; its account begins with the same digits."""
    return sha256(f"token\n{jti}".encode()).hexdigest()


def noted(ticket: Ticket, parent: str) -> dict[str, Any]:
    """What the entry of a token seals: all that it allows, and nothing that opens anything."""
    said = {
        "jti": ticket.own.grant.id,
        "parent": parent,
        "client": ticket.client,
        "keys": list(dict.fromkeys(link.by for link in ticket.links)),
        "tenant": ticket.tenant,
        "subject": ticket.subject,
        "actors": list(ticket.actors),
        "audience": ticket.audience,
        "scope": list(ticket.own.grant.objects),
        "budget": dict(ticket.own.grant.budget),
        "run": ticket.run,
        "issued_us": ticket.issued_s * 1_000_000,
        "ends_us": ticket.ends_s * 1_000_000,
        "chain": [link.grant.id for link in ticket.parents],
        "of": list(ticket.of),
    }
    return {name: value for name, value in said.items() if value}


def _retired(house: House) -> list[Retired]:
    folder = house.house_keys.folder
    return [(one.public, one.until_s) for one in retired_token_keys(folder) if one.public]


def _key_sets(house: House) -> Iterator[tuple[str, KeySet]]:
    for name, agent in house.config.agents.items():
        if agent.jwks:
            yield name, _key_set(name, Path(agent.jwks.removeprefix("file:")))


def _key_set(agent: str, path: Path) -> KeySet:
    """Raises: ConfigError."""
    try:
        with path.open("rb") as file:
            return read_key_set(file.read(MAX_KEY_FILE_BYTES))
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise ConfigError(
            f"agents.{agent}.jwks: {path} holds no public keys of the agent",
            str(why),
            'write a key set there: {"keys": [{"kty": "EC", "crv": "P-256", ...}]}',
        ) from err
