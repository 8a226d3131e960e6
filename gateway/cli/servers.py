"""customhouse server: what is behind the border."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.adding import add, counted, show_seen
from gateway.cli.invocation import Invocation, changing, common
from gateway.cli.screen import BOLD


@click.group()
def server() -> None:
    """Servers behind the border: add, look, approve, suspend."""


server.add_command(add)


@server.command("list")
@common
def list_servers(on: Invocation) -> None:
    """Every server, declared or registered; models and peers, too."""
    rows = rows_of(on)
    show_rows(on, rows)
    if not rows:
        on.screen.note("no servers yet; add one: customhouse server add NAME -- COMMAND")


def show_rows(on: Invocation, rows: list[dict[str, Any]]) -> None:
    on.screen.whole(rows)
    on.screen.table(
        ("SERVER", "KIND", "STATE", "DEFINITIONS", "APPROVE", "ORIGIN", "TARGET"),
        [
            (
                row["name"],
                row["kind"],
                row["state"],
                counted(row["definitions"]) or row["failure"] or "not looked at yet",
                row["approve"],
                row["origin"],
                row["target"],
            )
            for row in rows
        ],
    )


@server.command("show")
@click.argument("name")
@common
def show(on: Invocation, name: str) -> None:
    """One server: on what terms it is behind the border, and what it offers."""
    from gateway.cli.review import definition_table

    row, definitions = _one(on, name)
    on.screen.whole({**row, "listed": definitions})
    on.screen.line(name, BOLD)
    for key, value in row.items():
        if key not in ("name", "definitions") and value not in ("", []):
            on.screen.line(f"  {key}: {value if not isinstance(value, list) else ', '.join(value)}")
    definition_table(on.screen, definitions)


@server.command("test")
@click.argument("name")
@common
def test(on: Invocation, name: str) -> None:
    """Look at the server now. What is new is proposed, what changed is quarantined. Exit 5: no answer.

    The provider of a model is asked for its list of models (GET {url}/models): whether it answers, and
    takes the credential.
    """
    seen = on.change("server.test", name=name)
    on.screen.whole(seen)
    show_seen(on.screen, seen)


@server.command("approve")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def approve(on: Invocation, name: str, yes: bool, reason: str) -> None:
    """Approve everything that the server proposes. What is quarantined is looked at by itself."""
    from gateway.cli.review import show_definition, show_flagged

    proposed, shown = _proposed(on, name)
    if not on.screen.as_json:
        for row in shown:
            show_definition(on.screen, row)
        show_flagged(on.screen, shown)
    if not proposed:
        _nothing_proposed(on, name)
        return
    on.confirm(f"approve these {len(proposed)} definitions of {name}?", yes=yes)
    seen = [[row["kind"], row["name"], row["digest"]] for row in proposed]
    done = on.change("server.approve", name=name, seen=seen, reason=reason)
    if on.screen.as_json:
        flagged = {row["object"]: row["flags"] for row in shown if row["flags"]}
        on.screen.value({**done, "flags": flagged})
        return
    on.screen.line(f"approved {len(done['approved'])} definitions of {name}")


@server.command("restart")
@click.argument("name")
@changing
@common
def restart(on: Invocation, name: str, reason: str) -> None:
    """End the server's process, start it again and look at it: its program has changed."""
    on.change("server.restart", name=name, reason=reason)
    seen = on.change("server.test", name=name)
    on.screen.whole(seen)
    show_seen(on.screen, seen)


@server.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def remove(on: Invocation, name: str, yes: bool, reason: str) -> None:
    """Take the server NAME away, with all approvals. One of the file is taken out there."""
    on.confirm(f"remove server {name!a:.60}, with everything that was approved of it?", yes=yes)
    done = on.change("server.remove", name=name, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"removed server {name} and what was known of {done['dropped']} definitions")


@server.command("suspend")
@click.argument("name")
@changing
@common
def suspend(on: Invocation, name: str, reason: str) -> None:
    """Let no further call through to the server."""
    _switched(on, on.change("server.suspend", name=name, reason=reason), "suspended")


@server.command("resume")
@click.argument("name")
@changing
@common
def resume(on: Invocation, name: str, reason: str) -> None:
    """Let calls through to the server again."""
    _switched(on, on.change("server.resume", name=name, reason=reason), "serving")


def rows_of(on: Invocation) -> list[dict[str, Any]]:
    if on.remote is not None:
        return list(on.remote.rows("server.list"))
    from gateway.app.operations.showing import server_rows

    return _with_failures(on, server_rows(on.reading()))


def _one(on: Invocation, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A server, and what it offers."""
    if on.remote is not None:
        row = on.remote.look("server.show", name=name)
        return row, list(on.remote.rows("definition.list", server=name))
    from gateway.app.operations.showing import definition_rows, server_row
    from gateway.cli.reach import with_lock

    house = on.reading()
    (row,) = _with_failures(on, [server_row(house, name)])
    return row, with_lock(on.config, definition_rows(house, name))


def _proposed(on: Invocation, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a server proposes: the rows, and each of them whole."""
    if on.remote is not None:
        found = on.remote.rows("definition.list", server=name, approval="proposed")
        rows = [row for row in found if not row["gone"]]
        shown = [on.remote.look("definition.show", object=row["object"]) for row in rows]
        # What is approved is what is shown, whatever the list said a moment before.
        return shown, shown
    from gateway.app.operations.showing import definition_rows, definitions_shown, find_pin

    house = on.reading()
    rows = [
        row
        for row in definition_rows(house, name)
        if row["approval"] == "proposed" and not row["gone"]
    ]
    return rows, definitions_shown(house, [find_pin(house, row["object"]) for row in rows])


def _with_failures(on: Invocation, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*rows* with `state`, and `failure` as the running gateway has it: it is who tried."""
    from gateway.app.operations.showing import server_state
    from gateway.cli.reach import health

    said = health(on.config) or {}
    return [row | server_state(row, said) for row in rows]


def _switched(on: Invocation, done: Any, state: str) -> None:
    on.screen.whole(done)
    already = "" if done["changed"] else " already"
    on.screen.line(f"server {done['name']} is {state}{already}")


def _nothing_proposed(on: Invocation, name: str) -> None:
    on.screen.whole({"server": name, "approved": []})
    on.screen.note(f"server {name} proposes nothing; see: customhouse tool list {name}")
