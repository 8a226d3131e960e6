"""customhouse adopt: a client's servers go behind the gateway, and the client goes through it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.adding import refuse_taken, show_seen, untaken
from gateway.cli.connect import again, tell
from gateway.cli.invocation import Invocation, changing, common, end
from gateway.cli.reaching import plain_reference, reaching, url_for_file
from gateway.cli.replacing import Looked, back_up, look, put
from gateway.cli.screen import YELLOW, reasons
from gateway.cli.sources import is_own
from gateway.cli.spots import (
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
from gateway.config.jsontext import Unchanged
from gateway.config.pointing import Entry, with_entry, without_entry
from gateway.config.secrets import is_reference
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.config import Server
    from gateway.config.sources import Candidate

_RECORD = ".customhouse-adopted.json"


@click.command()
@click.argument("client", type=click.Choice([*CLIENTS]))
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--undo", is_flag=True, help="Give the client its file back, as it was.")
@click.option("--discard", is_flag=True, help="With --undo: also if the file has changed since.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@spotting
@reaching
@changing
@common
def adopt(
    on: Invocation,
    client: str,
    names: tuple[str, ...],
    place: Mapping[str, str | None],
    at: tuple[Scope | None, Path | None],
    **given: Any,
) -> None:
    """Put the servers of CLIENT behind the gateway, all or those NAMEd, and point it there.

    \b
    customhouse adopt cursor --dry-run
    customhouse adopt claude-code --scope user
    customhouse adopt cursor --undo

    Each is added as `customhouse server add` would: its tools are proposed, and nothing can be
    called before a person approves it. Secrets are not taken over, nor is what the client looks up:
    you are told which variables to set for the gateway. A server that cannot be looked at stays with
    the client. The file is kept beside it, and --undo puts it back.
    """
    spot = spot_of(client, at)
    if given["undo"]:
        _undo(on, spot, discard=given["discard"], yes=given["yes"])
        return
    if given["discard"] or place["server"] or place["toolset"]:
        raise usage("these options do not go together", "see: customhouse adopt --help")
    given["key"] = plain_reference(given["key"])
    entry = entry_at(spot.client, url_for_file(on, place), given["key"])
    move = _planned(on, spot, (given["name"], entry), names)
    _show_plan(on, move, dry_run=given["dry_run"])
    if not given["dry_run"]:
        _adopt(on, move, given)


@dataclass(frozen=True, slots=True)
class Move:
    """What is to become of a client's file."""

    spot: Spot
    looked: Looked
    name: str  # of our entry
    entry: Entry
    picked: Sequence[Candidate]
    others: Sequence[Candidate]  # they stay with the client

    def changed(self, adopted: Sequence[Candidate]) -> str:
        """The file without *adopted*, and with our entry. Raises: OperationRefused."""
        spot, text = self.spot, self.looked.text
        try:
            for one in adopted:
                text = without_entry(text, spot.client, spot.keys, one.called)
            return with_entry(text, spot.client, spot.keys, self.name, self.entry)
        except Unchanged as err:
            raise unchanged(spot, err) from err


def _planned(on: Invocation, spot: Spot, ours: tuple[str, Entry], names: Sequence[str]) -> Move:
    """Raises: OperationRefused: nothing can be moved, or not in this file."""
    from gateway.config.sources import Ground, client_candidates

    looked, (name, entry), house = spot.look(), ours, on.reading()
    url = url_of(entry.table)
    theirs = {called: one for called, one in spot.entries(looked).items() if not leads_to(one, url)}
    if name in theirs:
        raise usage(f"{spot.file} has another server {name}", "say --name for the one of ours")
    found = [
        _unless_lost(on, untaken(house, _unless_own(on, one), {}))
        for one in client_candidates(spot.client, theirs, Ground(Path.home(), spot.project))
    ]
    missing = set(names) - {one.called for one in found}
    if missing:
        raise usage(f"{min(missing)!a:.60} is not in {spot.file}", "see: --dry-run")
    picked = [one for one in found if _is_picked(one, names)]
    move = Move(spot, looked, name, entry, picked, [one for one in found if one not in picked])
    move.changed(picked)  # before anything is done
    return move


