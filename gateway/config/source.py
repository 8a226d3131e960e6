"""Where raw settings come from: customhouse.toml, then the environment over it.

    CUSTOMHOUSE__LISTEN=0.0.0.0:8080                    ->  listen = "0.0.0.0:8080"
    CUSTOMHOUSE__SERVERS__DOCS__TIMEOUT_S=5             ->  [servers.docs]  timeout_s = 5
    CUSTOMHOUSE__AGENTS__REPORT_BOT__ROLES='["a"]'      ->  [agents.report-bot]  roles = ["a"]

Between the double underscores stand the keys, in any case; "_" also stands for "-" in a name that
the file has, and a name that it does not have is taken in lower case. What follows ENV, the table
of a server's environment, keeps its case. The value is TOML when it reads as TOML, else a string.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.error import ConfigError

PREFIX = "CUSTOMHOUSE__"
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_\-.\"'*\s]+?)\s*=")

KeyPath = tuple[str, ...]


@dataclass(slots=True)
class Source:
    """Raw tables, and the origin of each value in them."""

    file: Path | None
    base: Path  # what relative paths are relative to: the folder of the file, else the current one
    tables: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    variables: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str:
        """default | customhouse.toml:12 | the environment variable | both, when one adds to it."""
        below = [name for part, name in self.variables.items() if part[: len(path)] == path]
        above = [n for n in range(1, len(path)) if path[:n] in self.variables]
        if above:
            return self.variables[path[: above[-1]]]
        if path in self.variables or not self.file:
            return below[0] if below else "default"
        line = next(
            (self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 0
        )
        return " + ".join([f"{self.file.name}:{line}" if line else self.file.name, *below])

    def error(self, path: KeyPath, what: str, why: str, fix: str) -> ConfigError:
        return ConfigError(what, why, fix, f"{self.origin(path)}: {'.'.join(path)}")


def read_source(file: Path | None, environ: Mapping[str, str]) -> Source:
    """Raises: ConfigError: the file is missing or not TOML, or a variable fits nowhere."""
    source = Source(file, (file.parent if file else Path()).absolute())
    if file is not None:
        text = _text(file)
        try:
            source.tables = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as err:
            raise ConfigError(
                str(err) or "nested too deep", "the file is not TOML", "correct the line", file.name
            ) from err
        source.lines = dict(_lines(text))
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            _override(source, variable, environ[variable])
    return source


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        why = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"the configuration file {file} cannot be read",
            why or type(err).__name__,
            "name another one with --config, or make one with: customhouse init",
        ) from err


def _lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """The line of each key, as far as one can tell line by line. The first mention counts last."""
    found: list[tuple[KeyPath, int]] = []
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = keys_of(f"[{header[1]}]")
            found.extend((table[:length], number) for length in range(1, len(table) + 1))
        elif assignment := _ASSIGNMENT.match(line):
            found.append((table + keys_of(f"{assignment[1]} = 0"), number))
    return reversed(found)


def keys_of(line: str) -> KeyPath:
    """The keys that a line of TOML opens: [a."b"] -> ("a", "b"); () when it opens none."""
    try:
        node: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    keys: list[str] = []
    while isinstance(node, dict) and node:
        key, node = next(iter(node.items()))
        keys.append(key)
    return tuple(keys)


def _override(source: Source, variable: str, text: str) -> None:
    node = source.tables
    path: KeyPath = ()
    segments = _segments(variable)
    for position, segment in enumerate(segments):
        key = segment if path[2:] == ("env",) and path[0] == "servers" else _known(segment, node)
        if not segment or key is None:
            raise ConfigError(
                f"the environment variable {variable} does not name one setting",
                "two names of the file differ from it in the same way, or a part of it is empty",
                f"write it as {PREFIX}SECTION__NAME__KEY",
                variable,
            )
        path = (*path, key)
        if position == len(segments) - 1:
            node[key] = _value(text)
            source.variables[path] = variable
            return
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ConfigError(
                f"the environment variable {variable} goes below {'.'.join(path)}",
                "that is a value, not a table",
                f"set {PREFIX}{'__'.join(path).upper()} as a whole",
                variable,
            )


def _segments(variable: str) -> list[str]:
    segments = variable.removeprefix(PREFIX).split("__")
    if len(segments) > 3 and [s.lower() for s in segments[0:3:2]] == ["servers", "env"]:
        return [*segments[:3], "__".join(segments[3:])]
    return segments


def _known(segment: str, node: Mapping[str, Any]) -> str | None:
    """The key of *node* that *segment* means; None when it could mean two."""
    wanted = segment.lower().replace("-", "_")
    fitting = [key for key in node if key.lower().replace("-", "_") == wanted]
    if len(fitting) > 1:
        return None
    return fitting[0] if fitting else segment.lower()


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    # A line break in the text could smuggle in a second key.
    return parsed["value"] if parsed.keys() == {"value"} else text
