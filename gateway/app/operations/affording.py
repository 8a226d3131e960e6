"""Whether a budget covers one call at all: what its result may be at most is held before it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.config import Config, Model, Peer, Upstream
from gateway.domain.budget import Limits
from gateway.store.identity import Agent
from gateway.store.pins import DEFAULT_RESULT_TOKENS


def unaffordable(
    config: Config, agents: Iterable[Agent], servers: Mapping[str, Upstream]
) -> Iterator[str]:
    """A sentence for each budget that no call of any tool fits in."""
    limits = {f"agents.{agent.name}": agent.limits for agent in agents}
    limits |= {f"teams.{name}": team.limits for name, team in config.teams.items()}
    limits |= {f"tenants.{name}": tenant.limits for name, tenant in config.tenants.items()}
    for place, one in limits.items():
        yield from _too_small(place, one, servers.values())
    for name, server in servers.items():
        place = f"peers.{name}" if isinstance(server, Peer) else f"servers.{name}.limits"
        yield from _too_small(place, server.limits, [server])


def too_small(agent: Agent, servers: Iterable[Upstream]) -> Iterator[str]:
    """The same of one agent."""
    return _too_small(f"agents.{agent.name}", agent.limits, servers)


def _too_small(place: str, limits: Limits | None, servers: Iterable[Upstream]) -> Iterator[str]:
    results = [tokens for server in servers for tokens in _held(server)]
    held_tokens = min(results, default=DEFAULT_RESULT_TOKENS)
    for (meter, window), amount in limits.budgets.items() if limits else ():
        if meter == "tokens" and amount < held_tokens:
            yield (
                f"{place}.budget: {amount} tokens per {window} cover no call, because "
                f"{held_tokens} and more are held for each until its result is known "
                "(give more, or lower max_result_tokens of the servers)"
            )


def _held(server: Upstream) -> Iterator[int]:
    """What can be the least that is held for a call."""
    if isinstance(server, Model):
        yield 1  # a request may ask for no more
    else:
        yield from (tokens for _, tokens in server.max_result_tokens)
