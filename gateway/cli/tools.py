"""customhouse tool: what servers say of themselves, and what was approved of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common, end
from gateway.cli.screen import BOLD, YELLOW, Screen
from gateway.domain.operator import Exit, OperationRefused, usage

MIN_DIGEST = 8
# How a call ended -> how the command ends.
_ENDS = {"ok": Exit.YES, "input_required": Exit.YES, "failed": Exit.UNREACHABLE}


@click.group()
def tool() -> None:
    """Definitions of tools, prompts and resources: look, compare, approve, call.

    OBJECT is SERVER/TOOL, or KIND/SERVER/NAME, or the tool's name on /mcp.
    """


@tool.command("list")
@click.argument("server", required=False)
@click.option(
    "--state",
    type=click.Choice(["proposed", "approved", "quarantined", "gone"]),
    help="Only these.",
)
@common
def list_tools(on: Invocation, server: str | None, state: str | None) -> None:
    """Every definition, or those of SERVER."""
    from gateway.cli.review import definition_table

    rows = [
        row
        for row in _rows(on, server)
        if state in (None, "gone" if row["gone"] else row["approval"])
    ]
    on.screen.whole(rows)
    definition_table(on.screen, rows)
    if any(row["approval"] == "proposed" for row in rows):
        on.screen.note("approve what you have seen: customhouse tool approve OBJECT")


@tool.command("show")
@click.argument("named", metavar="OBJECT")
@common
def show(on: Invocation, named: str) -> None:
    """One definition, exactly as models get it; hidden characters are written out."""
    from gateway.cli.review import show_definition

    row = _shown(on, named)
    on.screen.whole(row)
    show_definition(on.screen, row)


@tool.command("diff")
@click.argument("named", metavar="OBJECT")
@common
def diff(on: Invocation, named: str) -> None:
    """What changed since it was approved. Exit 0: nothing, 1: something."""
    row = _shown(on, named)
    changed = row["approved_digest"] != row["digest"]
    if on.screen.as_json:
        from gateway.cli.review import differences

        lines = differences(row.get("approved_body", {}), row["body"]) if changed else []
        on.screen.value({**row, "changed": changed, "lines": [list(line) for line in lines]})
    else:
        _show_change(on.screen, row)
    end(Exit.NO if changed else Exit.YES)


@tool.command("approve")
@click.argument("named", metavar="OBJECT")
@click.option("--digest", help="Approve only this one, as `tool show` or `tool list` printed it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def approve(on: Invocation, named: str, digest: str | None, yes: bool, reason: str) -> None:
    """Let agents call exactly this definition. A later change is quarantined. Exit 6: it changed."""
    row = _shown(on, named)
    if digest is None:
        if not on.screen.as_json:
            _show_change(on.screen, row)
        on.confirm(f"approve {row['object']}?", yes=yes)
        digest = row["digest"]
    done = on.change(
        "tool.approve",
        kind=row["kind"],
        server=row["server"],
        name=row["name"],
        digest=_whole(digest, row),
        reason=reason,
    )
    on.screen.whole({**done, "flags": row["flags"]})
    already = "" if done["changed"] else " already"
    on.screen.line(f"{done['object']} is approved{already}: {done['digest'][:12]}")


@tool.command("lock")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if it is not what is approved.")
@common
def lock(on: Invocation, check: bool) -> None:
    """Write what is approved into customhouse.lock, for review and for `serve --frozen`."""
    from gateway.app.artifact import lock_file, read_lock
    from gateway.app.operations.locking import lock_of
    from gateway.cli.replacing import PUBLIC, look, put
    from gateway.domain.lock import differences, write

    file, approved = lock_file(on.config), lock_of(on.reading())
    if not check:
        if not approved.servers:
            raise _nothing_to_lock(file)
        put(look(file, file.parent, PUBLIC), write(approved).encode())
    # Also what was just written is read: it is what a gateway will read.
    found = differences(read_lock(file), approved)
    counts = {
        "servers": len(approved.servers),
        "definitions": sum(len(server.definitions) for server in approved.servers.values()),
    }
    if on.screen.as_json:
        rows = [one.as_json() for one in found]
        on.screen.value({"file": str(file), **counts, "differences": rows})
    else:
        for one in found:
            on.screen.line(f"{one.object} {one.says}")
        said = "holds" if check else "now holds"
        if not found:
            on.screen.note(f"{file} {said} what is approved: {_counted(counts)}")
    end(Exit.NO if found else Exit.YES)


@tool.command("call")
@click.option("--as", "agent", required=True, help="The agent whose rights, rate and budget hold.")
@click.argument("named", metavar="OBJECT")
@click.argument("arguments", default="{}")
@changing
@common
def call(on: Invocation, agent: str, named: str, arguments: str, reason: str) -> None:
    """Call a tool with ARGUMENTS (JSON, - for standard input). The log says who did."""
    if arguments == "-":
        arguments = sys.stdin.read()
    server, kind, name = _place(on, named)
    if kind != "tool":
        raise usage(f"{named!a:.60} is a {kind}", "only tools can be called by hand")
    done = on.change(
        "tool.call", agent=agent, server=server, name=name, arguments=arguments, reason=reason
    )
    if on.screen.as_json:
        on.screen.value(done)
    else:
        _show_answer(on.screen, done)
    end(_ENDS.get(done["status"], Exit.NO))


def _rows(on: Invocation, server: str | None) -> list[dict[str, Any]]:
    if on.remote is not None:
        return list(on.remote.rows("definition.list", server=server))
    from gateway.app.operations.showing import definition_rows
    from gateway.cli.reach import with_lock

    return with_lock(on.config, definition_rows(on.reading(), server))


def _shown(on: Invocation, named: str) -> dict[str, Any]:
    if on.remote is not None:
        row: dict[str, Any] = on.remote.look("definition.show", object=named)
        return row
    from gateway.app.operations.showing import definition_shown, find_pin
    from gateway.cli.reach import with_lock

    house = on.reading()
    (row,) = with_lock(on.config, [definition_shown(house, find_pin(house, named))])
    return row


def _place(on: Invocation, named: str) -> tuple[str, str, str]:
    """What is not listed is asked for all the same: the refusal is what one wants to see."""
    from gateway.app.operations.places import place_of
    from gateway.app.operations.showing import find_pin

    server, kind, name = place_of(named) if "/" in named else find_pin(on.reading(), named).place
    return server, str(kind), name


def _nothing_to_lock(file: Path) -> OperationRefused:
    return OperationRefused(
        "nothing is approved, so there is nothing to lock",
        f"a gateway that is frozen to nothing serves nothing; {file} is left as it is",
        "look at what is proposed, and approve it: customhouse tool list",
        Exit.NO,
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _whole(digest: str, row: dict[str, Any]) -> str:
    """The whole digest from what the person copied; another one stays another one."""
    if len(digest) < MIN_DIGEST:
        raise usage(f"{digest!a:.60} is too short", f"say at least {MIN_DIGEST} digits of it")
    if row["digest"].startswith(digest):
        return str(row["digest"])
    raise OperationRefused(
        f"{row['object']} is not the definition you saw",
        f"by now its digest is {row['digest'][:16]}...",
        f"look again: customhouse tool diff {row['object']}",
        Exit.CONFLICT,
    )


def _show_change(screen: Screen, row: dict[str, Any]) -> None:
    from gateway.cli.review import differences, show_definition, show_heading, show_lines

    if "approved_body" not in row:
        show_definition(screen, row)
        return
    show_heading(screen, row)
    if row["approved_digest"] == row["digest"]:
        screen.line("  unchanged since it was approved")
        return
    show_lines(screen, differences(row["approved_body"], row["body"]))


def _show_answer(screen: Screen, done: dict[str, Any]) -> None:
    from gateway.cli.review import pretty

    screen.note(f"call {done['call']}: {done['status']} {done['code']}".rstrip())
    if done["status"] == "refused":
        _show_refused(screen, done)
        return
    charged = ", ".join(f"{amount} {meter}" for meter, amount in done["charged"].items())
    screen.note(f"charged: {charged}")
    if done["sentence"]:
        screen.line(done["sentence"], BOLD)
    for part in ("result", "error"):
        if done[part] is not None:
            for line in pretty(done[part]):
                screen.line(line)


def _show_refused(screen: Screen, done: dict[str, Any]) -> None:
    """What stands beside policy comes first: then no rule is to blame."""
    if done.get("stopped"):
        screen.line(done["stopped"], BOLD)
    screen.line(done["sentence"], BOLD)
    approval = done["detail"].get("approval", "")
    if approval and done["code"] == "approval_needed":
        screen.line(f"approval {approval}: customhouse approval approve {approval}", YELLOW)
    if done["decision"]:
        screen.text(done["decision"])
