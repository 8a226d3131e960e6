"""customhouse server: what is behind the border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common
from gateway.cli.screen import BOLD, RED, YELLOW, Screen
from gateway.domain.operator import OperationRefused, usage

_LEFT_OUT: tuple[object, ...] = (None, "", (), {})


@click.group()
def server() -> None:
    """Servers behind the border: add, look, approve, suspend."""


@server.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1)
@click.option("--url", help="A Streamable HTTP server.")
@click.option("--python", help="The functions of a Python module.")
@click.option("--auth", help="Its credential, by reference: env:NAME or file:PATH.")
@click.option("--env", "variables", multiple=True, help="NAME=VALUE for its process.")
@click.option("--cwd", help="The folder its process runs in.")
@click.option("--tool", "tools", multiple=True, help="Take in only these, e.g. 'get_*'.")
@click.option("--tag", "tags", multiple=True, help="GLOB=TAG[,TAG], e.g. 'get_*=file_read'.")
@click.option("--approve", type=click.Choice(["ask", "first-seen"]), help="Default: ask.")
@click.option("--prefix", help="In front of its tools' names on /mcp (default: NAME).")
@click.option("--timeout-s", type=float, help="For one call.")
@click.option("--max-result-tokens", type=int)
@click.option("--price", type=int, help="Micro-units for one call.")
@changing
@common
def add(on: Invocation, name: str, reason: str, **given: Any) -> None:
    """Put the server NAME behind the border, and look at it.

    \b
    customhouse server add time -- mcp-server-time --local-timezone UTC
    customhouse server add docs --url https://docs.example.com/mcp --auth env:DOCS_TOKEN
    """
    done = on.change("server.add", name=name, table=_table(given), reason=reason)
    if not on.screen.as_json:
        on.screen.line(f"added server {name}")
    try:
        seen = on.change("server.test", name=name)
    except OperationRefused as no:
        raise OperationRefused(
            f"server {name} was added, but it could not be looked at: {no.what}",
            no.why,
            f"see what it says, then: customhouse server test {name}",
            no.exit_code,
        ) from no
    if on.screen.as_json:
        on.screen.value({**done, "seen": seen})
        return
    _show_seen(on.screen, seen)


@server.command("list")
@common
def list_servers(on: Invocation) -> None:
    """Every server, declared or registered."""
    from gateway.app.operations.showing import server_rows

    rows = _with_failures(on, server_rows(on.reading()))
    if on.screen.as_json:
        on.screen.value(rows)
        return
    on.screen.table(
        ("SERVER", "STATE", "DEFINITIONS", "APPROVE", "ORIGIN", "TARGET"),
        [
            (
                row["name"],
                row["state"],
                _counted(row["definitions"]) or row["failure"] or "not looked at yet",
                row["approve"],
                row["origin"],
                row["target"],
            )
            for row in rows
        ],
    )
    if not rows:
        on.screen.note("no servers yet; add one: customhouse server add NAME -- COMMAND")


@server.command("show")
@click.argument("name")
@common
def show(on: Invocation, name: str) -> None:
    """One server: on what terms it is behind the border, and what it offers."""
    from gateway.app.operations.showing import definition_rows, server_row
    from gateway.cli.review import definition_table

    house = on.reading()
    (row,) = _with_failures(on, [server_row(house, name)])
    definitions = definition_rows(house, name)
    if on.screen.as_json:
        on.screen.value({**row, "listed": definitions})
        return
    on.screen.line(name, BOLD)
    for key, value in row.items():
        if key not in ("name", "definitions") and value not in ("", []):
            on.screen.line(f"  {key}: {value if not isinstance(value, list) else ', '.join(value)}")
    definition_table(on.screen, definitions)


@server.command("test")
@click.argument("name")
@common
def test(on: Invocation, name: str) -> None:
    """Look at the server now. What is new is proposed, what changed is quarantined. Exit 5: no answer."""
    seen = on.change("server.test", name=name)
    if on.screen.as_json:
        on.screen.value(seen)
        return
    _show_seen(on.screen, seen)


@server.command("approve")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def approve(on: Invocation, name: str, yes: bool, reason: str) -> None:
    """Approve everything that the server proposes. What is quarantined is looked at by itself."""
    from gateway.app.operations.showing import definition_rows, definition_shown, find_pin
    from gateway.cli.review import show_definition

    house = on.reading()
    proposed = [
        row
        for row in definition_rows(house, name)
        if row["approval"] == "proposed" and not row["gone"]
    ]
    if not on.screen.as_json:
        for row in proposed:
            show_definition(on.screen, definition_shown(house, find_pin(house, row["object"])))
    if not proposed:
        _nothing_proposed(on, name)
        return
    on.confirm(f"approve these {len(proposed)} definitions of {name}?", yes=yes)
    seen = [[row["kind"], row["name"], row["digest"]] for row in proposed]
    done = on.change("server.approve", name=name, seen=seen, reason=reason)
    if on.screen.as_json:
        on.screen.value(done)
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
    if on.screen.as_json:
        on.screen.value(seen)
        return
    _show_seen(on.screen, seen)


@server.command("remove")
@click.argument("name")
@changing
@common
def remove(on: Invocation, name: str, reason: str) -> None:
    """Take the server NAME away, with all approvals. One of the file is taken out there."""
    done = on.change("server.remove", name=name, reason=reason)
    if on.screen.as_json:
        on.screen.value(done)
        return
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


def _with_failures(on: Invocation, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*rows* with `state`, and `failure` as the running gateway has it: it is who tried."""
    from gateway.cli.reach import ask
    from gateway.edge.admin import SOCKET

    answer = ask(on.config.data_dir / SOCKET, "server.health", {}) or {}
    failures = answer.get("ok", {}).get("failures", {})
    return [row | _state(row, str(failures.get(row["name"], ""))) for row in rows]


