"""Agents: who may knock, and in which roles. Their roles are part of the policy's version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.app.house import House, policy_effect
from gateway.app.operations.affording import too_small
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, conflict, enter, unknown
from gateway.app.operations.showing import agent_rows, limits_said
from gateway.app.operations.slips import idle_roles
from gateway.config import kinds
from gateway.domain.budget import Limits
from gateway.domain.names import is_name
from gateway.domain.operator import OperationRefused, usage
from gateway.policy import cases
from gateway.policy.files import Binding
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import Loaded
from gateway.policy.load import compile as compile_policy
from gateway.store.identity import DECLARED, REMOVED, Agent, agent_effect, key_effect
from gateway.store.pseudonyms import SUBJECT
from gateway.store.writer import Effect

DEFAULT_TENANT = "default"


async def add(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Register an agent. The roles it is given bind it in a new version of the policy."""
    args = Args(given, "name", "tenant", "team", "roles", "rate", "budget", "reason")
    agent = _agent(house, args)
    if agent.name in house.identity.agents:
        raise conflict(
            f"agent {agent.name} exists already",
            f"it comes from the {house.identity.agents[agent.name].origin}",
            "choose another name, or see: customhouse agent list",
        )
    await _take_in(house, "agent.add", author, agent, args.text("reason", ""))
    return {
        "name": agent.name,
        "policy": house.policies.current.version,
        "remarks": [
            *idle_roles(house.policies.current, agent.roles),
            *too_small(agent, house.servers.values()),
        ],
    }


