"""customhouse approval: calls that wait for somebody's yes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, changing, common, end
from gateway.cli.screen import BOLD, DIM, RED, YELLOW, Screen
from gateway.domain.operator import Exit, usage

if TYPE_CHECKING:
    from gateway.cli.remote import Remote

LOOK_S = 1.0  # between two looks at what waits
YES = click.option("--yes", is_flag=True, help="Do not ask, and show nothing.")
WAITING = "waiting"
Row = dict[str, Any]


@click.group()
def approval() -> None:
    """Calls that a rule allows once somebody approves them, at the gateway that runs."""


@approval.command("list")
@click.option("--all", "every", is_flag=True, help="Also what is decided, and not used yet.")
@common
def list_approvals(on: Invocation, every: bool) -> None:
    """What waits for a decision, the oldest first. Exit 1: nothing does."""
    rows = [row for row in _rows(on) if every or row["state"] == WAITING]
    if on.screen.as_json:
        on.screen.value(rows)
    else:
        on.screen.table(
            ("APPROVAL", "STATE", "AGENT", "OBJECT", "TAKES", "UNTIL"),
            [_cells(row) for row in rows],
        )
    end(Exit.YES if rows else Exit.NO)


@approval.command("show")
@click.argument("approval_id", metavar="APPROVAL")
@common
def show(on: Invocation, approval_id: str) -> None:
    """Who wants what, with its arguments, and why it waits. The look is entered in the log."""
    told = _seen(on, approval_id)
    on.screen.whole(told)
    _show(on.screen, told)


@approval.command("approve")
@click.argument("approval_id", metavar="APPROVAL")
@click.option("--for-run", is_flag=True, help="Any arguments, in the run of the call that asks.")
@click.option("--calls", type=int, help="With --for-run: at most so many.")
@YES
@changing
@common
def approve(
    on: Invocation, approval_id: str, for_run: bool, calls: int | None, yes: bool, reason: str
) -> None:
    """Let just this call be made, once, within ten minutes; nobody approves what they asked for.

    Where two roles are needed, two persons have to say so.
    """
    if for_run != (calls is not None) or (calls is not None and calls < 1):
        raise usage("--for-run and --calls go together", "say --for-run --calls N")
    question = f"Let {approval_id} be made?"
    if calls is not None:
        question = f"Let {approval_id}, and up to {calls} such calls of its run, be made?"
    args = {"approval": approval_id, "reason": reason, **({"calls": calls} if calls else {})}
    done = _decided(on, "approval.approve", args, question, yes=yes)
    on.screen.whole(done)
    if done["state"] == WAITING:
        on.screen.line(
            f"{approval_id} has your yes, and takes another person: {done['roles']}", YELLOW
        )
        return
    on.screen.line(f"{approval_id} is approved: the call passes when it is repeated", BOLD)
    on.screen.note(f"until {done['until']}")


@approval.command("deny")
@click.argument("approval_id", metavar="APPROVAL")
@YES
@changing
@common
def deny(on: Invocation, approval_id: str, yes: bool, reason: str) -> None:
    """Say no, also to what was approved and not used. The caller is told the reason."""
    args = {"approval": approval_id, "reason": reason}
    done = _decided(on, "approval.deny", args, f"Deny {approval_id}?", yes=yes)
    on.screen.whole(done)
    on.screen.line(f"{approval_id} is denied", BOLD)


@approval.command("watch")
@click.option("--most", type=click.IntRange(1), help="End after so many.")
@common
def watch(on: Invocation, most: int | None) -> None:
    """Show what waits, and go on with what comes, a line each, until interrupted."""
    seen: set[str] = set()
    while True:
        rows = [row for row in _rows(on) if row["state"] == WAITING]
        for row in rows:
            if row["approval"] in seen:
                continue
            seen.add(row["approval"])
            if on.screen.as_json:
                on.screen.json_line(row)
            else:
                on.screen.line("  ".join(_cells(row)))
            if most is not None and len(seen) >= most:
                return
        time.sleep(LOOK_S)


def _rows(on: Invocation) -> Sequence[Row]:
    rows = on.remote.rows("approval.list") if on.remote else on.change("approval.list")
    return sorted(rows, key=lambda row: str(row["asked_at"]))


def _seen(on: Invocation, approval_id: str) -> Row:
    given = {"approval": approval_id}
    seen: Row = on.remote.look("approval.arguments", **given) if on.remote else on.change(
        "approval.show", **given
    )  # fmt: skip
    return seen


def _decided(on: Invocation, operation: str, args: Row, question: str, *, yes: bool) -> Row:
    """What became of it; over the API it is for the state that was looked at."""
    etag = _etag(on.remote, args["approval"]) if on.remote else ""
    if not yes:
        if not on.screen.as_json:
            _show(on.screen, _seen(on, args["approval"]))
        on.confirm(question, yes=False)
    done: Row = (
        on.remote.change(operation, args, etag) if on.remote else on.change(operation, **args)
    )
    return done


def _etag(remote: Remote, approval_id: str) -> str:
    _, etag = remote.seen("approval.show", approval=approval_id)
    return etag


def _cells(row: Row) -> tuple[str, ...]:
    who = " for ".join([*row["actors"], row["agent"]])
    return row["approval"], row["state"], who, row["object"], row["roles"], row["until"]


def _show(screen: Screen, told: Row) -> None:
    who = " for ".join([*told["actors"], told["agent"]])
    screen.line(f"{told['approval']}  {told['object']}", BOLD)
    screen.line(f"  asked by: {who} (tenant {told['tenant']})")
    if told["run"]:
        screen.line(f"  in run: {told['run']}")
    screen.line(f"  it takes: {told['roles']}", YELLOW)
    for author in told["approved_by"]:
        screen.line(f"  approved by: {author}")
    if told["denied_by"]:
        screen.line(f"  denied by: {told['denied_by']}", RED)
    if told["rule_text"]:
        screen.line(f"  because: {told['rule_place']}: {told['rule_text']}")
    for name, value in told["conditions"].items():
        screen.line(f"  condition {name}: {'holds' if value else 'does not hold'}")
    screen.line(f"  {told['state']} until {told['until']}")
    screen.line(f"  definition: {told['definition']}", DIM)
    for line in told["arguments"].split("\n"):
        screen.line(f"  {line}")
