"""Whether a budget covers one call at all: what it may come to at most is held before it is made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from gateway.config import Config, Model, Server, Upstream
from gateway.domain.budget import Limits
from gateway.domain.model_meter import cost_of
from gateway.store.identity import Agent
from gateway.store.pins import DEFAULT_RESULT_TOKENS

# Meter -> the calls that are covered or not, and what to change.
_OF = {
    "tokens": (
        "no call",
        "give more, or lower max_result_tokens; of a model, less may be asked for",
    ),
    "cost": ("no call that costs anything", "give more: it is in millionths, as prices are"),
}


def unaffordable(
    config: Config, agents: Iterable[Agent], servers: Mapping[str, Upstream]
) -> Iterator[str]:
    """A sentence for each budget that covers no call of anything that it could pay for.

    That of a model which asks for fewer tokens than max_result_tokens may be covered all the same.
    """
    limits = {f"agents.{agent.name}": agent.limits for agent in agents}
    limits |= {f"teams.{name}": team.limits for name, team in config.teams.items()}
    limits |= {f"tenants.{name}": tenant.limits for name, tenant in config.tenants.items()}
    for place, one in limits.items():
        yield from _too_small(place, one, servers.values())
    for name, server in servers.items():
        yield from _too_small(_place(name, server), server.limits, [server])
    runs = {"tokens": config.runs.tokens, "cost": config.runs.cost}
    for meter, amount in runs.items():
        if amount:  # 0: no limit
            yield from _short(f"runs.{meter}", meter, (amount, "run"), servers.values())


def too_small(agent: Agent, servers: Iterable[Upstream]) -> Iterator[str]:
    """The same of one agent."""
    return _too_small(f"agents.{agent.name}", agent.limits, list(servers))


def _place(name: str, server: Upstream) -> str:
    """Where the limits of *server* stand in the file."""
    if isinstance(server, Server):
        return f"servers.{name}.limits"
    return f"models.{name}" if isinstance(server, Model) else f"peers.{name}"


def _too_small(place: str, limits: Limits | None, servers: Collection[Upstream]) -> Iterator[str]:
    for (meter, window), amount in limits.budgets.items() if limits else ():
        yield from _short(f"{place}.budget", meter, (amount, window), servers)


def _short(
    place: str, meter: str, limit: tuple[int, str], servers: Collection[Upstream]
) -> Iterator[str]:
    amount, window = limit
    held = _least_held(meter, servers)
    if amount < held:
        calls, how = _OF[meter]
        yield (
            f"{place}: {amount} {meter} per {window} cover {calls}, because "
            f"{held} and more are held for each until its result is known ({how})"
        )


def _least_held(meter: str, servers: Collection[Upstream]) -> int:
    """The least that is held for a call of one of *servers* that holds anything; else 0.

    Of *servers* that are none at all, what would be held for those that are still to come.
    """
    if meter == "tokens":
        results = [tokens for server in servers for tokens in _results(server)]
        return min(results, default=DEFAULT_RESULT_TOKENS)
    if meter == "cost":  # what costs nothing is paid for by no budget
        costs = [cost for server in servers for cost in _costs(server)]
        return min(filter(None, costs), default=0)
    return 0


def _results(server: Upstream) -> Iterator[int]:
    """Of a model, what is imposed on a request that asks for nothing else."""
    if isinstance(server, Model):
        yield server.max_result_tokens
    else:
        yield from (tokens for _, tokens in server.max_result_tokens)


def _costs(server: Upstream) -> Iterator[int]:
    """Of a model, that answer without a prompt."""
    if isinstance(server, Model):
        yield cost_of(0, server.max_result_tokens, server.terms)
    else:
        yield from (price for _, price in server.price)