def _state(row: dict[str, Any], failure: str) -> dict[str, str]:
    if row["suspended"]:
        return {"state": "suspended", "failure": failure}
    return {"state": "unreachable" if failure else "serving", "failure": failure}


def _switched(on: Invocation, done: Any, state: str) -> None:
    if on.screen.as_json:
        on.screen.value(done)
        return
    already = "" if done["changed"] else " already"
    on.screen.line(f"server {done['name']} is {state}{already}")


def _nothing_proposed(on: Invocation, name: str) -> None:
    if on.screen.as_json:
        on.screen.value({"server": name, "approved": []})
        return
    on.screen.note(f"server {name} proposes nothing; see: customhouse tool list {name}")


def _table(given: dict[str, Any]) -> dict[str, Any]:
    """The same table that the configuration file would have, with paths that hold anywhere."""
    table: dict[str, Any] = {
        "command": list(given["command"]) or None,
        "url": given["url"],
        "python": given["python"],
        "auth": _anchored(given["auth"]),
        "env": {k: _anchored(v) for k, v in (_pair(one) for one in given["variables"])},
        "cwd": str(Path(given["cwd"]).absolute()) if given["cwd"] else None,
        "tools": list(given["tools"]) or None,
        "tags": {glob: words.split(",") for glob, words in map(_pair, given["tags"])},
        "approve": given["approve"],
        "prefix": given["prefix"],
        "timeout_s": given["timeout_s"],
        "max_result_tokens": given["max_result_tokens"],
        "price": given["price"],
    }
    return {key: value for key, value in table.items() if value not in _LEFT_OUT}


def _anchored(reference: str | None) -> str | None:
    if reference and reference.startswith("file:"):
        return f"file:{Path(reference.removeprefix('file:')).expanduser().absolute()}"
    return reference


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise usage(f"{text.partition('=')[0]!a:.60} lacks a value", "say NAME=VALUE")
    return key, value


def _counted(states: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _show_seen(screen: Screen, seen: dict[str, Any]) -> None:
    from gateway.cli.review import definition_table

    name = seen["name"]
    for change in seen["changes"]:
        style = {"quarantined": RED, "proposed": YELLOW}.get(change["approval"], "")
        screen.line(f"{change['what']}  {change['object']}  {change['approval']}", style)
    definition_table(screen, seen["definitions"])
    screen.note(f"server {name} answers: {_counted(seen['states']) or 'it offers nothing'}")
    if seen["states"].get("proposed"):
        screen.note(f"approve what you have seen: customhouse server approve {name}")
