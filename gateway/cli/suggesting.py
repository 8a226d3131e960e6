"""customhouse policy unused, policy suggest: what of a policy recorded calls needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import QUALIFIED, Invocation, common, end, now_us
from gateway.cli.replaying import Opener
from gateway.cli.screen import GREEN, RED
from gateway.cli.simulating import SEALED, left_out
from gateway.domain.operator import Exit

if TYPE_CHECKING:
    from gateway.app.operations.query import Query
    from gateway.app.operations.recalling import Recall
    from gateway.policy.snapshot import Snapshot
    from gateway.store.trail import Trail

    Asked = Callable[[Trail, Recall, Query, Snapshot], Any]

MAX_ADDITIONS = 200
QUALIFIERS = click.argument("qualifiers", nargs=-1)


@click.command("unused", context_settings=QUALIFIED)
@QUALIFIERS
@SEALED
@common
def unused(on: Invocation, qualifiers: tuple[str, ...], sealed: bool) -> None:
    """Rules and roles in force that no recorded call needed. Exit 1: there are some.

    \b
    customhouse policy unused since:90d

    Calls of earlier versions count for the rule that would decide them now. Deny rules are listed
    apart: a guard rail that never fired is not useless.
    """
    from gateway.app.operations.usage import unused as no_call_needed

    said = _asked(on, "unused", qualifiers, no_call_needed, sealed=sealed)
    if on.screen.as_json:
        on.screen.value(said)
    else:
        _say_unused(on, said)
    end(Exit.NO if said["rules"] or said["memberships"] else Exit.YES)


@click.command("suggest", context_settings=QUALIFIED)
@QUALIFIERS
@click.option(
    "--from",
    "source",
    type=click.Choice(["used", "refused"]),
    default="used",
    show_default=True,
    help="Narrow the rules in force to what was used, or allow what was refused.",
)
@SEALED
@common
def suggest(on: Invocation, qualifiers: tuple[str, ...], source: str, sealed: bool) -> None:
    """Rules that allow what recorded calls did and no more, as lines to paste. Nothing is applied.

    \b
    customhouse policy suggest since:30d                        instead of the allow rules in force
    customhouse policy suggest --from refused agent:report-bot  beside the rules in force

    Whoever is refused chooses what it asks for: read each line of `--from refused` before you
    believe it. Exit 1: there is nothing to suggest.
    """
    from gateway.app.operations.usage import from_refused, from_used

    asked = from_used if source == "used" else from_refused
    said = _asked(on, "suggest", qualifiers, asked, sealed=sealed)
    if on.screen.as_json:
        on.screen.value({"from": source, **said})
    else:
        for line in _narrowings(said) if source == "used" else _additions(said):
            on.screen.line(line)
        on.screen.note(f"the log reaches back to {said['log_from']}; nothing was applied")
        left_out(on, "not counted", said["not_counted"])
    end(Exit.YES if said["rules"] or said["additions"] else Exit.NO)


def _asked(
    on: Invocation, name: str, qualifiers: tuple[str, ...], ask: Asked, *, sealed: bool
) -> dict[str, Any]:
    """What *ask* says of the policy in force, and how far the log reaches back."""
    from gateway.app.operations.query import parse
    from gateway.app.operations.reading import policy_in_force
    from gateway.app.operations.recalling import Recall
    from gateway.app.operations.simulating import reaches_back

    asked = parse(qualifiers, now_us())
    house = on.reading()
    with on.trail() as trail:
        opener = Opener(on, trail, f"{name} {asked.text}".strip(), sealed=sealed)
        snapshot = policy_in_force(trail)
        found = ask(trail, Recall(trail, house, opener.open), asked, snapshot)
        return {
            "log_from": reaches_back(trail),
            "policy": snapshot.version,
            **found.as_json(),
        }


def _say_unused(on: Invocation, said: dict[str, Any]) -> None:
    kinds = {
        "rules": "allow",
        "memberships": "role",
        "guard_rails": "deny",
        "untold": "not told by the log",
    }
    rows = [(kind, _place(one), one["text"]) for key, kind in kinds.items() for one in said[key]]
    on.screen.table(("WHAT", "PLACE", "LINE"), rows)
    found = len(said["rules"]) + len(said["memberships"])
    on.screen.line(
        f"{len(said['rules'])} allow rules and {len(said['memberships'])} memberships "
        f"that none of {said['calls']} calls needed",
        RED if found else GREEN,
    )
    on.screen.note(f"the log reaches back to {said['log_from']}")
    left_out(on, "not counted", said["not_counted"])


def _narrowings(said: dict[str, Any]) -> Iterator[str]:
    """The file, as far as it allows anything: every line is a rule or a comment."""
    if not said["rules"]:
        return
    yield f"# Instead of the allow rules of policy {said['policy'][:12]}; deny rules and roles stay."
    yield f"# From {said['calls']} calls that were admitted. Try it: customhouse policy simulate FOLDER"
    file = ""
    for one in said["rules"]:
        if one["file"] != file:
            file = one["file"]
            yield f"# ---- {file}"
        yield from _narrowing(one)


def _narrowing(one: dict[str, Any]) -> Iterator[str]:
    if one["why"] or one["instead"] != [one["text"]]:
        why = f" ({one['why']})" if one["why"] else ""
        yield f"# line {one['line']}, {one['calls'] or 'no'} calls{why}: {one['text']}"
    yield from one["instead"]
    for line in one["wider"]:
        yield f"# wider than what was seen: {line}"


def _additions(said: dict[str, Any]) -> Iterator[str]:
    """Each with how often it was refused; then what gets no line, and why."""
    found = sorted(said["additions"], key=lambda one: -one["calls"])
    lines = [one for one in found if one["line"]]
    if lines:
        yield "# What callers were refused, beside the rules in force. They chose what to ask for."
    for one in lines[:MAX_ADDITIONS]:
        yield f"# refused {one['calls']} times, such as {one['call']}"
        yield one["line"]
    if len(lines) > MAX_ADDITIONS:
        yield f"# the {MAX_ADDITIONS} most frequent of {len(lines)}; --json has all"
    for line in said["wider"]:
        yield f"# wider than what was seen: {line}"
    yield from _without_line(one for one in found if not one["line"])


def _without_line(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One comment for each caller and reason."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in found:
        groups.setdefault((one["subject"], one["tenant"], one["why"]), []).append(one)
    for (subject, tenant, why), ones in list(groups.items())[:MAX_ADDITIONS]:
        calls, first = sum(one["calls"] for one in ones), ones[0]
        yield (
            f"# no line: {subject} of {tenant}, {calls} times, {len(ones)} objects such as "
            f"{first['object']} in {first['call']}: {why}"
        )


def _place(one: dict[str, Any]) -> str:
    return f"{one['file']}:{one['line']}" if one["line"] else str(one["file"])
