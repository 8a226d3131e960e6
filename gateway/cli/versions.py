"""customhouse policy history, rollback, pending, approve: versions of the policy, and two persons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.differing import show_differences, show_lines
from gateway.cli.invocation import Invocation, changing, common, end, now_us
from gateway.cli.screen import BOLD, YELLOW
from gateway.domain.operator import Exit

if TYPE_CHECKING:
    from gateway.app.course import Step
    from gateway.cli.remote import Remote

SHOWN = 12  # of a digest, where it need not be typed
YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command("history")
@common
def history(on: Invocation) -> None:
    """Versions that were in force, the newest first: since when, until when, and by whom."""
    from gateway.app.operations.versions import history as versions

    with on.trail() as trail:
        rows = list(versions(trail))
    on.screen.whole(rows)
    head = ("VERSION", "SINCE", "UNTIL", "BY", "HOW")
    on.screen.table(head, [_told(row) for row in rows], unfolded=3)


@click.command("rollback")
@click.argument("version")
@click.option("--write", is_flag=True, help="Write its files to the policy folder, with a backup.")
@changing
@common
def rollback(on: Invocation, version: str, write: bool, reason: str) -> None:
    """Put the files of VERSION (or its beginning) in force again. See `policy history`.

    Agents keep the roles they have now. The policy folder decides nothing then, not even at a
    restart, until somebody says `policy apply`. With two_person_policy it is only proposed.
    """
    from gateway.cli.restoring import Folder

    folder = Folder.of(on.config.policies)
    done = on.change("policy.rollback", version=version, reason=reason)
    source = _files(on, done["back_to"])
    backup, differing = None, folder.differs_from(source)
    if not on.screen.as_json:
        say_in_force(on, done)
    if write and differing and not done.get("proposed"):
        backup = folder.write(source)
        # In force it is already. This says that the folder is to be believed again.
        on.change("policy.apply", only=done["version"])
    if on.screen.as_json:
        on.screen.value({**done, "differing": differing, "backup": str(backup) if backup else ""})
    elif backup:
        on.screen.note(f"{folder.path} holds its files now; those before are in {backup}")
    elif differing:
        on.screen.note(f"{folder.path} holds others, and decides nothing: {', '.join(differing)}")
        if done.get("proposed"):
            on.screen.note("once it is approved, write its files: the same command with --write")
        else:
            on.screen.note("write its files there with --write, or say: customhouse policy apply")


@click.command("pending")
@click.argument("digest", required=False)
@common
def pending(on: Invocation, digest: str | None) -> None:
    """Policies that were proposed; with DIGEST, what it would change. Exit 1: nothing waits."""
    if digest and on.remote is not None:
        _tell(on, on.remote.look("policy.proposal", digest=digest))
        return
    if digest:
        _show(on, digest)
        return
    rows = _rows(on)
    if on.screen.as_json:
        on.screen.value(rows)
    else:
        cells = [(row["digest"], row["proposed_by"], row["at"], row["until"]) for row in rows]
        on.screen.table(("DIGEST", "BY", "AT", "UNTIL"), cells)
    end(Exit.YES if rows else Exit.NO)


@click.command("approve")
@click.argument("digest")
@YES
@changing
@common
def approve(on: Invocation, digest: str, yes: bool, reason: str) -> None:
    """Put in force what somebody else proposed, after a look at what it changes."""
    if on.remote is not None:
        done = _approve_elsewhere(on, on.remote, digest, reason, yes=yes)
    else:
        if not on.screen.as_json and not yes:
            _show(on, digest)
        on.confirm(_question(digest), yes=yes)
        done = on.change("policy.approve", digest=digest, reason=reason)
    on.screen.whole(done)
    say_in_force(on, done)


def _approve_elsewhere(
    on: Invocation, remote: Remote, digest: str, reason: str, *, yes: bool
) -> dict[str, Any]:
    """What is put in force is what was looked at, in the place of what is in force now."""
    told, etag = remote.seen("policy.proposal", digest=digest)
    if not on.screen.as_json and not yes:
        _tell(on, told)
    on.confirm(_question(digest), yes=yes)
    done: dict[str, Any] = remote.change(
        "policy.approve", {"digest": digest, "reason": reason}, etag
    )
    return done


def _question(digest: str) -> str:
    return f"Put policy {digest[:SHOWN]} in force?"


COMMANDS = (history, rollback, pending, approve)


def say_in_force(on: Invocation, done: dict[str, Any]) -> None:
    """What became of an attempt to put a policy in force."""
    if done.get("proposed"):
        on.screen.line(f"policy {done['proposed'][:SHOWN]} is proposed, and not in force", YELLOW)
        on.screen.note(f"until {done['until']}, another person: ")
        on.screen.note(f"  customhouse policy approve {done['proposed']}")
        return
    version = done["version"][:SHOWN]
    on.screen.line(f"policy {version} is in force: {done['rules']} rules", BOLD)
    back_to = done.get("back_to", "")
    if back_to and back_to != done["version"]:
        on.screen.note(f"the files are those of {back_to[:SHOWN]}, with the roles of now")


def _told(row: dict[str, Any]) -> tuple[str, ...]:
    how = [row["what"], row["subject"]]
    if row["back_to"]:
        how.append(f"back to {row['back_to'][:SHOWN]}")
    if row["proposed_by"]:
        how.append(f"proposed by {', '.join(row['proposed_by'])}")
    if not row["stored"]:
        how.append("not stored")
    until = row["until"] or "in force"
    return row["version"][:SHOWN], row["since"], until, row["by"], " ".join(filter(None, how))


def _files(on: Invocation, version: str) -> Any:
    from gateway.app.operations.versions import files_of

    with on.trail() as trail:
        return files_of(trail, version)


def _rows(on: Invocation) -> list[dict[str, Any]]:
    """What waits, the oldest first."""
    if on.remote is not None:
        return list(on.remote.rows("policy.pending"))
    from gateway.app.operations.proposing import as_row

    return [as_row(step) for step in _waiting(on)]


def _waiting(on: Invocation) -> list[Step]:
    from gateway.app.course import standing
    from gateway.app.operations.proposing import can_wait

    with on.trail() as trail:
        now = standing(trail)
    return [step for step in reversed(now.proposals) if can_wait(step, now.version, now_us())]


def _tell(on: Invocation, told: dict[str, Any]) -> None:
    """What a proposed policy would change, as the gateway elsewhere says it."""
    on.screen.whole(told)
    on.screen.note(f"proposed by {told['proposed_by']} at {told['at']}")
    on.screen.note(f"files that change: {', '.join(told['files']) or 'none'}")
    show_lines(on, told["rules"])


def _show(on: Invocation, digest: str) -> None:
    """What the proposed policy would change: rules, conditions, rights, and which files."""
    from gateway.app.operations.entering import unknown
    from gateway.app.operations.reading import policy_in_force
    from gateway.app.operations.versions import files_of, snapshot_of
    from gateway.policy.files import differing
    from gateway.policy.snapshot import builtin_deny_all

    if digest not in {step.version for step in _waiting(on)}:
        raise unknown("proposal", digest, "see what waits: customhouse policy pending")
    house = on.reading()
    with on.trail() as trail:
        before, after = policy_in_force(trail), snapshot_of(trail, digest)
        proposed = files_of(trail, digest).files
        is_first = before.version == builtin_deny_all().version
        files = differing({} if is_first else files_of(trail, before.version).files, proposed)
    if not on.screen.as_json:
        on.screen.note(f"files that change: {', '.join(files) or 'none'}")
    show_differences(on, house, before, after)
