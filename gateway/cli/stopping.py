"""customhouse freeze, thaw, and list and suspend for what is no server."""

from __future__ import annotations

from copy import copy

import click

from gateway.cli.invocation import Invocation, changing, common
from gateway.cli.servers import rows_of, show_rows


@click.command("freeze")
@changing
@common
def freeze(on: Invocation, reason: str) -> None:
    """Let nothing through any more, whoever asks; what is open ends within a second."""
    done = on.change("freeze", reason=reason)
    on.screen.whole(done)
    already = "" if done["changed"] else " already"
    on.screen.line(f"everything is stopped{already}; open again with: customhouse thaw")


@click.command("thaw")
@changing
@common
def thaw(on: Invocation, reason: str) -> None:
    """Let calls through again."""
    done = on.change("thaw", reason=reason)
    on.screen.whole(done)
    on.screen.line("calls are let through" + ("" if done["changed"] else ", as they were before"))


@click.group("peer")
def peer() -> None:
    """Other agents behind the border; all else is as for servers."""


@click.group("model")
def model() -> None:
    """Models behind the border; all else is as for servers."""


@click.command("list")
@common
def list_kind(on: Invocation) -> None:
    """What there is of the kind; `customhouse server list` has all."""
    word = _kind()
    rows = [row for row in rows_of(on) if row["kind"] == word]
    show_rows(on, rows)
    if not rows:
        on.screen.note(f"no {word}s yet; declare one in the configuration: [{word}s.NAME]")


@click.command("suspend")
@click.argument("name")
@changing
@common
def suspend(on: Invocation, name: str, reason: str) -> None:
    """Let no further call through to it; what is open ends within a second."""
    _check_kind(on, name)
    done = on.change("server.suspend", name=name, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"{done['name']} is suspended" + ("" if done["changed"] else " already"))


@click.command("resume")
@click.argument("name")
@changing
@common
def resume(on: Invocation, name: str, reason: str) -> None:
    """Let calls through to it again."""
    _check_kind(on, name)
    done = on.change("server.resume", name=name, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"{done['name']} is serving" + ("" if done["changed"] else " already"))


def _check_kind(on: Invocation, name: str) -> None:
    """Raises: OperationRefused: there is none of this name of the kind that the command is about."""
    from gateway.app.operations.entering import unknown

    word = _kind()
    if not any(row["name"] == name and row["kind"] == word for row in rows_of(on)):
        raise unknown(word, name, "see: customhouse server list")


def _kind() -> str:
    """Which of the groups the command was called in: model, peer."""
    group = click.get_current_context().parent
    return str(group.info_name) if group is not None else "peer"


for group in (peer, model):  # copies: the help of each ends with its own words
    group.add_command(copy(list_kind))
    group.add_command(copy(suspend))
    group.add_command(copy(resume))
