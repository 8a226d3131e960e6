"""Two policies held against each other: rules, and what agents may do then that they may not now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.cli.invocation import Invocation
from gateway.cli.screen import GREEN, RED

if TYPE_CHECKING:
    from gateway.app.operations.reading import Reading
    from gateway.policy.compare import Change
    from gateway.policy.snapshot import Snapshot


def show_differences(on: Invocation, house: Reading, before: Snapshot, after: Snapshot) -> bool:
    """Show what is different in *after*; whether anything is."""
    from gateway.app.operations.comparing import differences
    from gateway.policy.compare import changed_lines

    lines = changed_lines(before, after)
    found = differences(house, before, after)
    if on.screen.as_json:
        on.screen.value({"rules": lines, "agents": [_as_json(change) for change in found]})
    else:
        show_lines(on, lines)
        head = ("AGENT", "TENANT", "OBJECT", "ACT", "NOW", "THEN")
        on.screen.table(head, [tuple(_as_json(change).values()) for change in found])
        gains = sum(change.gains for change in found)
        on.screen.note(f"{gains} gained, {len(found) - gains} lost or changed")
    return bool(lines or found)


def show_lines(on: Invocation, lines: Iterable[Iterable[str]]) -> None:
    """Rules, roles and conditions that go, and those that come."""
    for sign, text in lines:
        on.screen.line(f"{sign} {text}", GREEN if sign == "+" else RED)


def _as_json(change: Change) -> dict[str, str]:
    who = change.principal
    return {
        "agent": who.subject,
        "tenant": who.tenant,
        "object": change.object,
        "act": str(change.act),
        "now": change.before,
        "then": change.after,
    }
