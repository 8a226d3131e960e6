"""customhouse server add: what others wrote down of a server becomes a proposal of ours."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, changing, common, end
from gateway.cli.screen import BOLD, RED, YELLOW, Screen, reasons
from gateway.cli.sources import Asked, Found, chosen, found_at, is_own
from gateway.domain.names import is_name
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.app.operations.reading import Reading
    from gateway.config.sources import Candidate

MOST_OPERATIONS = 40  # among more, models choose badly
_FORMATS = (
    *("claude-desktop", "claude-code", "vscode", "cursor", "codex", "gemini"),
    *("registry", "openapi"),
)
_LEFT_OUT: tuple[object, ...] = (None, "", (), {})


@click.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("source", metavar="SOURCE")
@click.argument("words", nargs=-1, metavar="[NAME...] | [-- COMMAND...]")
@click.option("--url", help="A Streamable HTTP server; with a document: where its API is.")
@click.option("--python", help="The functions of a Python module.")
@click.option("--as", "new_name", metavar="NAME", help="What the one server is called here.")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="What the file is.")
@click.option("--writes", is_flag=True, help="Of a document, also operations that are not GET.")
@click.option("--dry-run", is_flag=True, help="Show what would be added, and add nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--auth", help="Its credential, by reference: env:NAME or file:PATH.")
@click.option("--env", "variables", multiple=True, help="NAME=VALUE for its process.")
@click.option("--cwd", help="The folder its process runs in.")
@click.option("--tool", "tools", multiple=True, help="Take in only these, e.g. 'get_*'.")
@click.option("--tag", "tags", multiple=True, help="GLOB=TAG[,TAG], e.g. 'get_*=file_read'.")
@click.option("--approve", type=click.Choice(["ask", "first-seen"]), help="Default: ask.")
@click.option("--prefix", help="In front of its tools' names on /mcp (default: NAME).")
@click.option("--timeout-s", type=float, help="For one call.")
@click.option("--max-result-tokens", type=int)
@click.option("--price", type=int, help="Micro-units for one call.")
@changing
@common
def add(on: Invocation, source: str, words: tuple[str, ...], reason: str, **given: Any) -> None:
    """Put servers behind the border, and look at them. What they offer is proposed.

    SOURCE is a name of your choice, with a command or --url; or where servers are described: a
    file or a URL (it has a dot, a slash or a colon, as no name has).

    \b
    customhouse server add time -- mcp-server-time --local-timezone UTC
    customhouse server add docs --url https://docs.example.com/mcp --auth env:DOCS_TOKEN
    customhouse server add https://docs.example.com/mcp
    customhouse server add python:package.module
    customhouse server add ~/.cursor/mcp.json [NAME...]
    customhouse server add ./server.json
    customhouse server add ./billing.openapi.yaml --tool 'get*' --auth env:BILLING_TOKEN

    Files of Claude Desktop, Claude Code, VS Code, Cursor, Codex and Gemini are known by their names
    (else say --format), the registry's server.json and OpenAPI 3.0 or 3.1 by what they hold. All
    their servers are added, or those you name, after you have seen them. A secret in a file is not
    taken over, nor is a variable that it names: it becomes env:UPSTREAM_SERVER_NAME, and you are
    told to set it for the gateway. No shell reads a command.

    These are set in the configuration file only, as [servers.NAME], in the place of this command:
    sign, cache, session, requests, max_result_bytes, limits.
    """
    own = _table(given)
    if is_name(source):
        _refuse_stray(given)
        _by_hand(on, source, {**_target(source, words, given), **own}, given, reason)
        return
    asked = Asked(_format(given["form"]), given["writes"], given["url"] or "", given["auth"] or "")
    found = found_at(source, asked)
    _refuse_misplaced(found, given)
    if not found.typed:
        house = on.reading()
        found = replace(found, candidates=[untaken(house, one, own) for one in found.candidates])
    picked = chosen(found, words, given["new_name"])
    if found.typed:
        (one,) = picked
        _by_hand(on, one.name, {**one.table, **own}, given, reason)
    else:
        _take_in(on, found, picked, own, given, reason)


def _by_hand(
    on: Invocation, name: str, table: Mapping[str, Any], given: Mapping[str, Any], reason: str
) -> None:
    """A server whose every part stood on the command line."""
    if not {"command", "url", "python"} & table.keys():
        raise usage(
            f"{name} is a name, and nothing says what it is",
            f"say customhouse server add {name} -- COMMAND, or --url; a file is named ./{name}",
        )
    if given["dry_run"]:
        from gateway.config import server_from
        from gateway.config.sources import Candidate

        server_from(name, table, Path.cwd())
        _show(on, Found(name, [Candidate(name, name, table)]), {}, adds_nothing=True)
        return
    done = on.change("server.add", name=name, table=table, reason=reason)
    if not on.screen.as_json:
        on.screen.line(f"added server {name}")
    seen = _looked_at(on, name)
    on.screen.whole({**done, "seen": seen})
    show_seen(on.screen, seen)


def _take_in(
    on: Invocation,
    found: Found,
    picked: Sequence[Candidate],
    own: Mapping[str, Any],
    given: Mapping[str, Any],
    reason: str,
) -> None:
    """Show what a source describes, and add what was chosen of it once a person has said yes."""
    if own and len(picked) > 1:
        raise usage("these options are for one server", "name the one, too")
    _show(on, found, own, adds_nothing=given["dry_run"])
    if given["dry_run"]:
        return
    listen = on.config.listen
    picked = [one for one in picked if not is_own(one.table, listen.host, listen.port)]
    if not picked:
        raise usage("there is nothing here to add", "see why with --dry-run")
    _refuse_too_many(found, own)
    starts = any("command" in one.table for one in picked)
    then = " Their programs are started to look at them." if starts else ""
    on.confirm(f"add {', '.join(one.name for one in picked)}?{then}", yes=given["yes"])
    rows = [_added(on, one, own, reason) for one in picked]
    if on.screen.as_json:
        on.screen.value({"source": found.title, "servers": rows})
    worst = max(row["exit_code"] for row in rows)
    if worst:
        end(Exit(worst))


def _added(on: Invocation, one: Candidate, own: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """One server added and looked at, or why not; the others come all the same."""
    row: dict[str, Any] = {"name": one.name, "added": False, "exit_code": 0}
    try:
        refuse_taken(on, one, own)
        row |= on.change("server.add", name=one.name, table=_merged(one, own), reason=reason)
        row["added"] = True
        if not on.screen.as_json:
            on.screen.line(f"added server {one.name}")
        row["seen"] = on.change("server.test", name=one.name)
        if not on.screen.as_json:
            show_seen(on.screen, row["seen"])
    except OperationRefused as no:
        row |= {"error": no.as_json(), "exit_code": int(no.exit_code)}
        on.screen.note(f"server {one.name}: {no.what}\n{reasons(no)}")
    return row


def untaken(house: Reading, one: Candidate, own: Mapping[str, Any]) -> Candidate:
    """*one*; without a table if it would get a secret of somebody else's."""
    from gateway.config.sources.owners import unless_taken

    return unless_taken(one, own, house.config.agents, house.servers)


