"""customhouse policy simulate: a proposed policy over recorded calls, who gains and who loses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import QUALIFIED, Invocation, common, end, now_us
from gateway.cli.replaying import Opener
from gateway.cli.screen import GREEN, RED
from gateway.domain.operator import Exit, OperationRefused

if TYPE_CHECKING:
    from gateway.app.operations.query import Query

MAX_ROWS = 100
SEALED = click.option(
    "--sealed", is_flag=True, help="Leave arguments closed: what needs them is counted."
)


@click.command("simulate", context_settings=QUALIFIED)
@click.argument("words", nargs=-1, metavar="[FOLDER] [QUALIFIERS]...")
@SEALED
@common
def simulate(on: Invocation, words: tuple[str, ...], sealed: bool) -> None:
    """What recorded calls would meet if FOLDER (default: the policy folder) were put in force.

    \b
    customhouse policy simulate since:7d
    customhouse policy simulate ./draft agent:report-bot 'tool:pay/*'

    Each call is decided under the policy in force and under the proposed one. Exit 1: one of them
    otherwise. QUALIFIERS as of `audit query`. Open an example: customhouse audit show CALL.
    """
    from gateway.app.operations.reading import policy_in_force
    from gateway.app.operations.recalling import Recall
    from gateway.app.operations.simulating import reaches_back
    from gateway.app.operations.simulating import simulate as decide_both
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy

    folder, asked = told(on, words)
    house = on.reading()
    proposed = compile_policy(files.read(folder), house.identity.bindings())
    with on.trail() as trail:
        opener = Opener(on, trail, f"simulate {asked.text}".strip(), sealed=sealed)
        recall = Recall(trail, house, opener.open)
        done = decide_both(trail, recall, asked, policy_in_force(trail), proposed)
        since = reaches_back(trail)
    if on.screen.as_json:
        on.screen.value({"log_from": since, **done.as_json()})
    else:
        _say(on, done.as_json(), since)
    end(Exit.NO if done.changed else Exit.YES)


def told(on: Invocation, words: Sequence[str]) -> tuple[Path, Query]:
    """The folder, when the first word is no qualifier, and what is asked of the log."""
    from gateway.app.operations.query import parse

    named = bool(words) and ":" not in words[0]
    folder = Path(words[0]) if named else on.config.policies
    if not folder.is_dir():
        raise OperationRefused(
            f"there is no folder {str(folder)!a:.200}",
            "a proposed policy is a folder like the one in force",
            "copy the policy folder, change the copy, and name it",
            Exit.INVALID,
        )
    return folder, parse(words[named:], now_us())


def _say(on: Invocation, said: dict[str, Any], since: str) -> None:
    changes = said["changes"]
    head = ("AGENT", "TENANT", "OBJECT", "ACT", "CHANGE", "CALLS", "EXAMPLE", "BY")
    on.screen.table(head, map(_row, changes[:MAX_ROWS]))
    if len(changes) > MAX_ROWS:
        on.screen.note(f"the first {MAX_ROWS} of {len(changes)} are shown; --json has all")
    on.screen.line(
        f"{said['calls']} calls: {said['alike']} alike, {said['gained']} gained, {said['lost']} lost",
        RED if changes else GREEN,
    )
    on.screen.note(f"the log reaches back to {since}")
    if changes:
        on.screen.note("open an example: customhouse audit show CALL")
    left_out(on, "not simulated", said["not_simulated"])


def left_out(on: Invocation, what: str, reasons: dict[str, int]) -> None:
    """What the log does not hold, by its reason."""
    for why, count in reasons.items():
        on.screen.note(f"{what}: {count}: {why}")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    by = f"{one['by']}; by the tags of today" if one["on_tags_of_today"] else one["by"]
    keys = ("agent", "tenant", "object", "act", "change", "calls", "call")
    return (*(str(one[key]) for key in keys), by)