async def listed(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Every agent as this process lets it in: the file may say something else by now."""
    del author
    Args(given)
    return agent_rows(house)


async def limit(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Change an agent's rate, its budgets, or both, from its next call on; *clear* takes them away.

    What is not said stays as it is. What was spent stays spent.
    """
    args = Args(given, "name", "rate", "budget", "clear", "reason")
    agent = _registered(house, args.text("name"))
    held, said = agent.limits or Limits(), _limits(args) or Limits()
    cleared = _cleared(args.texts("clear"), said)
    rate = None if "rate" in cleared else said.rate or held.rate
    budgets = {} if "budget" in cleared else said.budgets or held.budgets
    changed = replace(agent, limits=Limits(rate, budgets) if rate or budgets else None)
    done = {"name": agent.name, "limits": limits_said(changed.limits)}
    if changed.limits == agent.limits:
        return {**done, "changed": False}
    change = Change(
        "agent.limit",
        author,
        subject=_subject(agent),
        note=args.text("reason", ""),
        effects=(agent_effect(changed),),
    )

    def apply() -> None:
        house.identity.set_agent(changed)
        if rate is not None:
            account = house.ledger.pseudonyms.known(SUBJECT, agent.name)
            house.ledger.counters.relimit(account, rate, house.ledger.log.stamp())

    await enter(house, change, apply)
    return {**done, "changed": True, "remarks": [*too_small(changed, house.servers.values())]}


async def grant(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Give an agent one more role."""
    args = Args(given, "name", "role", "reason")
    agent, role = _registered(house, args.text("name")), _name(args.text("role"), "role")
    if role in agent.roles:
        return {"name": agent.name, "roles": sorted(agent.roles), "changed": False}
    if role in house.identity.agents:
        raise _agent_and_role(role)
    changed = replace(agent, roles=tuple(sorted({*agent.roles, role})))
    await _take_in(house, "agent.grant", author, changed, args.text("reason", ""))
    return {
        "name": agent.name,
        "roles": list(changed.roles),
        "changed": True,
        "remarks": [*idle_roles(house.policies.current, (role,))],
    }


async def withdraw(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Take a role from an agent."""
    args = Args(given, "name", "role", "reason")
    agent, role = _registered(house, args.text("name")), args.text("role")
    if role not in agent.roles:
        return {"name": agent.name, "roles": sorted(agent.roles), "changed": False}
    changed = replace(agent, roles=tuple(r for r in agent.roles if r != role))
    await _take_in(house, "agent.withdraw", author, changed, args.text("reason", ""))
    return {"name": agent.name, "roles": list(changed.roles), "changed": True}


async def remove(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Forget an agent: its roles go, and its keys are revoked, in one commit."""
    args = Args(given, "name", "reason")
    agent = _known(house, args.text("name"))
    if agent.origin == DECLARED:
        raise conflict(
            f"agent {agent.name} is declared in the configuration file",
            "what a command removed would be back at the next start",
            f"take it out of the file; until then: customhouse agent disable {agent.name}",
        )
    rebound = await rebind(house, replace(agent, roles=()))
    now_us = house.ledger.log.stamp()
    live = [k for k in house.identity.keys.values() if k.agent == agent.name]
    dead = [replace(key, revoked_at_us=now_us) for key in live if not key.revoked_at_us]
    change = Change(
        "agent.remove",
        author,
        subject=_subject(agent),
        digest=rebound.loaded.snapshot.version if rebound else "",
        prior=rebound.prior if rebound else "",
        note=args.text("reason", ""),
        effects=(
            agent_effect(Agent(agent.name, agent.tenant, origin=REMOVED)),
            *map(key_effect, dead),
            *((rebound.effect(),) if rebound else ()),
        ),
    )

    def apply() -> None:
        for key in dead:
            house.identity.set_key(key)
        house.identity.remove_agent(agent.name)
        _in_force(house, rebound)

    await enter(house, change, apply)
    return {"name": agent.name, "revoked": [key.id for key in dead]}


async def disable(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let nothing in under this agent's name, from the next look at its credential on."""
    return await _set_disabled(house, author, given, disabled=True)


async def enable(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let the agent in again, with those of its keys that are good."""
    done = await _set_disabled(house, author, given, disabled=False)
    now_us, keys = house.ledger.log.stamp(), house.identity.keys.values()
    if any(key.agent == done["name"] and key.is_good(now_us) for key in keys):
        return done
    remark = f"none of its keys is good; make one: customhouse key issue {done['name']}"
    return {**done, "remarks": [remark]}


async def _set_disabled(
    house: House, author: str, given: Mapping[str, Any], *, disabled: bool
) -> Any:
    args = Args(given, "name", "reason")
    agent = _known(house, args.text("name"))
    if agent.disabled is disabled:
        return {"name": agent.name, "disabled": disabled, "changed": False}
    changed = replace(agent, disabled=disabled)
    change = Change(
        "agent.disable" if disabled else "agent.enable",
        author,
        subject=_subject(agent),
        note=args.text("reason", ""),
        effects=(agent_effect(changed),),
    )
    await enter(house, change, lambda: house.identity.set_agent(changed))
    return {"name": agent.name, "disabled": disabled, "changed": True}


# -- roles and policy -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rebound:
    """The policy in force, recompiled for other bindings."""

    loaded: Loaded
    bindings: tuple[Binding, ...]
    prior: str

    def effect(self) -> Effect:
        return policy_effect(self.loaded, self.bindings)


async def rebind(house: House, agent: Agent) -> Rebound | None:
    """The policy in force as it is once *agent* is as given; None when no policy is affected.

    The files are those in force, not those that lie in the folder by now.
    Raises: PolicyInvalid: an agent like this makes the policy wrong, or one of its cases fail.
    """
    agents = {**house.identity.agents, agent.name: agent}
    bindings = tuple(sorted((a.name, r, a.tenant) for a in agents.values() for r in a.roles))
    before = house.loaded_policy
    if before is None or bindings == house.identity.bindings():
        return None
    source = before.source

    def compiled() -> Loaded:
        snapshot = compile_policy(source, bindings)
        results = cases.run(snapshot, source)
        failed = cases.failures(results)
        if failed:
            raise PolicyInvalid(failed)
        return Loaded(snapshot, source, before.findings, tuple(results))

    return Rebound(await asyncio.to_thread(compiled), bindings, house.policies.current.version)


async def _take_in(house: House, what: str, author: str, agent: Agent, reason: str) -> None:
    """Enter *agent* as it is to be, and with it the policy that binds its roles, in one commit."""
    rebound = await rebind(house, agent)
    change = Change(
        what,
        author,
        subject=_subject(agent),
        digest=rebound.loaded.snapshot.version if rebound else "",
        prior=rebound.prior if rebound else "",
        note=reason,
        effects=(agent_effect(agent), *((rebound.effect(),) if rebound else ())),
    )

    def apply() -> None:
        house.identity.set_agent(agent)
        _in_force(house, rebound)

    await enter(house, change, apply)


def _in_force(house: House, rebound: Rebound | None) -> None:
    if rebound is not None:
        house.policies.swap(rebound.loaded.snapshot)
        house.loaded_policy = rebound.loaded


# -- reading the arguments ------------------------------------------------------------------------


def _agent(house: House, args: Args) -> Agent:
    name = _name(args.text("name"), "agent")
    team = args.text("team", "")
    roles = tuple(sorted({_name(role, "role") for role in args.texts("roles")}))
    if team:
        _name(team, "team")
    tenant = _tenant(house, team, args.text("tenant", ""))
    for role in roles:
        if role in house.identity.agents or role == name:
            raise _agent_and_role(role)
    if name in house.config.proved_roles or house.policies.current.roles.is_role(name, tenant):
        raise _agent_and_role(name)
    alike = [n for n in house.identity.agents if n != name and _flat(n) == _flat(name)]
    if alike:
        raise conflict(
            f"{name} and {alike[0]} differ only in - and _",
            "people and environment variables cannot tell them apart",
            "choose another name",
        )
    return Agent(name, tenant, team, roles, _limits(args))


def _tenant(house: House, team: str, tenant: str) -> str:
    """The tenant that was said, else the one of the team; a team is in one tenant only."""
    if tenant:
        _name(tenant, "tenant")
    homes = {name: declared.tenant for name, declared in house.config.teams.items()}
    homes.update({a.team: a.tenant for a in house.identity.agents.values() if a.team})
    home = homes.get(team, "") if team else ""
    if home and tenant and home != tenant:
        raise conflict(
            f"team {team} is in tenant {home}, not in {tenant}",
            "a team belongs to one tenant, or its budget would join two",
            "give the agent another team, or the team's tenant",
        )
    return tenant or home or DEFAULT_TENANT


def _limits(args: Args) -> Limits | None:
    rate, budget = args.text("rate", ""), args.table("budget")
    if not rate and not budget:
        return None
    try:
        return Limits(kinds.rate(rate) if rate else None, kinds.budget(dict(budget)))
    except ValueError as err:
        raise usage(str(err), 'for example rate "60/min" and budget tokens "200k/day"') from err


def _cleared(cleared: tuple[str, ...], said: Limits) -> tuple[str, ...]:
    unknown_words = sorted({*cleared} - {"rate", "budget"})
    if unknown_words:
        raise usage(f"{unknown_words[0]!a:.40} is no kind of limit", "clear rate, budget or both")
    if ("rate" in cleared and said.rate) or ("budget" in cleared and said.budgets):
        raise usage("a limit is set and taken away at once", "say one of the two")
    if not cleared and not said.rate and not said.budgets:
        raise usage("no limit is named", "set a rate or budgets, or take them away")
    return cleared


def _known(house: House, name: str) -> Agent:
    agent = house.identity.agents.get(name)
    if agent is None:
        raise unknown("agent", name, "see: customhouse agent list")
    return agent


def _registered(house: House, name: str) -> Agent:
    agent = _known(house, name)
    if agent.origin == DECLARED:
        raise conflict(
            f"agent {name} is declared in the configuration file",
            "the file declares its roles and limits; what a command changed would be undone by it",
            "change them there, and restart the gateway",
        )
    return agent


def _name(text: str, kind: str) -> str:
    if not is_name(text):
        raise usage(
            f"{text!a:.60} is not a name for {'an' if kind[0] in 'aeiou' else 'a'} {kind}",
            "names are 1 to 32 of a-z, 0-9, _ and -, not beginning with _ or -",
        )
    return text


def _flat(name: str) -> str:
    return name.replace("-", "_")


def _subject(agent: Agent) -> str:
    return f"agent/{agent.name}"


def _agent_and_role(name: str) -> OperationRefused:
    return conflict(
        f"{name} would be an agent and a role",
        "policy names both in one place, so the agent would have the role without being given it",
        "choose another name",
    )
