"""customhouse audit: search, read, follow and prove the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.erasing import erase
from gateway.cli.exporting import export, verify_export
from gateway.cli.invocation import QUALIFIED, Invocation, common, end, now_us
from gateway.cli.proofs import prove, verify
from gateway.cli.reopening import reopen
from gateway.cli.replaying import replay
from gateway.cli.screen import BOLD, RED, YELLOW, Screen
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.app.operations.opening import Opened, Ring
    from gateway.audit.entry import Entry
    from gateway.store.trail import Trail

POLL_S = 0.5
SHOWN_ID = 16  # of 26: ten are the time, so this is one in a billion of the same millisecond
_STYLES = {"refused": YELLOW, "failed": RED, "unknown": RED, "too_large": RED}
# Shown first, in this order; the rest as it comes.
_FIRST = ("call", "agent", "method", "object", "status", "code")
_NOT_SHOWN = ("at_us", "outcome_leaf")


@click.group()
def audit() -> None:
    """The log: search it, read a call from end to end, prove it."""


audit.add_command(verify)
audit.add_command(prove)
audit.add_command(erase)
audit.add_command(replay)
audit.add_command(reopen)
audit.add_command(export)
audit.add_command(verify_export)


@audit.command("query", context_settings=QUALIFIED)
@click.argument("qualifiers", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--payloads", is_flag=True, help="With arguments and results. Each look is an entry.")
@common
def query(on: Invocation, qualifiers: tuple[str, ...], limit: int, payloads: bool) -> None:
    """The newest entries that fit all QUALIFIERS. Exit 1: none does.

    \b
    customhouse audit query agent:report-bot code:rate_limited since:2026-11-22
    customhouse audit query 'tool:docs/*' -status:ok since:24h
    customhouse audit query kind:change author:'uid:0*'

    agent actor tenant team server tool object kind status code method act call run chain approval
    rule policy what author subject address by parent since until; a,b: either; x*: begins with;
    -key:value: not. actor: who acts for the agent. run: its id, or r0123456789abcdef as in the log.
    """
    rows = _found(on, qualifiers, limit, payloads=payloads)
    if on.screen.as_json:
        on.screen.value(rows)
    else:
        _table(on.screen, rows)
    end(Exit.YES if rows else Exit.NO)


@audit.command("show")
@click.argument("call_id", metavar="CALL")
@click.option("--payloads", is_flag=True, help="With arguments and results. The look is an entry.")
@common
def show(on: Invocation, call_id: str, payloads: bool) -> None:
    """Everything the log says of one call; the beginning of its id is enough. Exit 1: nothing."""
    call_id, rows = _of_call(on, call_id, payloads=payloads)
    on.screen.whole({"call": call_id, "entries": rows})
    for row in rows:
        _show(on.screen, row)


@audit.command("tail")
@click.option("-n", "count", type=click.IntRange(0, 10_000), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on as entries come.")
@common
def tail(on: Invocation, count: int, follow: bool) -> None:
    """The last entries, one line each (--json: one object each)."""
    from gateway.app.operations.search import follow as behind

    with on.trail() as trail:
        leaf = trail.size() - count - 1
        for row in behind(trail, leaf):
            _line(on.screen, row)
            leaf = row["leaf"]
    while follow:
        time.sleep(POLL_S)
        # Opened anew each time: no long reading transaction keeps the server from trimming its log.
        with on.trail() as trail:
            for row in behind(trail, leaf):
                _line(on.screen, row)
                leaf = row["leaf"]


def whole_call_id(trail: Trail, beginning: str) -> str:
    """The one call whose id begins so. Raises: OperationRefused: none, or several."""
    found = trail.calls_like(beginning.upper(), 6) if beginning else []
    if not found:
        raise OperationRefused(
            f"the log knows no call {beginning!a:.40}",
            "a call is in the log from the moment it is admitted or refused",
            "look for it: customhouse audit query since:1h",
            Exit.NO,
        )
    if len(found) > 1 and beginning.upper() not in found:
        raise OperationRefused(
            f"more than one call begins with {beginning!a:.40}",
            f"for example {', '.join(found[:5])}",
            "say more of the id",
            Exit.CONFLICT,
        )
    return beginning.upper() if beginning.upper() in found else found[0]


def _found(
    on: Invocation, qualifiers: Sequence[str], limit: int, *, payloads: bool
) -> list[dict[str, Any]]:
    """The newest entries that fit, oldest first."""
    if on.remote is not None:
        if payloads:
            raise usage(
                "payloads are not listed from elsewhere", "look at one: audit show CALL --payloads"
            )
        return list(on.remote.rows("entry.list", limit, q=qualifiers))[::-1]
    from gateway.app.operations.query import parse
    from gateway.app.operations.search import search, with_rules

    asked = parse(qualifiers, now_us())
    key = _key(on, "query", asked.text) if payloads else None
    with on.trail() as trail:
        rows = with_rules(trail, search(trail, asked, limit))
        return [row | _opened_row(trail, key, row) for row in rows] if key is not None else rows


def _of_call(on: Invocation, call_id: str, *, payloads: bool) -> tuple[str, list[dict[str, Any]]]:
    """The whole id of a call, and all its entries."""
    if on.remote is not None:
        told = on.remote.look("call.payloads" if payloads else "call.show", call=call_id.upper())
        return told["call"], told["entries"]
    from gateway.app.operations.search import one_call, with_rules

    with on.trail() as trail:
        call_id = whole_call_id(trail, call_id)
    key = _key(on, f"call/{call_id}", "") if payloads else None
    with on.trail() as trail:
        found = one_call(trail, call_id)
        ruled = with_rules(trail, [row for _, row in found])
        opened = [_payload(trail, key, entry) if key else {} for entry, _ in found]
    return call_id, [row | more for row, more in zip(ruled, opened, strict=True)]


# -- payloads -------------------------------------------------------------------------------------


def _key(on: Invocation, subject: str, note: str) -> Ring:
    """The keys to payloads, once the look is in the log."""
    from gateway.app.operations.opening import payload_key

    key = payload_key(on.config.keys_dir)
    on.change("audit.payload_read", subject=subject, note=note)
    return key


def _payload(trail: Trail, key: Ring, entry: Entry) -> dict[str, Any]:
    from gateway.app.operations.opening import open_payload

    opened = open_payload(trail, key, entry)
    return {} if opened is None else {f"{opened.of}_opened": _said(opened)}


def _opened_row(trail: Trail, key: Ring, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for leaf in (row["leaf"], row.get("outcome_leaf")):
        if leaf is not None:
            found |= _payload(trail, key, trail.entry(leaf))
    return found


def _said(opened: Opened) -> str:
    if opened.problem:
        return f"({opened.problem})"
    return opened.content.decode("utf-8", "backslashreplace")


# -- on the screen --------------------------------------------------------------------------------


def _table(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    columns = ("TIME", "CALL", "WHO", "WHAT", "END", "MORE")
    cells = [_cells(row) for row in rows]
    if screen.is_terminal:  # the beginning of an id is enough for `audit show`
        cells = [(at[5:], call[:SHOWN_ID], *rest) for at, call, *rest in cells]
    screen.table(columns, cells, unfolded=2)
    if not rows:
        screen.note("nothing in the log fits")
    for row in rows:
        for key in ("arguments_opened", "result_opened", "note_opened"):
            if key in row:
                screen.note(f"{row.get('call') or row['leaf']} {key}: {row[key]}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    code = row.get("code", "")
    codes = ",".join(code) if isinstance(code, list) else code
    return (
        row["at"][:19].replace("T", " "),
        row.get("call", ""),
        _who(row),
        _what(row),
        " ".join(filter(None, (row.get("status", ""), codes))),
        _more(row),
    )


def _who(row: dict[str, Any]) -> str:
    if "agent" in row:
        return " for ".join((*row.get("actors", ()), row["agent"]))  # the nearest does it
    return row.get("author") or row.get("address") or ""


def _what(row: dict[str, Any]) -> str:
    """The object of a call, the words of a change; for the rest what kind of entry it is."""
    if row["kind"] == "change":
        return " ".join(filter(None, (row["what"], row.get("subject"))))
    if row["kind"] in ("call", "single", "refused"):
        named = str(row.get("object", ""))
        if named.partition("/")[2] == "-":  # of all that there is of a kind, or of no one thing
            named = ""
        return named or str(row.get("method") or row["kind"])
    return str(row["kind"])


def _more(row: dict[str, Any]) -> str:
    charged = row.get("charged", {})
    parts = [f"rule {row.get('rule_place', row['rule'])}"] if "rule" in row else []
    parts += [f"{charged['tokens']} tokens", f"{row['ms']} ms"] if charged else []
    parts += [f"{row['count']} times"] if "count" in row else []
    parts += [_detail(key, value) for key, value in row.get("detail", {}).items()]
    return ", ".join(parts)


def _detail(key: str, value: Any) -> str:
    from gateway.domain.window import when

    if key == "reset_at_us" and isinstance(value, int):
        return f"again at {when(value)[:19]}Z"
    return f"{key} {value}"


def _line(screen: Screen, row: dict[str, Any]) -> None:
    if screen.as_json:
        screen.json_line(row)
        return
    style = _STYLES.get(row.get("status", ""), "")
    screen.line("  ".join(filter(None, _cells(row))), style)


def _show(screen: Screen, row: dict[str, Any]) -> None:
    screen.line(f"{row['at']}  {row['kind']}  (entry {row['leaf']})", BOLD)
    for key, value in _ordered(row):
        if key == "detail":
            text = ", ".join(_detail(name, item) for name, item in value.items())
        else:
            text = value if isinstance(value, str) else _flat(value)
        lines = text.split("\n")
        screen.line(f"  {key}: {lines[0]}")
        for line in lines[1:]:
            screen.line(f"    {line}")


def _ordered(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    hidden = ("at", "kind", "leaf", *_NOT_SHOWN)
    yield from ((key, row[key]) for key in _FIRST if key in row)
    yield from ((k, v) for k, v in row.items() if k not in _FIRST and k not in hidden)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    return str(value)
