"""customhouse audit reopen: going on when the log cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.invocation import Invocation, changing, common
from gateway.domain.operator import usage

if TYPE_CHECKING:
    from gateway.store.withdrawals import Withdrawn


@click.command("reopen")
@click.option("--accept-loss", is_flag=True, help="Say that you know what is lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@changing
@common
def reopen(on: Invocation, accept_loss: bool, yes: bool, reason: str) -> None:
    """Start a new log that names the one which cannot be continued; no server may run.

    For a log that is shorter than its remembered checkpoint (an old backup), or damaged, or whose
    keys are lost. The old one is kept, read-only. Agents, keys, servers and approvals that were made
    by command are not taken over: nobody can say which of them were withdrawn in what was lost. What
    the old one says was withdrawn stays so, and tokens that were issued until now are refused.
    """
    if not accept_loss:
        raise usage(
            "a log that begins anew proves nothing of what was lost",
            "try your backup first; then: customhouse audit reopen --accept-loss",
        )
    from gateway.app.operations.reopening import loss
    from gateway.app.operations.reopening import reopen as begin_anew
    from gateway.cli.reach import alone

    why, lost = alone(on.config, lambda _author: loss(on.config))
    on.screen.note(f"why it does not open: {why}")
    if lost is not None:
        left = ", ".join(f"{count} {name}" for name, count in lost.left_behind.items() if count)
        on.screen.note(f"the last that is known of it: {lost.last.size} entries of {lost.last.log}")
        on.screen.note(f"not taken over: {left or 'nothing that can be read'}, what was spent")
        _say_what_stays_withdrawn(on, lost.withdrawn)
    on.confirm("Start a new log?", yes=yes)
    done = alone(on.config, lambda author: begin_anew(on.config, author, reason))
    on.screen.whole(done)
    on.screen.line(f"log {done['log']} begins")
    if done["aside"]:
        on.screen.line(f"the old one is {on.config.data_dir / done['aside']}")
        vkey = on.config.keys_dir / done["vkey"] if done["vkey"] else "YOUR-COPY-OF-ITS-log.vkey"
        on.screen.note(
            f"verify it: customhouse audit verify --copy {on.config.data_dir / done['aside']} "
            f"--vkey {vkey}"
        )
    on.screen.note("next: customhouse serve")


def _say_what_stays_withdrawn(on: Invocation, withdrawn: Withdrawn) -> None:
    counts = withdrawn.counts
    words = {
        "agents": "agents disabled",
        "keys": "keys and tokens revoked",
        "servers": "servers suspended",
        "definitions": "definitions not approved",
    }
    stays = ", ".join(f"{counts[table]} {word}" for table, word in words.items() if table in counts)
    unread = f"; {', '.join(withdrawn.unread)} cannot be read" if withdrawn.unread else ""
    on.screen.note(f"stays withdrawn: {stays or 'nothing that is known'}{unread}")
    on.screen.note("every token that was issued until now is refused: their issuers give new ones")
    on.screen.note(
        "what was withdrawn in the part that is lost is not known. Look through the agents, keys and "
        "servers of the configuration, and withdraw again, before you serve"
    )