def refuse_taken(on: Invocation, one: Candidate, own: Mapping[str, Any]) -> None:
    """Once more: a server of the same file may have been added since. Raises: OperationRefused."""
    now = untaken(on.reading(), one, own)
    if not now.table:
        raise OperationRefused(
            f"{one.called!a:.60} cannot be taken in",
            now.left_out,
            "add it by hand, with a reference of its own: --auth env:NAME, --env KEY=env:NAME",
            Exit.CONFLICT,
        )


def show_seen(screen: Screen, seen: Mapping[str, Any]) -> None:
    """What a look at a server found."""
    from gateway.cli.review import definition_table

    name = seen["name"]
    for change in seen["changes"]:
        style = {"quarantined": RED, "proposed": YELLOW}.get(change["approval"], "")
        screen.line(f"{change['what']}  {change['object']}  {change['approval']}", style)
    definition_table(screen, seen["definitions"])
    if answered := seen.get("provider"):
        screen.note(f"model {name}: its provider answers HTTP {answered['status']}")
        screen.note(f"asked was: {answered['asked']}")
        return
    screen.note(f"server {name} answers: {counted(seen['states']) or 'it offers nothing'}")
    if seen["states"].get("proposed"):
        screen.note(f"approve what you have seen: customhouse server approve {name}")


