"""customhouse budget: what limits have left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, common, now_us

if TYPE_CHECKING:
    from gateway.app.operations.reading import Reading


@click.group()
def budget() -> None:
    """What limits have left: per tenant, team, agent and tool."""


@budget.command("show")
@click.argument("name", required=False)
@common
def show(on: Invocation, name: str | None) -> None:
    """Every budget in its current window (UTC), or those of one tenant, team, agent or tool."""
    rows = _rows(on, name)
    on.screen.whole(rows)
    on.screen.table(
        ("LEVEL", "NAME", "METER", "LIMIT", "CHARGED", "HELD", "LEFT"),
        [
            (row["level"], row["name"], "rate", row["rate"], "", "", "")
            if "rate" in row
            else (
                row["level"],
                row["name"],
                f"{row['meter']}/{row['window']}",
                *(str(row[key]) for key in ("limit", "charged", "held", "left")),
            )
            for row in rows
        ],
    )
    if not rows:
        on.screen.note("no limits are set; see `rate` and `budget` in the configuration")


def _rows(on: Invocation, name: str | None) -> list[dict[str, Any]]:
    if on.remote is not None:
        return list(on.remote.rows("budget.list", name=name))
    from gateway.app.operations.budgets import budgets
    from gateway.app.operations.entering import unknown

    house = on.reading()
    rows = [r for r in budgets(house, now_us()) if name is None or _is_of(r["name"], name)]
    if not rows and name is not None and not _is_known(house, name):
        raise unknown(
            "tenant, team, agent or tool", name, "see all of them: customhouse budget show"
        )
    return rows


def _is_of(account: str, name: str) -> bool:
    return name in (
        account,
        account.partition(" ")[0],
        account.partition(" ")[0].removeprefix("tool/"),
    )


def _is_known(house: Reading, name: str) -> bool:
    """Whether it is there, though without limits of its own."""
    agents = house.identity.agents.values()
    named = {*house.config.tenants, *house.config.teams, *house.identity.agents}
    named |= {a.tenant for a in agents} | {a.team for a in agents}
    server, _, tool = name.removeprefix("tool/").partition("/")
    return name in named or bool(tool and server in house.servers)