def _unless_own(on: Invocation, one: Candidate) -> Candidate:
    listen = on.config.listen
    if is_own(one.table, listen.host, listen.port):
        return replace(one, table={}, left_out="it seems to be this gateway")
    return one


def _unless_lost(on: Invocation, one: Candidate) -> Candidate:
    """*one*, left out unless it is named if its program is not there: it could not be looked at."""
    from gateway.app.operations.presence import missing_program

    if "command" not in one.table or not one.name or one.left_out:
        return one
    missing = missing_program(_as_server(on, one))
    return one if missing is None else replace(one, left_out=missing)


def _as_server(on: Invocation, one: Candidate) -> Server:
    from gateway.config import server_from

    base = on.config.file.parent if on.config.file else Path.cwd()
    return server_from(one.name, dict(one.table), base)


def _is_picked(one: Candidate, names: Sequence[str]) -> bool:
    usable = bool(one.table and one.name)
    return usable and (one.called in names if names else not one.left_out)


def _adopt(on: Invocation, move: Move, given: Mapping[str, Any]) -> None:
    if not move.picked:
        raise usage(f"{move.spot.file} has no server to adopt", "see why with --dry-run")
    called = ", ".join(one.called for one in move.picked)
    question = f"put {called} behind the gateway? Their programs are started to look at them."
    on.confirm(question, yes=given["yes"])
    rows = [_added(on, one, given["reason"]) for one in move.picked]
    adopted = [one for one, row in zip(move.picked, rows, strict=True) if not row["error"]]
    done: dict[str, Any] = {"file": str(move.looked.path), "servers": rows, "backup": ""}
    if adopted:
        done["backup"] = _replaced(move, move.changed(adopted), adopted)
    if on.screen.as_json:
        on.screen.value(done)
    elif adopted:
        on.screen.line(f"wrote {done['file']}; as it was: {done['backup']}")
        tell(on.screen, move.spot.client.name, given["key"], move.spot)
        on.screen.note(f"back again: {again('adopt', '--undo')}")
    worst = max(row["exit_code"] for row in rows)
    end(Exit(worst))


def _added(on: Invocation, one: Candidate, reason: str) -> dict[str, Any]:
    """One server behind the gateway and looked at; else it stays where it is, and why."""
    row: dict[str, Any] = {"called": one.called, "name": one.name, "error": None, "exit_code": 0}
    try:
        if not _is_there(on, one):
            refuse_taken(on, one, {})
            on.change("server.add", name=one.name, table=dict(one.table), reason=reason)
        row["seen"] = on.change("server.test", name=one.name)
        if not on.screen.as_json:
            show_seen(on.screen, row["seen"])
    except OperationRefused as no:
        row |= {"error": no.as_json(), "exit_code": int(no.exit_code)}
        on.screen.note(f"{one.called} stays with the client: {no.what}")
        on.screen.note(f"{reasons(no)}, and adopt again")
    return row


def _is_there(on: Invocation, one: Candidate) -> bool:
    """Whether an earlier try, or somebody, has put this very server behind the gateway."""
    known = on.reading().servers.get(one.name)
    return known is not None and known == _as_server(on, one)


def _show_plan(on: Invocation, move: Move, *, dry_run: bool) -> None:
    screen = on.screen
    rows: list[dict[str, Any]] = [
        {
            "called": one.called,
            "name": one.name,
            "adopted": one in move.picked,
            "target": _target(one.table),
            "why": one.left_out,
            "needs": list(one.references),
            "findings": [*one.findings, *_surroundings(one.table)],
        }
        for one in (*move.picked, *move.others)
    ]
    if screen.as_json:
        if dry_run:
            screen.value({"file": str(move.spot.file), "servers": rows})
        return
    if not rows:
        is_there = move.looked.body is not None
        what = "has no servers" if is_there else "is not there: this client has no servers"
        screen.note(f"{move.spot.file} {what}")
    for row in rows:
        goes = f"behind the gateway as {row['name']}" if row["adopted"] else "stays"
        why = f": {row['why']}" if row["why"] else ""
        screen.line(f"{row['called']}: {goes}{why}")
        if row["target"]:
            screen.line(f"  {row['target']}")
        for note in (*row["findings"], *(f"needs {one}" for one in row["needs"])):
            screen.line(f"  {note}", YELLOW)
    if move.picked:
        new, keys = move.changed(move.picked), (*move.spot.keys, move.name)
        show_change(screen, move.spot, move.looked.text, new, keys)


