"""Tokens at work: those of the issuers of the configuration, and those that the gateway gives out.

What reads tokens costs start-up time and memory. It is imported where there are issuers or agents
with public keys; else with the first token that is asked for, or shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.edge.oauth.issuer import Issuer, Worth
from gateway.edge.oauth.resource import OAuth
from gateway.edge.oauth.server.counter import Backroom, TokenCounter
from gateway.edge.oauth.ticket import Ticket
from gateway.jobs.jwks import KeySets, Source

if TYPE_CHECKING:  # see above
    from gateway.app.giving import Giving
    from gateway.edge.oauth.server.grants import Office
    from gateway.edge.oauth.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Issuing:
    oauth: OAuth
    key_sets: KeySets
    counter: TokenCounter


def at_work(house: House, address: str) -> Issuing:
    """Everything about tokens of *house*, which clients reach at *address* if not told.

    Raises: ConfigError: the public keys of an agent cannot be read.
    """
    public_url = house.config.public_url or address
    issuers = _issuers(house)
    has_keys = any(agent.jwks for agent in house.config.agents.values())
    later = _Later(house, public_url, issuers)
    if issuers or has_keys:
        later.giving()
    house.resign = later.resign
    sources = {n: Source(one.url, one.jwks) for n, one in house.config.issuers.items()}
    key_sets = KeySets(sources, lambda *taken: later.tokens().take_keys(*taken), wall_us)
    oauth = OAuth(
        public_url,
        issuers,
        later.tokens,
        house.identity,
        house.policies.decide,
        key_sets.want,
        is_told=bool(issuers) or has_keys,
    )
    backroom = Backroom(
        url=public_url,
        office=later.office,
        tokens=later.tokens,
        enter=later.enter,
        renewed=oauth.renewed,
        pipeline=house.pipeline,
        clock=wall_us,
    )
    return Issuing(oauth, key_sets, TokenCounter(backroom))


class _Later:
    """Makes what tokens are read and made with when it is needed; in whichever thread comes first."""

    def __init__(self, house: House, public_url: str, issuers: tuple[Issuer, ...]) -> None:
        self._house = house
        self._public_url = public_url
        self._issuers = issuers
        self._lock = Lock()
        self._giving: Giving | None = None

    def giving(self) -> Giving:
        with self._lock:
            if self._giving is None:
                from gateway.app.giving import Giving

                self._giving = Giving(self._house, self._public_url, self._issuers)
            return self._giving

    def office(self) -> Office:
        return self.giving().office

    def tokens(self) -> Tokens:
        return self.giving().tokens

    async def enter(self, ticket: Ticket) -> None:
        await self.giving().enter(ticket)

    def resign(self) -> None:
        """The house has another key for tokens; whoever comes first takes it by itself."""
        if self._giving is not None:
            self._giving.resign()


def _issuers(house: House) -> tuple[Issuer, ...]:
    return tuple(
        Issuer(
            name,
            issuer.url,
            issuer.audience,
            frozenset(issuer.algorithms),
            tuple(Worth(*row) for row in issuer.roles),
            issuer.tenant,
            issuer.team,
        )
        for name, issuer in house.config.issuers.items()
    )
