"""customhouse budget: what limits have left."""

from __future__ import annotations

import click

from gateway.cli.invocation import Invocation, common, now_us


@click.group()
def budget() -> None:
    """What limits have left: per tenant, team, agent and tool."""


@budget.command("show")
@click.argument("name", required=False)
@common
def show(on: Invocation, name: str | None) -> None:
    """Every budget in its current window (UTC), or those of one tenant, team, agent or tool."""
    from gateway.app.operations.budgets import budgets

    rows = [r for r in budgets(on.reading(), now_us()) if name is None or _is_of(r["name"], name)]
    if on.screen.as_json:
        on.screen.value(rows)
        return
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


def _is_of(account: str, name: str) -> bool:
    return name in (
        account,
        account.partition(" ")[0],
        account.partition(" ")[0].removeprefix("tool/"),
    )
