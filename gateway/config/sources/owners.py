"""Whose the gateway's secrets are: a server of somebody else's file gets none that another one has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.config.secrets import is_reference
from gateway.config.sources.candidate import Candidate
from gateway.config.values import Agent, Upstream


def unless_taken(
    one: Candidate,
    own: Mapping[str, Any],
    agents: Mapping[str, Agent],
    servers: Mapping[str, Upstream],
) -> Candidate:
    """*one*, or why it is left out: it would be sent a secret of an agent or of another server.

    *own*: what a person gave in place of keys of its table; a person may mean one secret for two.
    """
    kept = {key: value for key, value in one.table.items() if key not in own}
    if "env" in one.table:
        kept["env"] = {
            key: value for key, value in one.table["env"].items() if key not in own.get("env", {})
        }
    whose = dict(_owners(one.name, agents, servers))
    for reference in replace(one, table=kept).references:
        if reference in whose:
            why = f"{reference} is the secret of {whose[reference]}, and this is another server"
            return replace(one, table={}, left_out=why)
    return one


def _owners(
    name: str, agents: Mapping[str, Agent], servers: Mapping[str, Upstream]
) -> Iterator[tuple[str, str]]:
    """Each reference that is in use, but by the server *name* itself, and who uses it."""
    for called, agent in agents.items():
        if agent.key:
            yield agent.key, f"agent {called}"
    for called, server in servers.items():
        for value in server.references:
            if called != name and is_reference(value):
                yield value, f"server {called}"
