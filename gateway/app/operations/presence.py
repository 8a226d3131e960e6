"""Whether what the configuration names is there: programs, modules, servers. Nothing is run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from gateway.config import Config, ConfigError, Server, Upstream, resolve
from gateway.config.secrets import is_reference
from gateway.domain import refusal

_PACKAGES = Path(__file__).resolve().parents[3]  # a child finds what is beside the gateway itself


def absent(config: Config) -> Iterator[str]:
    """A sentence for each program, module or file that is named and cannot be found from here."""
    for name, server in config.servers.items():
        if (missing := missing_program(server)) is not None:
            yield f"servers.{name}.command: {missing}"
        folder = server.cwd or Path.cwd()
        if server.python and not _has_module(server, folder):
            yield f"servers.{name}.python: no module {server.python} is found from {folder}"
        document = server.openapi.document if server.openapi else ""
        if document and "://" not in document and not Path(document).is_file():
            yield f"servers.{name}.openapi: there is no file {document!a:.200}"
    for place, keys in (
        *((f"peers.{name}", peer.jwks) for name, peer in config.peers.items()),
        *((f"agents.{name}", agent.jwks) for name, agent in config.agents.items()),
    ):
        file = keys.removeprefix("file:")
        if file != keys and not Path(file).is_file():
            yield f"{place}.jwks: there is no file {file!a:.200}"


def missing_program(server: Server) -> str | None:
    """A sentence about the program of *server* that cannot be found from here."""
    if not server.command or _has_program(server, server.cwd or Path.cwd()):
        return None
    return f"there is no program {server.command[0]!a:.80}"


def kind_of(upstream: Upstream) -> str:
    """What people call it."""
    return type(upstream).__name__.lower()


def unresolved(
    servers: Mapping[str, Upstream], environ: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """What, why and fix for each secret of *servers* that its reference does not lead to."""
    for name, server in servers.items():
        for err in secrets_lost(server, environ):
            one = f"{kind_of(server)} {name}"
            why = f"{err.why}; the gateway opens without it, and refuses calls of {one}:"
            why += f" {refusal.CREDENTIAL_MISSING.id}"
            yield {"what": f"{one}: {err.what}", "why": why, "fix": err.fix}


def secrets_lost(server: Upstream, environ: Mapping[str, str]) -> Iterator[ConfigError]:
    """Why, for each reference of *server* that does not lead to a secret."""
    for reference in filter(is_reference, server.references):
        try:
            resolve(reference, environ)
        except ConfigError as err:
            yield err


def strays(config: Config, servers: Collection[str]) -> Iterator[str]:
    """A sentence for each server that a toolset names, and that is neither declared nor registered."""
    for name, toolset in config.toolsets.items():
        for server in sorted(toolset.servers.difference(servers)):
            yield f"toolsets.{name}.tools: there is no server {server}"


def _has_program(server: Server, folder: Path) -> bool:
    program = server.command[0]
    if "/" in program:
        return os.access(folder / program, os.X_OK)
    beside = str(Path(sys.executable).parent)
    given = server.env.get("PATH") or os.environ.get("PATH", os.defpath) + os.pathsep + beside
    return shutil.which(program, path=given) is not None


def _has_module(server: Server, folder: Path) -> bool:
    """Asked part by part, because asking for all of it at once would import the packages above."""
    given = server.env.get("PYTHONPATH", "").split(os.pathsep)
    path: list[str] | None = [str(folder), str(_PACKAGES), *filter(None, given), *sys.path]
    for part in server.python.split("."):
        spec = PathFinder.find_spec(part, path)
        if spec is None:
            return part in sys.builtin_module_names
        locations = spec.submodule_search_locations
        path = list(locations) if locations is not None else []
    return True
