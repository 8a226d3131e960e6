"""The file of a client that a command reads or writes, and how a change of it is shown."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.cli.replacing import Looked, look
from gateway.cli.screen import Screen
from gateway.config.clients import (
    CLIENTS,
    Client,
    Scope,
    Syntax,
    located,
    places_of,
    read_document,
    server_entries,
    table_keys,
)
from gateway.config.error import ConfigError
from gateway.config.jsontext import Unchanged
from gateway.config.pointing import Entry, Target, entry_for
from gateway.domain.operator import Exit, OperationRefused, usage

NAME = "customhouse"
GENERIC = "generic"
_CALLED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_ENDPOINT = re.compile(r"/(token/)?mcp(/[st]/[^/?#]+)?(/search)?/?$")  # and before it: one gateway
_HIDDEN = "..."
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one client keeps its servers."""

    client: Client
    scope: Scope
    file: Path
    keys: tuple[str, ...]
    within: Path  # no link may lead out of it
    project: Path | None  # the folder that it is for, if that is known

    def look(self) -> Looked:
        return look(self.file, self.within)

    def entries(self, looked: Looked) -> dict[str, Any]:
        return server_entries(self.document(looked.text), self.keys)

    def document(self, text: str) -> dict[str, Any]:
        """Raises: ConfigError: it is not what this client reads."""
        plain = text.removeprefix("\ufeff")
        try:
            return read_document(plain, self.client.syntax) if plain.strip() else {}
        except ConfigError as err:
            remark = "; JSON has no comments" if self.client.syntax is Syntax.JSON else ""
            raise ConfigError(f"{self.file}: {err.what}", err.why, f"correct it{remark}") from err


def spotting(command: Command) -> Command:
    """The options that say which file of a client, and under which name; the command gets `at`."""

    @click.option(
        "--scope",
        type=click.Choice([str(scope) for scope in Scope]),
        help="For you, or for this folder.",
    )
    @click.option(
        "--file",
        "client_file",
        type=click.Path(path_type=Path),
        help="The client's file, where it is not the usual one.",
    )
    @click.option("--name", default=NAME, show_default=True, help="What it is called there.")
    @functools.wraps(command)
    def called(*args: Any, scope: str | None, client_file: Path | None, **given: Any) -> Any:
        if not _CALLED.fullmatch(given["name"]):
            raise usage(f"{given['name']!a:.60} is not a name", "1 to 32 of A-Z, a-z, 0-9, _ and -")
        return command(*args, at=(Scope(scope) if scope else None, client_file), **given)

    return called  # type: ignore[return-value]  # the same command, with options in one


def spot_of(name: str, at: tuple[Scope | None, Path | None]) -> Spot:
    """The file of the client *name*. Raises: OperationRefused (usage): it has none there."""
    client = CLIENTS[name]
    scope, file = at
    home, project = Path.home(), Path.cwd()
    place = next(places_of(client, sys.platform, scope), None)
    if place is None:
        raise usage(f"{client.title} has no file of that scope here", "name it with --file")
    keys = table_keys(place, project)
    if file is not None:
        file = file.expanduser().absolute()
        return Spot(client, place.scope, file, keys, file.parent, None)
    file = located(place, home, project, os.environ)
    within = project if place.scope is Scope.PROJECT else home
    is_for = None if place.scope is Scope.USER else project
    return Spot(client, place.scope, file, keys, within, is_for)


def entry_at(client: Client | None, url: str, key: str) -> Entry:
    """What the client is told of the gateway. Raises: OperationRefused: it cannot be told."""
    try:
        return entry_for(client, Target(url, key, _bridge()))
    except ConfigError as err:
        raise OperationRefused(err.what, err.why, err.fix, Exit.USAGE) from err


def url_of(entry: Any, url_keys: Sequence[str] = ("url", "httpUrl")) -> str:
    """The URL that a client's entry reaches, itself or by our own bridge; "" of any other entry."""
    found = entry if isinstance(entry, dict) else {}
    if "command" in found:
        args = found.get("args")
        start = [*_bridge(), "--url"]
        words = [found["command"], *(args if isinstance(args, list) else ()), ""]
        return str(words[len(start)]) if words[: len(start)] == start else ""
    return next((found[key] for key in url_keys if isinstance(found.get(key), str)), "")


def leads_to(entry: Any, url: str) -> bool:
    """Whether an entry reaches the gateway of *url*, at whichever endpoint."""
    return _ENDPOINT.sub("!", url_of(entry)) == _ENDPOINT.sub("!", url)


def _bridge() -> list[str]:
    """What starts our bridge. Clients start it in folders that others filled: neither PATH nor the
    folder itself may choose the program, for it reads the key."""
    script = Path(sys.executable).with_name(NAME)
    program = [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "gateway.cli"]
    return [*program, "bridge"]


def unchanged(spot: Spot, err: Unchanged) -> OperationRefused:
    return OperationRefused(
        f"{spot.file} is left alone",
        f"its servers cannot be changed without touching anything else: {err}",
        f"edit it by hand; what belongs there: customhouse connect {spot.client.name}",
        Exit.INVALID,
    )


def show_change(screen: Screen, spot: Spot, old: str, new: str, own: Sequence[str]) -> None:
    """What is other in the file. What others wrote may be secret: only where it stands is shown.

    *own* are the keys that lead to our new entry, which is shown as it is.
    """
    from gateway.cli.review import differences, show_lines

    raw = spot.document(new)
    before, after = _shown(spot.document(old), raw, own), _shown(raw, raw, own)
    screen.line(str(spot.file))
    show_lines(screen, differences(before, after))


def _shown(value: Any, new: Any, own: Sequence[str]) -> Any:
    """*value* with everything hidden but what is at the end of *own* in *new* as well."""
    if not own:
        return _known(value, new)
    if not isinstance(value, Mapping):
        return _hidden(value)
    return {
        key: _shown(inner, new[key], own[1:]) if key == own[0] else _hidden(inner)
        for key, inner in value.items()
    }


def _known(value: Any, new: Any) -> Any:
    """What of *value* is in our own entry, too: what else stood in its place may be secret."""
    if value == new:
        return value
    if isinstance(value, Mapping) and isinstance(new, Mapping):
        return {key: _known(inner, new.get(key)) for key, inner in value.items()}
    return _hidden(value)


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hidden(inner) for key, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else _HIDDEN
