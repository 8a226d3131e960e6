"""customhouse agent: who may knock."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common
from gateway.domain.operator import usage


@click.group()
def agent() -> None:
    """Who may knock: agents, their tenant, team, roles and limits."""


@agent.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, help="A role it gets; may be repeated.")
@click.option("--team", help="The team it belongs to, for budgets.")
@click.option("--tenant", help="Its tenant (default: its team's, else `default`).")
@click.option("--rate", help="How often it may call, e.g. 60/min.")
@click.option("--budget", "budgets", multiple=True, help="e.g. tokens=200k/day; may be repeated.")
@changing
@common
def add(on: Invocation, name: str, budgets: tuple[str, ...], **given: Any) -> None:
    """Register the agent NAME. It needs a key next: customhouse key issue NAME."""
    given["roles"] = list(given["roles"])
    done = on.change("agent.add", name=name, budget=_budget(budgets), **given)
    on.screen.whole(done)
    on.screen.line(f"added agent {name}")
    _show_remarks(on, done)
    on.screen.note(f"next: customhouse key issue {name}")


@agent.command("list")
@common
def list_agents(on: Invocation) -> None:
    """Every agent, declared or registered."""
    rows = _rows(on)
    on.screen.whole(rows)
    on.screen.table(
        ("AGENT", "TENANT", "TEAM", "ROLES", "STATE", "ORIGIN", "LIMITS"),
        [
            (
                row["name"],
                row["tenant"],
                row["team"],
                ",".join(row["roles"]),
                _state(row),
                row["origin"],
                " ".join(row["limits"]),
            )
            for row in rows
        ],
    )
    if not rows:
        on.screen.note("no agents yet; add one: customhouse agent add NAME --role ROLE")
    if any(row.get("at_restart") for row in rows):
        on.screen.note("the gateway that runs has read its file earlier: restart it")


@agent.command("remove")
@click.argument("name")
@changing
@common
def remove(on: Invocation, name: str, reason: str) -> None:
    """Forget the agent NAME and revoke its keys. One of the configuration file is taken out there."""
    done = on.change("agent.remove", name=name, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"removed agent {name}; {len(done['revoked'])} of its keys were revoked")


@agent.command("disable")
@click.argument("name")
@changing
@common
def disable(on: Invocation, name: str, reason: str) -> None:
    """Let nothing in under NAME, from now on. Open streams end within a second."""
    _switched(on, on.change("agent.disable", name=name, reason=reason), "disabled")


@agent.command("enable")
@click.argument("name")
@changing
@common
def enable(on: Invocation, name: str, reason: str) -> None:
    """Let NAME in again, with those of its keys that are good: what was revoked stays revoked."""
    done = on.change("agent.enable", name=name, reason=reason)
    _switched(on, done, "enabled")
    if not on.screen.as_json:
        _show_remarks(on, done)


@agent.command("limit")
@click.argument("name")
@click.option("--rate", help="How often it may call, e.g. 60/min.")
@click.option("--budget", "budgets", multiple=True, help="e.g. tokens=200k/day; may be repeated.")
@click.option("--no-rate", is_flag=True, help="It has no rate of its own any more.")
@click.option("--no-budget", is_flag=True, help="It has no budgets of its own any more.")
@changing
@common
def limit(
    on: Invocation,
    name: str,
    rate: str | None,
    budgets: tuple[str, ...],
    no_rate: bool,
    no_budget: bool,
    reason: str,
) -> None:
    """Change the limits of the agent NAME, from its next call on. What it has spent stays spent.

    A rate takes the place of its rate, budgets that of all its budgets. Those of its team and tenant
    stand in the configuration file, and so do those of an agent that is declared there.
    """
    clear = [word for word, is_said in (("rate", no_rate), ("budget", no_budget)) if is_said]
    given = {"rate": rate, "budget": _budget(budgets), "clear": clear, "reason": reason}
    done = on.change("agent.limit", name=name, **given)
    on.screen.whole(done)
    unchanged = "" if done["changed"] else " (nothing changed)"
    limits = ", ".join(done["limits"]) or "no limits of its own"
    on.screen.line(f"agent {done['name']} has: {limits}{unchanged}")
    _show_remarks(on, done)


@agent.command("grant")
@click.argument("name")
@click.argument("role")
@changing
@common
def grant(on: Invocation, name: str, role: str, reason: str) -> None:
    """Give the agent NAME the role ROLE."""
    _bound(on, on.change("agent.grant", name=name, role=role, reason=reason))


@agent.command("withdraw")
@click.argument("name")
@click.argument("role")
@changing
@common
def withdraw(on: Invocation, name: str, role: str, reason: str) -> None:
    """Take the role ROLE from the agent NAME."""
    _bound(on, on.change("agent.withdraw", name=name, role=role, reason=reason))


def _rows(on: Invocation) -> list[dict[str, Any]]:
    if on.remote is not None:
        return list(on.remote.rows("agent.list"))
    from gateway.app.operations.showing import agent_rows
    from gateway.cli.reach import with_restart

    return with_restart(on.config, agent_rows(on.reading()))


def _state(row: dict[str, Any]) -> str:
    state = "disabled" if row["disabled"] else "enabled"
    at_restart = row.get("at_restart")
    return f"{state}, {at_restart} at a restart" if at_restart else state


def _switched(on: Invocation, done: Any, state: str) -> None:
    on.screen.whole(done)
    already = "" if done["changed"] else " already"
    on.screen.line(f"agent {done['name']} is {state}{already}")


def _bound(on: Invocation, done: Any) -> None:
    on.screen.whole(done)
    unchanged = "" if done["changed"] else " (nothing changed)"
    roles = ", ".join(done["roles"]) or "no roles"
    on.screen.line(f"agent {done['name']} has: {roles}{unchanged}")
    _show_remarks(on, done)


def _show_remarks(on: Invocation, done: Any) -> None:
    for remark in done.get("remarks", ()):
        on.screen.note(f"remark: {remark}")


def _budget(written: tuple[str, ...]) -> dict[str, list[str]]:
    """("tokens=200k/day", "calls=1000/day") -> {"tokens": ["200k/day"], ...}"""
    budget: dict[str, list[str]] = {}
    for one in written:
        meter, equals, amount = one.partition("=")
        if not equals:
            raise usage(f"{one!a:.60} is not a budget", "say tokens=200k/day")
        budget.setdefault(meter, []).append(amount)
    return budget
