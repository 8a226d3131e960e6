"""The house as it looks from outside: everything read, nothing owned, with or without a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.app.wiring import all_servers, server_terms
from gateway.config import Config, Upstream
from gateway.policy.files import unbundle
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import compile as compile_policy
from gateway.policy.rules import Rule
from gateway.policy.snapshot import Snapshot, builtin_deny_all
from gateway.store.identity import DECLARED, Agent, Identity
from gateway.store.registry import Registry, registered_servers
from gateway.store.tables import reader_engine
from gateway.store.trail import NoLog, Trail, database_of


@dataclass(frozen=True, slots=True)
class Reading:
    """What is declared and what is registered, as it was at one moment."""

    config: Config
    identity: Identity
    registry: Registry
    servers: Mapping[str, Upstream]
    database: Path | None  # None: no gateway has run on this data folder yet


def read_house(config: Config) -> Reading:
    """Read it. Keys of declared agents are not looked up: a reader needs no secret.

    Raises: NotReadableHere, SchemaUnknown, NameTaken, ConfigError.
    """
    identity, registry = Identity(), Registry()
    try:
        database = database_of(config.data_dir)
    except NoLog:
        for agent, _ in _declared(config):
            identity.set_agent(agent)
        servers = config.upstreams
        _set_terms(registry, servers)
        return Reading(config, identity, registry, servers, None)
    tables = reader_engine(database)
    try:
        identity.load(tables, _declared(config))
        servers = all_servers(config, registered_servers(tables))
        _set_terms(registry, servers)
        registry.load(tables)
    finally:
        tables.dispose()
    return Reading(config, identity, registry, servers, database)


def policy_in_force(trail: Trail) -> Snapshot:
    """The policy that decides now, as the log has it: the files themselves may have changed since.

    Raises: PolicyInvalid, ValueError: what is stored cannot be read by this version.
    """
    bundle = trail.policy_bundle(trail.policy_version())
    return builtin_deny_all() if bundle is None else compile_policy(*unbundle(bundle))


def rules_of(trail: Trail, version: str) -> Sequence[Rule]:
    """The rules of one version, by index; none where it is not stored, or not readable any more."""
    bundle = trail.policy_bundle(version)
    if bundle is None:
        return ()
    try:
        return compile_policy(*unbundle(bundle)).rules
    except (PolicyInvalid, ValueError):
        return ()


def _declared(config: Config) -> Iterator[tuple[Agent, str | None]]:
    for name, agent in config.agents.items():
        found = Agent(name, agent.tenant, agent.team, agent.roles, agent.limits, False, DECLARED)
        yield found, None


def _set_terms(registry: Registry, servers: Mapping[str, Upstream]) -> None:
    for name, server in servers.items():
        registry.add_server(name, server_terms(server))
