"""Where AI clients keep their servers, and how each of them writes one down. For reading: whoever
writes such a file brings its own care.

    Claude Desktop, Claude Code, Cursor   {"mcpServers": {NAME: {"command", "args", "env"} | {"url", "headers"}}}
    VS Code                               {"servers": {...}, "inputs": [...]}
    Codex                                 [mcp_servers.NAME]
    Gemini                                {"mcpServers": {NAME: {"httpUrl"}}}, where "url" means HTTP+SSE
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.config.error import ConfigError

_SHARED_NAMES = frozenset({"mcp.json", "settings.json", "config.toml"})
MAX_FILE_BYTES = 16_777_216  # some clients keep their history in the same file
# Strings are matched so that nothing inside of them is; one that never ends goes on to the end.
_STRING = r'("(?:[^"\\]|\\.)*"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*\n?|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)


class Syntax(StrEnum):
    JSON = "json"
    JSONC = "jsonc"  # with comments and commas before a closing bracket
    TOML = "toml"


class Scope(StrEnum):
    USER = "user"  # for one person, everywhere
    PROJECT = "project"  # for all who work in a folder; often under version control
    LOCAL = "local"  # for one person in one folder


@dataclass(frozen=True, slots=True)
class Place:
    """A file that may hold servers, and the keys that lead to them.

    *path* begins with ~/ (the person), ./ (the project) or %APPDATA%/ (Windows). The key
    "{project}" stands for the absolute path of the project.
    """

    scope: Scope
    path: str
    table: tuple[str, ...]
    systems: frozenset[str] = frozenset()  # of sys.platform; empty: every one


@dataclass(frozen=True, slots=True)
class Client:
    """One kind of client."""

    name: str  # as it is called on the command line
    title: str
    syntax: Syntax
    places: tuple[Place, ...]
    url_key: str  # of a Streamable HTTP server; "" when the file cannot hold one
    typed: bool  # an entry says its transport: "type": "stdio", "http" or "sse"
    reference: str  # how an environment variable is written, "{}" being its name; "": it cannot be

    @property
    def table(self) -> tuple[str, ...]:
        """Where servers stand in a file of this client, unless its place says otherwise."""
        return self.places[0].table


_MAC, _LINUX, _WINDOWS = frozenset({"darwin"}), frozenset({"linux"}), frozenset({"win32"})
_COMMON = ("mcpServers",)

CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            name="claude-desktop",
            title="Claude Desktop",
            syntax=Syntax.JSON,
            places=(
                Place(
                    Scope.USER,
                    "~/Library/Application Support/Claude/claude_desktop_config.json",
                    _COMMON,
                    _MAC,
                ),
                Place(Scope.USER, "~/.config/Claude/claude_desktop_config.json", _COMMON, _LINUX),
                Place(Scope.USER, "%APPDATA%/Claude/claude_desktop_config.json", _COMMON, _WINDOWS),
            ),
            url_key="",  # remote servers are added in its settings, and not kept in this file
            typed=False,
            reference="",
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            syntax=Syntax.JSON,
            places=(
                Place(Scope.PROJECT, "./.mcp.json", _COMMON),
                Place(Scope.USER, "~/.claude.json", _COMMON),
                Place(Scope.LOCAL, "~/.claude.json", ("projects", "{project}", "mcpServers")),
            ),
            url_key="url",
            typed=True,
            reference="${{{}}}",
        ),
        Client(
            name="vscode",
            title="VS Code",
            syntax=Syntax.JSONC,
            places=(
                Place(Scope.PROJECT, "./.vscode/mcp.json", ("servers",)),
                Place(
                    Scope.USER,
                    "~/Library/Application Support/Code/User/mcp.json",
                    ("servers",),
                    _MAC,
                ),
                Place(Scope.USER, "~/.config/Code/User/mcp.json", ("servers",), _LINUX),
                Place(Scope.USER, "%APPDATA%/Code/User/mcp.json", ("servers",), _WINDOWS),
            ),
            url_key="url",
            typed=True,
            reference="${{env:{}}}",
        ),
        Client(
            name="cursor",
            title="Cursor",
            syntax=Syntax.JSON,
            places=(
                Place(Scope.USER, "~/.cursor/mcp.json", _COMMON),
                Place(Scope.PROJECT, "./.cursor/mcp.json", _COMMON),
            ),
            url_key="url",
            typed=False,
            reference="${{env:{}}}",
        ),
        Client(
            name="codex",
            title="Codex",
            syntax=Syntax.TOML,
            places=(
                Place(Scope.USER, "~/.codex/config.toml", ("mcp_servers",)),
                Place(Scope.PROJECT, "./.codex/config.toml", ("mcp_servers",)),
            ),
            url_key="url",
            typed=False,
            reference="",  # bearer_token_env_var names a variable
        ),
        Client(
            name="gemini",
            title="Gemini CLI",
            syntax=Syntax.JSONC,
            places=(
                Place(Scope.USER, "~/.gemini/settings.json", _COMMON),
                Place(Scope.PROJECT, "./.gemini/settings.json", _COMMON),
            ),
            url_key="httpUrl",
            typed=False,
            reference="${}",
        ),
    )
}


def located(place: Place, home: Path, project: Path, environ: Mapping[str, str]) -> Path:
    """The file of *place*, whether it exists or not."""
    if place.path.startswith("~/"):
        return home / place.path.removeprefix("~/")
    if place.path.startswith("./"):
        return project / place.path.removeprefix("./")
    roaming = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    return roaming / place.path.removeprefix("%APPDATA%/")


def places_of(client: Client, system: str, scope: Scope | None = None) -> Iterator[Place]:
    """Where *client* looks on *system* (as sys.platform has it), in one scope or in all."""
    for place in client.places:
        if (not place.systems or system in place.systems) and scope in (None, place.scope):
            yield place


def table_keys(place: Place, project: Path) -> tuple[str, ...]:
    """The keys that lead to the servers of *place*."""
    return tuple(str(project) if key == "{project}" else key for key in place.table)


def recognised(file: Path) -> Client | None:
    """The client whose file this is, by its name and the folder it is in."""
    for client in CLIENTS.values():
        for place in client.places:
            known = Path(place.path.partition("/")[2])
            if known.name == file.name and known.name not in _SHARED_NAMES:
                return client
            if known.parts[-2:] == file.absolute().parts[-2:]:
                return client
    return None


def read_document(text: str, syntax: Syntax) -> dict[str, Any]:
    """The whole file as tables.

    Raises: ConfigError: it is not of this syntax. The message repeats nothing of the file.
    """
    try:
        found = tomllib.loads(text) if syntax is Syntax.TOML else _json(text, syntax)
    except (ValueError, RecursionError) as err:
        where = _place_of(err)
        raise ConfigError(
            f"this is not {syntax.upper()}{where}",
            "it is read whole or not at all",
            "correct it, or say what it is with --format",
        ) from err
    if isinstance(found, dict):
        return found
    raise ConfigError(
        f"this {syntax.upper()} is not a table",
        "servers have names",
        "give the client's own file, or say what it is with --format",
    )


def server_entries(document: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Name -> entry, raw, of the table that *keys* lead to; {} when there is none."""
    node: Any = document
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return {str(name): entry for name, entry in node.items()} if isinstance(node, dict) else {}


def read_file(file: Path, most_bytes: int = MAX_FILE_BYTES) -> str:
    """The text of a file of somebody else's. Raises: ConfigError."""
    try:
        # Not to hang on a pipe that somebody put there.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise _unreadable(file, err.strerror or type(err).__name__) from err
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(file, "it is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            body = opened.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(body) > most_bytes:
        raise _unreadable(file, f"it has more than {most_bytes} bytes")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _unreadable(file, "it is not UTF-8 text") from err


def _json(text: str, syntax: Syntax) -> Any:
    """Comments, and commas that nothing follows, are taken out first, in one pass each."""
    if syntax is Syntax.JSONC:
        text = _TRAILING.sub(r"\1", _COMMENT.sub(lambda found: found[1] or " ", text))
    return json.loads(text)


def _place_of(err: Exception) -> str:
    if isinstance(err, json.JSONDecodeError):
        return f" (line {err.lineno}, column {err.colno})"
    found = re.search(r"\(at line \d+, column \d+\)", str(err))
    return f" {found[0]}" if found else ""


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(f"{file} cannot be read", why, "name a file of at most a few megabytes")
