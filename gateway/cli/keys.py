"""customhouse key: API keys of agents, and the gateway's own."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common, now_us


@click.group()
def key() -> None:
    """API keys of agents: shown once, kept as digests, revoked at once."""


@key.command("issue")
@click.argument("agent")
@click.option(
    "--days", type=click.IntRange(0, 3650), default=90, show_default=True, help="0: for ever."
)
@changing
@common
def issue(on: Invocation, agent: str, days: int, reason: str) -> None:
    """Make a key for AGENT and print it: the only time it can be seen."""
    done = on.change("key.issue", agent=agent, days=days, reason=reason)
    on.screen.whole(done)
    on.screen.line(done["key"])
    until = _until(done["expires_at_us"])
    on.screen.note(f"key {done['id']} of agent {agent}, good {until}; it is not shown again")


@key.command("list")
@click.argument("agent", required=False)
@common
def list_keys(on: Invocation, agent: str | None) -> None:
    """Every key, or those of AGENT. Keys of the configuration file are listed by reference."""
    rows = _rows(on, agent)
    on.screen.whole(rows)
    on.screen.table(
        ("KEY", "AGENT", "STATE", "ISSUED", "EXPIRES", "ORIGIN"),
        [
            (
                row["id"],
                row["agent"],
                _state(row),
                _day(row["issued_at_us"]),
                _day(row["expires_at_us"]) or "never",
                row["origin"],
            )
            for row in rows
        ],
    )


@key.command("revoke")
@click.argument("key_id", metavar="KEY")
@changing
@common
def revoke(on: Invocation, key_id: str, reason: str) -> None:
    """Make KEY worthless now; the beginning of its id is enough. Open streams end within a second."""
    done = on.change("key.revoke", id=key_id, reason=reason)
    on.screen.whole(done)
    already = "" if done["changed"] else " already"
    on.screen.line(f"key {done['id']} of agent {done['agent']} is revoked{already}")


@key.command("rotate")
@click.argument("which", type=click.Choice(("log", "payload", "state", "token")))
@changing
@common
def rotate(on: Invocation, which: str, reason: str) -> None:
    """Replace a key of the gateway itself; an entry says so.

    \b
    log      signs the log: old and new key sign the handing over, and either verifies the whole
    payload  seals arguments and results: those that are there stay readable
    state    seals rounds: calls that wait for input begin anew
    token    signs the tokens of /oauth/token: those that are out stay good until their end
    """
    done = on.change("key.rotate", key=which, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"the {which} key is {done['id'][:16]} now, it was {done['prior'][:16]}")
    if which == "log":
        on.screen.line(done["vkey"])
        on.screen.note(
            "give the new verifier key to those who keep evidence; they keep the old one, too: "
            "elsewhere, what was handed out before verifies with that"
        )
    on.screen.note("take the keys folder into your backup again")


def _rows(on: Invocation, agent: str | None) -> list[dict[str, Any]]:
    if on.remote is not None:
        return list(on.remote.rows("key.list", agent=agent))
    from gateway.app.operations.entering import unknown
    from gateway.app.operations.showing import key_rows

    house = on.reading()
    rows = key_rows(house, now_us())
    if agent is None:
        return rows
    rows = [row for row in rows if row["agent"] == agent]
    if not rows and agent not in house.identity.agents:
        raise unknown("agent", agent, "see: customhouse agent list")
    return rows


def _state(row: dict[str, Any]) -> str:
    if row["state"] == "declared" and row["revoked_at_us"]:
        return "revoked, unless changed since"
    return str(row["state"])


def _until(at_us: int) -> str:
    return f"until {_day(at_us)}" if at_us else "until it is revoked"


def _day(at_us: int) -> str:
    from gateway.domain.window import when

    return when(at_us)[:16].replace("T", " ") if at_us else ""
