"""The issuers of the configuration at work: their keys kept fresh, their tokens believed.

Imported where there are issuers only: what reads tokens costs start-up time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.edge.endpoint import ALL
from gateway.edge.oauth.issuer import Issuer, Worth
from gateway.edge.oauth.resource import OAuth
from gateway.edge.oauth.tokens import Tokens
from gateway.jobs.jwks import KeySets, Source


@dataclass(frozen=True, slots=True)
class Issuing:
    oauth: OAuth
    key_sets: KeySets


def at_work(house: House, address: str) -> Issuing:
    """Everything about the issuers of *house*, which clients reach at *address* if not told."""
    config = house.config
    public_url = config.public_url or address
    issuers = tuple(
        Issuer(
            name,
            issuer.url,
            issuer.audience,
            frozenset(issuer.algorithms),
            tuple(Worth(*row) for row in issuer.roles),
            issuer.tenant,
            issuer.team,
        )
        for name, issuer in config.issuers.items()
    )
    tokens = Tokens(issuers, public_url + ALL.path, house.identity.revoked_us)
    sources = {name: Source(issuer.url, issuer.jwks) for name, issuer in config.issuers.items()}
    key_sets = KeySets(sources, tokens.take_keys, wall_us)
    oauth = OAuth(public_url, issuers, tokens, house.identity, house.policies.decide, key_sets.want)
    return Issuing(oauth, key_sets)
