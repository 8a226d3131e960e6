"""customhouse audit erase: destroying what lies beside the log, with an entry that says so."""

from __future__ import annotations

import re
from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common, end, now_us
from gateway.domain.operator import Exit, OperationRefused, usage

_CALL = re.compile(r"[0-9A-Z]{26}", re.IGNORECASE)


@click.command("erase")
@click.argument("what", metavar="CALL|SUBJECT", required=False)
@click.option(
    "--older-than", metavar="AGE", help="All arguments, results and reasons older than 183d."
)
@click.option("--policies", is_flag=True, help="Stored policy versions that name SUBJECT, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def erase(
    on: Invocation,
    what: str | None,
    older_than: str | None,
    policies: bool,
    yes: bool,
    reason: str,
) -> None:
    """Destroy names, arguments, results and reasons, with the salts that would prove them.

    \b
    customhouse audit erase subject:report-bot
    customhouse audit erase call:01JD0M4Q8Z7W5T2Y7M4N6P0VXC
    customhouse audit erase --older-than 183d

    With a call goes what it caused, such as the answers of a person. Entries stay, and every proof
    stays valid. Nothing can be brought back; copies and backups of the database are yours to deal
    with. Exit 1: something is left, and it is said where.
    """
    if bool(what) == bool(older_than):
        raise usage("erase a call, a subject, or what is older", "say one of them")
    asked = _older(older_than) if older_than else _named(on, what or "")
    on.confirm(_question(on, asked), yes=yes)
    if policies and "subject" in asked:
        asked["policies"] = True
    if "subject" in asked:
        asked["registered"] = True
    done = _all_of_it(on, {**asked, "reason": reason})
    if on.screen.as_json:
        on.screen.value(done)
    else:
        _say(on, asked, done)
    end(Exit.YES if done["scrubbed"] and not done["set_aside"] else Exit.NO)


def _all_of_it(on: Invocation, asked: dict[str, Any]) -> dict[str, Any]:
    """Step after step, so that the gateway is held up by none of them."""
    total: dict[str, Any] = {}
    while True:
        step = dict(on.change("audit.erase", **asked))
        for key in ("payloads", "names", "policies"):
            total[key] = total.get(key, 0) + step[key]
        following = step.pop("next")
        if following < 0:
            return {**step, **total}
        asked = {**asked, "from": following}


def _older(age: str) -> dict[str, Any]:
    from gateway.app.operations.query import moment

    return {"before_us": moment(age, now_us())[0]}


def _named(on: Invocation, what: str) -> dict[str, Any]:
    """What is meant by *what*: call:ID, subject:NAME, or whichever of them the log knows."""
    word, colon, rest = what.partition(":")
    if colon and word in ("call", "subject") and rest:
        return {word: _whole_id(on, rest) if word == "call" else rest}
    from gateway.store.pseudonyms import SUBJECT

    with on.trail() as trail:
        is_call = bool(_CALL.fullmatch(what) and trail.of_call(what.upper()))
        is_subject = bool(trail.pseudonym(SUBJECT, what))
    if is_call is is_subject:
        raise OperationRefused(
            f"{what!a:.60} is {'a call and a subject' if is_call else 'no call and no subject'}",
            "what is erased cannot be brought back, so it is not guessed",
            f"say call:{what} or subject:{what}",
            Exit.CONFLICT if is_call else Exit.NO,
        )
    return {"call": what.upper()} if is_call else {"subject": what}


def _whole_id(on: Invocation, beginning: str) -> str:
    from gateway.cli.audit import whole_call_id

    with on.trail() as trail:
        return whole_call_id(trail, beginning)


def _question(on: Invocation, asked: dict[str, Any]) -> str:
    from gateway.domain.window import when

    if "call" in asked:
        return f"Destroy arguments and results of call {asked['call']}?"
    if "before_us" in asked:
        return f"Destroy all arguments, results and reasons before {when(asked['before_us'])[:19]}?"
    name = asked["subject"]
    if name in on.reading().identity.agents:
        on.screen.note(
            f"agent {name} is still registered: it stays, with its live keys, under a new id, and "
            "its rates and budgets begin anew"
        )
    return f"Destroy the name {name}, and arguments and results of all its calls?"


def _say(on: Invocation, asked: dict[str, Any], done: dict[str, Any]) -> None:
    said = [f"{done['payloads']} payloads"]
    if "subject" in asked:
        said.append(f"{done['names']} names")
    said += [f"{done['policies']} policy versions"] if done["policies"] else []
    on.screen.line(f"destroyed {', '.join(said)}")
    if done["policies_kept"]:
        on.screen.note(
            f"{done['policies_kept']} stored policy versions name it and stay, so that decisions can "
            "be replayed; --policies destroys all but the one in force"
        )
    if done.get("stays_revoked"):
        on.screen.note(
            "its tokens stay revoked: of the name a digest is kept, by which it can be told again, "
            "and with which whoever reads the database can try names"
        )
    if done.get("made_a_task"):
        on.screen.note(
            "it made a task: what is asked of that from now on is kept under the same id. Erase the "
            "call again when the task has ended; customhouse key rotate state ends all of them"
        )
    if done["set_aside"]:
        on.screen.note(
            f"{', '.join(done['set_aside'])} in {on.config.data_dir} are of the log before a "
            "reopening, and nothing was erased from them: delete them"
        )
    if not done["scrubbed"]:
        on.screen.note(
            "somebody is reading the database as it was: until it is read no more, the file beside "
            "it (-wal) holds what was destroyed. The next erasure or restart empties it"
        )
