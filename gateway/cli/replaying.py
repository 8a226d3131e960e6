"""customhouse audit replay: was every recorded call decided as its policy says?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import QUALIFIED, Invocation, common, end, now_us
from gateway.cli.screen import GREEN, RED
from gateway.domain.operator import Exit

if TYPE_CHECKING:
    from gateway.app.operations.opening import Opened, Ring
    from gateway.app.operations.recalling import Decided
    from gateway.store.trail import Trail


@click.command("replay", context_settings=QUALIFIED)
@click.argument("qualifiers", nargs=-1)
@click.option("--sealed", is_flag=True, help="Leave arguments closed: what needs them is counted.")
@common
def replay(on: Invocation, qualifiers: tuple[str, ...], sealed: bool) -> None:
    """Decide recorded calls again, each under its stored policy version. Exit 1: one differs.

    \b
    customhouse audit replay since:7d
    customhouse audit replay agent:report-bot 'tool:pay/*'

    Where conditions look at arguments, these are opened with the payload key: that is an entry.
    """
    from gateway.app.operations.query import parse
    from gateway.app.operations.replaying import replay as decide_again

    asked = parse(qualifiers, now_us())
    reading = on.reading()
    with on.trail() as trail:
        opener = Opener(on, trail, f"replay {asked.text}".strip(), sealed=sealed)
        replayed = decide_again(trail, reading, asked, opener.open)
    if on.screen.as_json:
        on.screen.value(replayed.as_json())
    else:
        _say(on, replayed.as_json())
    end(Exit.NO if replayed.differ else Exit.YES)


class Opener:
    """Opens payloads. The first one makes the entry that says so; where none matters there is none."""

    def __init__(self, on: Invocation, trail: Trail, note: str, *, sealed: bool) -> None:
        self._on = on
        self._trail = trail
        self._note = note
        self._sealed = sealed
        self._ring: Ring | None = None

    def open(self, entry: Decided) -> Opened | None:
        from gateway.app.operations.opening import Opened, open_payload, payload_key
        from gateway.app.operations.recalling import LEFT_SEALED

        if self._sealed:
            return Opened(entry.i, "arguments", problem=LEFT_SEALED)
        if self._ring is None:
            self._ring = payload_key(self._on.config.keys_dir)
            self._on.change("audit.payload_read", subject="query", note=self._note)
        return open_payload(self._trail, self._ring, entry)


def _say(on: Invocation, said: dict[str, Any]) -> None:
    on.screen.line(
        f"{said['agree']} decided alike, {said['differ']} otherwise, "
        f"{sum(said['not_replayed'].values())} cannot be replayed",
        RED if said["differ"] else GREEN,
    )
    for why, count in said["not_replayed"].items():
        on.screen.line(f"  {count}: {why}")
    for one in said["differences"]:
        on.screen.line(
            f"  {one['at']}  {one['call']}  {one.get('agent', '')} {one.get('object', '')}"
        )
        for key in ("verdict", "rule", "conditions"):
            if key in one:
                on.screen.line(f"    {key}: {one[key]['then']} in the log, {one[key]['now']} now")
    if said["differ"] > len(said["differences"]):
        on.screen.note(f"the first {len(said['differences'])} are shown")
