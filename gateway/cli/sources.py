"""What is named on the command line -> candidates for servers: read, shown, never yet added."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.domain.names import is_name
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.config.sources import Candidate, Format

_DOCUMENTS = (".json", ".yaml", ".yml")
_NOT_OWN = frozenset({"mcp", "api", "www", "server", "tools", "com", "org", "net", "io", "dev"})


@dataclass(frozen=True, slots=True)
class Found:
    """What a source describes."""

    title: str
    candidates: Sequence[Candidate]
    findings: Sequence[str] = ()
    # Of an OpenAPI document: name, request, what it is, why it is left out. None: it is none.
    operations: Sequence[Mapping[str, Any]] | None = None
    typed: bool = False  # all of it stood on the command line: nothing to confirm


@dataclass(frozen=True, slots=True)
class Asked:
    """How a source is to be read."""

    form: Format | None  # None: as it looks
    writes: bool
    url: str  # the base URL of an API, over what its document says
    auth: str = ""  # the reference to a credential that was given


def found_at(source: str, asked: Asked) -> Found:
    """Everything at *source*: a file, a URL, or python:MODULE. Raises: OperationRefused, ConfigError."""
    from gateway.config.sources import Candidate

    if source.startswith("python:"):
        module = source.removeprefix("python:")
        name = _fit(module.rpartition(".")[2])
        return Found(source, [Candidate(module, name, {"python": module})], typed=True)
    if "://" not in source:
        return _in_file(Path(source).expanduser(), asked)
    if asked.form is None and not urlsplit(source).path.endswith(_DOCUMENTS):
        return Found(
            source, [Candidate(source, _name_of_host(source), {"url": source})], typed=True
        )
    return _fetched(source, asked)


def _in_file(file: Path, asked: Asked) -> Found:
    from gateway.config.clients import read_file
    from gateway.config.sources import Format, format_of, read_source

    text = read_file(file)
    form = asked.form or format_of(file, text)
    if form is Format.OPENAPI:
        return _api(str(file), text.encode(), asked)
    source = read_source(text, form, file, Path.home())
    return Found(f"{file} ({source.title})", source.candidates, source.findings)


def _fetched(url: str, asked: Asked) -> Found:
    """A document on the network: an API, or a server.json. A client's file is nobody else's."""
    from gateway.app.operations.sources import document_at
    from gateway.config.sources import Format, format_of, read_source

    body = document_at(url)
    text = body.decode("utf-8-sig", "replace")
    name = Path(Path(urlsplit(url).path).name)
    form = asked.form or format_of(name, text)
    if form is Format.OPENAPI:
        return _api(url, body, asked)
    if form is not Format.REGISTRY:
        raise usage("a client's configuration is read from a file", "save it, look at it, name it")
    source = read_source(text, form, name, Path.home())
    return Found(f"{url} ({source.title})", source.candidates, source.findings)


def _api(place: str, body: bytes, asked: Asked) -> Found:
    from gateway.app.operations.sources import api_seen
    from gateway.config.sources import Candidate

    seen = api_seen(place, body, writes=asked.writes, url=asked.url)
    is_wanting = seen.wants_credential and not asked.auth
    notes = ["it asks for a credential: --auth env:NAME"] if is_wanting else []
    candidate = Candidate(seen.title, seen.name, seen.table, tuple(notes))
    rows = [
        {
            "name": one.name,
            "request": f"{one.method} {one.path}",
            "what": one.summary,
            "tags": list(one.tags),
            "left_out": one.left_out,
            "without": list(one.without),
        }
        for one in seen.operations
    ]
    return Found(f"{place} ({seen.title})", [candidate], operations=rows)


def chosen(found: Found, names: Sequence[str], new_name: str | None) -> list[Candidate]:
    """The candidates to take in: the named ones, else all that are not left out.

    Raises: OperationRefused: one of *names* is not there, or cannot be taken in.
    """
    possible = [one for one in found.candidates if one.table]
    picked = [one for one in possible if not one.left_out]
    if names:
        picked = [_named(found, name) for name in names]
    elif new_name is not None and not picked:
        picked = possible
    if new_name is not None:
        picked = [_renamed(picked, new_name)]
    nameless = [one for one in picked if not one.name]
    if nameless:
        raise usage(f"{nameless[0].called!a:.60} gives no name that fits", "give one: --as NAME")
    return picked


def _named(found: Found, name: str) -> Candidate:
    for one in found.candidates:
        if name in (one.called, one.name):
            if not one.table:
                raise OperationRefused(
                    f"{one.called!a:.60} cannot be taken in",
                    one.left_out,
                    "add it by hand: customhouse server add NAME -- COMMAND, or --url URL",
                    Exit.USAGE,
                )
            return one
    raise usage(f"there is no {name!a:.60} in it", "see what there is with --dry-run")


def _renamed(picked: Sequence[Candidate], new_name: str) -> Candidate:
    if not is_name(new_name):
        raise usage(f"{new_name!a:.60} is not a name for a server", "1 to 32 of a-z, 0-9, _ and -")
    if len(picked) != 1:
        raise usage(f"--as names one server, and there are {len(picked)}", "name the one, too")
    return replace(picked[0], name=new_name)


def is_own(table: Mapping[str, Any], host: str, port: int) -> bool:
    """Whether a client's entry is this very gateway."""
    command = table.get("command")
    if command:
        return Path(command[0]).name == "customhouse" or {"customhouse", "bridge"} <= set(command)
    parts = urlsplit(table.get("url", ""))
    here = {host, "127.0.0.1", "localhost", "::1"}
    path = parts.path.split("/")[1:2]
    return parts.hostname in here and parts.port == port and path in (["mcp"], ["token"])


def _fit(text: str) -> str:
    from gateway.config.sources import fit_name

    return fit_name(text)


def _name_of_host(url: str) -> str:
    """docs of https://mcp.docs.example.com/mcp; "" when the host is only a number."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = [label for label in host.split(".")[:-1] or [host] if label not in _NOT_OWN]
        return _fit(labels[0]) if labels else ""
    return ""
