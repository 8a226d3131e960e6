"""Which agents administer: what is not handed out, and not taken away, by those who make keys."""

from __future__ import annotations

from gateway.domain.model import Principal
from gateway.edge.api.routes import RIGHTS
from gateway.policy.snapshot import Snapshot
from gateway.store.identity import Agent


def right_of(agent: Agent, policy: Snapshot) -> str:
    """A right of the API that *agent* has, whatever it depends on: `read admin/keys`; "": none."""
    who = Principal(agent.tenant, agent.name, agent.team)
    for noun, act in RIGHTS:
        ruling = policy.ruling(who, act, f"admin/{noun}")
        if ruling is not None and (ruling.allow >= 0 or ruling.allows):
            return f"{act} admin/{noun}"
    return ""