def _surroundings(table: Mapping[str, Any]) -> Iterator[str]:
    """With what a program is started; it may be somebody else's word."""
    if "cwd" in table:
        yield f"in {table['cwd']}"
    for key, value in table.get("env", {}).items():
        if not is_reference(value):
            yield f"with {key}={value}"


def _target(table: Mapping[str, Any]) -> str:
    return shlex.join(table["command"]) if "command" in table else str(table.get("url", ""))


# -- the way back ------------------------------------------------------------------------------


def _replaced(move: Move, new: str, adopted: Sequence[Candidate]) -> str:
    """Write the file, and beside it what is needed to undo that. The record comes first."""
    record = _record(move.looked.path)
    steps = _steps(record)
    copy = back_up(move.looked, datetime.now(UTC))
    step = {
        "backup": copy.name if copy else "",
        "before": _digest(move.looked.body or b""),
        "after": _digest(new.encode()),
        "servers": [one.name for one in adopted],
    }
    kept = None
    try:
        kept = put(record, _lines([*steps, step]))
        put(move.looked, new.encode())
    except (OperationRefused, OSError):
        if kept:
            _forget(kept, steps)
        if copy:
            copy.unlink()
        raise
    return str(copy) if copy else ""


def _undo(on: Invocation, spot: Spot, *, discard: bool, yes: bool) -> None:
    looked = spot.look()
    record = _record(looked.path)
    steps = _steps(record)
    if not steps:
        raise OperationRefused(
            f"nothing was adopted from {spot.file}",
            f"there is no record of it beside it ({record.path.name})",
            f"see what the client has: customhouse connect {spot.client.name} --check",
            Exit.NO,
        )
    step = steps[-1]
    backup = look(looked.path.with_name(Path(step["backup"]).name), looked.path.parent)
    if backup.body is None or _digest(backup.body) != step["before"]:
        raise _refused(backup.path, "it is not the copy that was made", "look for another one")
    is_changed = _digest(looked.body or b"") != step["after"]
    if is_changed and not discard:
        raise _refused(
            looked.path,
            "it has changed since its servers were adopted, and what changed would be lost",
            f"put it right by hand with {backup.path}, or say --discard",
        )
    names = ", ".join(step["servers"])
    on.confirm(f"put {looked.path} back as it was with {names}?", yes=yes)
    kept = back_up(looked, datetime.now(UTC)) if is_changed else None
    put(looked, backup.body)
    _forget(record, steps[:-1])
    backup.path.unlink()
    on.screen.whole({"file": str(looked.path), "servers": step["servers"]})
    on.screen.line(f"{looked.path} is as it was")
    if kept:
        on.screen.note(f"what it had become: {kept}")
    on.screen.note(f"still behind the gateway: {names} (customhouse server remove NAME)")


def _forget(record: Looked, steps: Sequence[Mapping[str, Any]]) -> None:
    """Go back to an earlier record, or to none."""
    if steps:
        put(record, _lines(steps))
    else:
        record.path.unlink()


def _record(file: Path) -> Looked:
    return look(file.with_name(file.name + _RECORD), file.parent)


def _steps(record: Looked) -> list[dict[str, Any]]:
    """What was done to the file, the newest last. Raises: OperationRefused: somebody changed it."""
    try:
        steps = json.loads(record.body or b"[]")
        texts = [
            [step["backup"], step["before"], step["after"], *step["servers"]] for step in steps
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        texts = [[""]]
    if not all(isinstance(text, str) and text for row in texts for text in row):
        raise _refused(record.path, "it is not as it was written", "remove it")
    whole: list[dict[str, Any]] = steps
    return whole


def _lines(steps: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(steps, indent=1).encode() + b"\n"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _refused(path: Path, why: str, fix: str) -> OperationRefused:
    return OperationRefused(f"{path} is left alone", why, fix, Exit.CONFLICT)
