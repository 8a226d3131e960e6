"""customhouse run: what calls belong to together, and what all of it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common, end, now_us
from gateway.domain.operator import Exit

_HOUR_US = 3_600_000_000
_LISTED = ("RUN", "TENANT", "AGENTS", "CALLS", "REFUSED", "TOKENS", "COST", "STATE")


@click.group()
def run() -> None:
    """Runs: calls that belong together, whoever makes them."""


@run.command("list")
@click.option("--hours", type=click.IntRange(1, 24 * 31), default=24, show_default=True)
@common
def show_all(on: Invocation, hours: int) -> None:
    """The runs that did anything lately, the latest first."""
    from gateway.app.operations.runs import run_rows

    with on.trail() as trail:
        rows = run_rows(trail, now_us() - hours * _HOUR_US)
    on.screen.whole(rows)
    on.screen.table(_LISTED, [_row(row) for row in rows])
    if not rows:
        on.screen.note(f"no run did anything in the last {hours} h")


@run.command("show")
@click.argument("name", metavar="RUN")
@click.option("--tenant", default="default", show_default=True, help="Whose run, if by its id.")
@common
def show_one(on: Invocation, name: str, tenant: str) -> None:
    """One run, by its id or by what `run list` calls it: every step, and the bill."""
    from gateway.app.operations.runs import run_shown
    from gateway.app.operations.stopping import account_of

    with on.trail() as trail:
        shown = run_shown(trail, account_of(name, tenant))
    if shown is None:
        on.screen.whole(None)
        on.screen.note("the log has no call of this run; see: customhouse run list")
        end(Exit.NO)
    on.screen.whole(shown)
    on.screen.table(
        ("ENTRY", "AFTER", "AGENT", "OBJECT", "OUTCOME", "TOKENS", "COST", "CALL"),
        [_step(step, shown["first_us"]) for step in shown["steps"]],
    )
    on.screen.line(
        f"{shown['calls']} calls, {shown['refused']} refused, {shown['tokens']} tokens,"
        f" cost {shown['cost']}, by {_number_of(shown['agents'])}; {_state(shown)}"
    )
    on.screen.line(f"agents: {', '.join(shown['agents'])}")


@run.command("stop")
@click.argument("name", metavar="RUN")
@click.option("--tenant", default="default", show_default=True, help="Whose run, if by its id.")
@changing
@common
def stop(on: Invocation, name: str, tenant: str, reason: str) -> None:
    """Refuse every further call of a run; what is open of it ends within a second."""
    done = on.change("run.stop", run=name, tenant=tenant, reason=reason)
    on.screen.whole(done)
    already = "" if done["changed"] else " already"
    if done.get("known") is not False:
        on.screen.line(f"run {done['run']} is stopped{already}")
        return
    on.screen.line(
        f"run {done['run']} is stopped{already}, in case it comes: the log knows no call of this run"
    )
    on.screen.note(
        f"an id is looked for in one tenant, here {tenant}: --tenant; see: customhouse run list"
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["run"],
        row["tenant"],
        " ".join(row["agents"]),
        *(str(row[key]) for key in ("calls", "refused", "tokens", "cost")),
        _state(row),
    )


def _number_of(agents: Sequence[str]) -> str:
    return f"{len(agents)} agent" if len(agents) == 1 else f"{len(agents)} agents"


def _state(row: dict[str, Any]) -> str:
    if row["stopped"]:
        return "stopped"
    return f"{row['under_way']} under way" if row["under_way"] else "quiet"


def _step(step: dict[str, Any], first_us: int) -> tuple[str, ...]:
    return (
        str(step["entry"]),
        f"{(step['at_us'] - first_us) / 1e6:.3f} s",
        " for ".join((*step["actors"], step["agent"])),  # the nearest actor is who does it
        step["object"],
        step["outcome"],
        str(step["tokens"]),
        str(step["cost"]),
        step["call"],
    )
