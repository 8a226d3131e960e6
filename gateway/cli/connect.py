"""customhouse connect: how a client reaches the gateway, printed, written, or tried."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from gateway.cli.invocation import Invocation, common, end
from gateway.cli.reaching import (
    border_of,
    plain_reference,
    reaching,
    url_for_file,
)
from gateway.cli.screen import BOLD, RED, YELLOW, Screen
from gateway.cli.spots import (
    GENERIC,
    Spot,
    entry_at,
    leads_to,
    show_change,
    spot_of,
    spotting,
    unchanged,
    url_of,
)
from gateway.config.clients import CLIENTS, Scope
from gateway.config.error import ConfigError
from gateway.config.jsontext import Unchanged
from gateway.config.pointing import Entry, snippet, with_entry
from gateway.config.secrets import exposed_file
from gateway.domain.operator import Exit, OperationRefused, usage

# Options that say which file, and which gateway.
_SAME = ("file", "url", "server", "toolset", "search", "key", "scope", "client_file", "name")
# What shows in the client itself that it worked.
_SEEN = {
    "claude-desktop": "restart Claude Desktop; the tools are behind the plus sign",
    "claude-code": "see: claude mcp list",
    "vscode": "in VS Code: MCP: List Servers, start it, and give the key when it asks",
    "cursor": "in Cursor: Settings, MCP",
    "codex": "see: codex mcp list",
    "gemini": "see: gemini mcp list",
    GENERIC: "see what your client lists",
}


@click.command()
@click.argument("client", type=click.Choice([*CLIENTS, GENERIC]))
@click.option("--write", is_flag=True, help="Change the client's file; a copy is kept beside it.")
@click.option("--check", is_flag=True, help="Reach the gateway with the key, and look at the file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@spotting
@reaching
@common
def connect(
    on: Invocation,
    client: str,
    key: str,
    place: Mapping[str, str | None],
    at: tuple[Scope | None, Path | None],
    name: str,
    write: bool,
    check: bool,
    yes: bool,
) -> None:
    """Point CLIENT at the gateway. Without --write or --check, print what belongs into its file.

    \b
    customhouse connect cursor
    customhouse connect codex --write --server docs
    customhouse connect gemini --write --search
    customhouse connect claude-desktop --write --key file:~/.customhouse.key
    customhouse connect vscode --check

    The key itself is never written: the file refers to a variable of the environment, or to a file
    that holds it.
    """
    if write and (check or client == GENERIC):
        raise usage("--write goes with a client of its own, and not with --check", "leave one out")
    reference = plain_reference(key)
    spot = None if client == GENERIC else spot_of(client, at)
    if check:
        _check(on, spot, reference, name, place)
        return
    entry = entry_at(spot.client if spot else None, url_for_file(on, place), reference)
    if write and spot is not None:
        _write(on, spot, name, entry, yes=yes)
    else:
        _print(on.screen, client, spot, name, entry)
    tell(on.screen, client, reference, spot)


def _print(screen: Screen, client: str, spot: Spot | None, name: str, entry: Entry) -> None:
    keys = spot.keys if spot else ("mcpServers",)
    text = snippet(spot.client if spot else None, keys, name, entry)
    if screen.as_json:
        file = str(spot.file) if spot else ""
        screen.value({"client": client, "file": file, "entry": entry.table, "snippet": text})
        return
    if spot is not None:
        screen.note(f"in {spot.file}:")
    screen.text(text.rstrip("\n"))


def _write(on: Invocation, spot: Spot, name: str, entry: Entry, *, yes: bool) -> None:
    from gateway.cli.replacing import replaced

    looked = spot.look()
    old = looked.text
    try:
        new = with_entry(old, spot.client, spot.keys, name, entry)
    except Unchanged as err:
        raise unchanged(spot, err) from err
    done: dict[str, Any] = {"file": str(looked.path), "entry": entry.table, "changed": old != new}
    if old != new:
        if not on.screen.as_json:
            show_change(on.screen, spot, old, new, (*spot.keys, name))
        on.confirm(f"write {looked.path}?", yes=yes)
        copy = replaced(looked, new.encode(), datetime.now(UTC))
        done["backup"] = str(copy) if copy else ""
    if on.screen.as_json:
        on.screen.value(done)
    elif old == new:
        on.screen.line(f"{looked.path} says so already")
    else:
        kept = f"; as it was: {done['backup']}" if done["backup"] else ""
        on.screen.line(f"wrote {looked.path}{kept}")


def tell(screen: Screen, client: str, key: str, spot: Spot | None) -> None:
    """What is left to do for the person."""
    kind, _, where = key.partition(":")
    if kind == "env" and client != "vscode":
        screen.note(f"the client needs {where} in its environment: the key of an agent")
        if spot is not None and client == "claude-code" and spot.scope is not Scope.PROJECT:
            screen.note("not every version of Claude Code fills in variables in this file;")
            screen.note("if yours does not: --key file:PATH")
    if kind == "file" and not Path(where).exists():
        screen.note(f"the key belongs into {where}, of mode 600: customhouse key issue AGENT")
    elif exposed := exposed_file(key):
        screen.note(f"warning: {exposed}")
    screen.note(f"{_SEEN[client]}; try the way to the gateway: {again('connect', '--check')}")


def again(command: str, *more: str) -> str:
    """Another command about the same client, file and gateway as this one."""
    this = click.get_current_context()
    words = ["customhouse", command, this.params["client"], *more]
    for option in this.command.params:
        name = str(option.name)
        is_said = this.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in _SAME and is_said:
            value = this.params[name]
            words += [option.opts[0]] if value is True else [option.opts[0], str(value)]
    return shlex.join(words)


# -- trying ------------------------------------------------------------------------------------


def _check(
    on: Invocation,
    spot: Spot | None,
    key: str,
    name: str,
    place: Mapping[str, str | None],
) -> None:
    from gateway.cli.checking import Step, checked

    border = border_of(on, place, key)
    url = border.url
    steps: list[Step] = []
    if spot is not None:
        steps += _file_steps(spot, name, url)
    steps += checked(border)
    if on.screen.as_json:
        on.screen.value({"url": url, "steps": [step.as_json() for step in steps]})
    else:
        on.screen.line(url, BOLD)
        for step in steps:
            on.screen.line(f"  {step.what}: {step.says}", "" if step.ok else RED)
            if step.fix:
                on.screen.line(f"    fix: {step.fix}", YELLOW)
    failed = [step for step in steps if not step.ok]
    end(max((step.exit_code for step in failed), default=Exit.YES))


def _file_steps(spot: Spot, name: str, url: str) -> Iterator[Any]:
    """What the client's file says of this gateway, and of servers beside it."""
    from gateway.cli.checking import Step

    what, fix = str(spot.file), again("connect", "--write")
    try:
        entries = spot.entries(spot.look())
    except (ConfigError, OperationRefused) as err:
        yield Step(what, False, f"{err.what}: {err.why}", err.fix, Exit.NO)
        return
    entry = entries.pop(name, None)
    wrong = _wrong(spot, entry, url)
    if wrong:
        yield Step(what, False, f"its server {name} {wrong}", fix, Exit.NO)
    else:
        yield Step(what, True, f"its server {name} goes there")
    around = sorted(one for one in entries if not leads_to(entries[one], url))
    if around:
        names = ", ".join(around)
        yield Step(what, True, f"reached around the gateway: {names}", again("adopt"))


def _wrong(spot: Spot, entry: Any, url: str) -> str:
    """Why the client does not reach *url* by *entry*; "" when nothing speaks against it."""
    if not isinstance(entry, dict):
        return "is missing"
    if entry.get("disabled") is True or entry.get("enabled") is False:
        return "is switched off"
    if url_of(entry, [spot.client.url_key]) != url:
        return "goes elsewhere, or in a way of its own"
    headers = [entry.get(key) for key in ("headers", "http_headers")]
    said = [pair for one in headers if isinstance(one, dict) for pair in one.items()]
    if any(key.lower() == "authorization" and "$" not in str(value) for key, value in said):
        return "holds the key itself, for everybody who reads the file"
    return ""