def counted(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _looked_at(on: Invocation, name: str) -> Any:
    try:
        return on.change("server.test", name=name)
    except OperationRefused as no:
        raise OperationRefused(
            f"server {name} was added, but it could not be looked at: {no.what}",
            no.why,
            no.fix,
            no.exit_code,
        ) from no


# -- the review table --------------------------------------------------------------------------


def _show(on: Invocation, found: Found, own: Mapping[str, Any], *, adds_nothing: bool) -> None:
    """What there is, what of it would be added, and what a person should know of it."""
    screen = on.screen
    listen = on.config.listen
    rows = [_row(one, own, listen.host, listen.port) for one in found.candidates]
    if screen.as_json:
        if adds_nothing:
            screen.value(
                {
                    "source": found.title,
                    "servers": rows,
                    "findings": list(found.findings),
                    "operations": list(found.operations or ()),
                }
            )
        return
    screen.line(found.title, BOLD)
    screen.table(
        ("SERVER", "CALLED", "RUNS OR REACHES", "NEEDS", "LEFT OUT"),
        [
            (row["name"], row["called"], row["target"], " ".join(row["needs"]), row["left_out"])
            for row in rows
        ],
    )
    for row in rows:
        for note in row["findings"]:
            screen.line(f"  {row['name'] or row['called']}: {note}", YELLOW)
    for note in found.findings:
        screen.line(f"  {note}", YELLOW)
    if found.operations:
        screen.line()
        screen.table(
            ("TOOL", "REQUEST", "WHAT", "LEFT OUT"),
            [
                (row["name"], row["request"], row["what"], row["left_out"] or _without(row))
                for row in found.operations
            ],
            unfolded=2,
        )


def _row(one: Candidate, own: Mapping[str, Any], host: str, port: int) -> dict[str, Any]:
    table = _merged(one, own) if one.table else {}
    one = replace(one, table=table)
    why = "it is this gateway" if is_own(table, host, port) else one.left_out
    plain = [f"{k}={v}" for k, v in table.get("env", {}).items() if not v.startswith("env:")]
    return {
        "name": one.name,
        "called": one.called,
        "target": _spoken(table),
        "needs": [*one.references],
        "findings": [*one.findings, *([f"env: {', '.join(plain)}"] if plain else [])],
        "left_out": why,
        "table": dict(table),
    }


def _without(row: Mapping[str, Any]) -> str:
    return f"only a part: {'; '.join(row['without'])}" if row["without"] else ""


def _spoken(table: Mapping[str, Any]) -> str:
    if "command" in table:
        folder = f"  (in {table['cwd']})" if "cwd" in table else ""
        return shlex.join(table["command"]) + folder
    if "python" in table:
        return f"python:{table['python']}"
    return str(table.get("url", "")).partition("?")[0]


def _merged(one: Candidate, own: Mapping[str, Any]) -> dict[str, Any]:
    """The table of *one*, with what was said on the command line over it."""
    env = {**one.table.get("env", {}), **own.get("env", {})}
    return {**one.table, **own, **({"env": env} if env else {})}


# -- what was said on the command line --------------------------------------------------------


def _refuse_stray(given: Mapping[str, Any]) -> None:
    """What is only for sources does nothing beside a name, so it is not taken silently."""
    for key, option in (("new_name", "--as"), ("form", "--format"), ("writes", "--writes")):
        if given[key]:
            raise usage(f"{option} is for a source, and a name is none", "a file is named ./FILE")


def _refuse_misplaced(found: Found, given: Mapping[str, Any]) -> None:
    is_api = found.operations is not None
    if given["python"] or (given["url"] and not is_api):
        raise usage("the source says what the server is, and so does an option", "say one of them")
    if given["writes"] and not is_api:
        raise usage("--writes is for an OpenAPI document", "leave it out")
    if given["approve"] == "first-seen" and not found.typed:
        raise usage(
            "what is imported is proposed", "look at it, then: customhouse server approve NAME"
        )


def _refuse_too_many(found: Found, own: Mapping[str, Any]) -> None:
    if found.operations is None:
        return
    count = sum(not row["left_out"] for row in found.operations)
    if count == 0:
        raise usage("no operation of the document can be taken in", "see why with --dry-run")
    if count > MOST_OPERATIONS and "tools" not in own:
        raise usage(
            f"that would be {count} tools, and among more than {MOST_OPERATIONS} models choose badly",
            "take in those you need with --tool 'get_*', or all with --tool '*'",
        )


def _format(form: str | None) -> Any:
    from gateway.config.sources import Format

    return Format(form) if form else None


def _target(name: str, words: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    if len(words) == 1 and words[0].startswith("python:"):
        raise usage(
            f"{words[0]!a:.80} is a module, and no command",
            f"say customhouse server add {words[0]} --as {name}",
        )
    target = {"command": list(words) or None, "url": given["url"], "python": given["python"]}
    return {key: value for key, value in target.items() if value not in _LEFT_OUT}


def _table(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same keys that the configuration file would have, with paths that hold anywhere."""
    table: dict[str, Any] = {
        "auth": _anchored(given["auth"]),
        "env": {k: _anchored(v) for k, v in (_pair(one) for one in given["variables"])},
        "cwd": str(Path(given["cwd"]).absolute()) if given["cwd"] else None,
        "tools": list(given["tools"]) or None,
        "tags": {glob: words.split(",") for glob, words in map(_pair, given["tags"])},
        "approve": given["approve"],
        "prefix": given["prefix"],
        "timeout_s": given["timeout_s"],
        "max_result_tokens": given["max_result_tokens"],
        "price": given["price"],
    }
    return {key: value for key, value in table.items() if value not in _LEFT_OUT}


def _anchored(reference: str | None) -> str | None:
    if reference and reference.startswith("file:"):
        return f"file:{Path(reference.removeprefix('file:')).expanduser().absolute()}"
    return reference


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise usage(f"{text.partition('=')[0]!a:.60} lacks a value", "say NAME=VALUE")
    return key, value
