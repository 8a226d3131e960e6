"""Servers that are written down elsewhere: the text of such a file -> candidates for ours.

Pure: nothing is looked up, fetched, started or unpacked (archives are not read at all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.config.clients import (
    CLIENTS,
    Client,
    Scope,
    Syntax,
    read_document,
    recognised,
    server_entries,
)
from gateway.config.error import ConfigError
from gateway.config.sources.candidate import Candidate, Ground, fit_name
from gateway.config.sources.entries import entry_candidate
from gateway.config.sources.registry import registry_candidates

__all__ = [
    "Candidate",
    "Format",
    "Ground",
    "Source",
    "client_candidates",
    "fit_name",
    "format_of",
    "read_source",
]

MAX_SERVERS = 200


class Format(StrEnum):
    """What a file can be. The first six are clients: gateway/config/clients.py knows them."""

    CLAUDE_DESKTOP = "claude-desktop"
    CLAUDE_CODE = "claude-code"
    VSCODE = "vscode"
    CURSOR = "cursor"
    CODEX = "codex"
    GEMINI = "gemini"
    REGISTRY = "registry"
    OPENAPI = "openapi"


@dataclass(frozen=True, slots=True)
class Source:
    """What a file describes."""

    title: str
    candidates: tuple[Candidate, ...]
    findings: tuple[str, ...] = ()


def format_of(file: Path, text: str) -> Format:
    """What *file* is: by its name and folder, because two clients write one shape and mean two
    things; by its shape only when the name says nothing. Raises: ConfigError: it is none of them.
    """
    client = recognised(file)
    if client is not None:
        return Format(client.name)
    if file.suffix == ".toml":
        return Format.CODEX
    if file.suffix in (".yaml", ".yml"):
        return Format.OPENAPI
    found = _by_shape(read_document(text, Syntax.JSONC))
    if found is not None:
        return found
    raise ConfigError(
        "this is none of the files that describe servers",
        "it has none of mcpServers, servers, packages, remotes and openapi",
        f"say what it is with --format: {', '.join(Format)}",
    )


def read_source(text: str, form: Format, file: Path, home: Path) -> Source:
    """Everything that a client's file, or a server.json, describes. Raises: ConfigError."""
    if form is Format.REGISTRY:
        document = read_document(text, Syntax.JSON)
        found = registry_candidates(document, Ground(home))
        return Source("MCP registry, server.json", tuple(_told_apart(found)))
    client = CLIENTS[form]
    document = read_document(text, client.syntax)
    entries = server_entries(document, client.table)
    ground = Ground(home, _project(client, file, home))
    return Source(
        client.title,
        tuple(client_candidates(client, entries, ground)),
        tuple(_remarks(document, entries)),
    )


def client_candidates(
    client: Client, entries: Mapping[str, Any], ground: Ground
) -> list[Candidate]:
    """What each entry of a client's file would be here."""
    gemini = client.name == Format.GEMINI
    some = list(entries.items())[:MAX_SERVERS]
    return _told_apart(
        [entry_candidate(called, members, ground, gemini=gemini) for called, members in some]
    )


def _told_apart(candidates: list[Candidate]) -> list[Candidate]:
    """No two with one name: the later one is left out until it gets another."""
    seen: set[str] = set()
    told: list[Candidate] = []
    for one in candidates:
        if one.name and one.name in seen:
            why = f"another one is {one.name} already; add it by itself with --as NAME"
            told.append(replace(one, name="", left_out=one.left_out or why))
        else:
            seen.add(one.name)
            told.append(one)
    return told


def _by_shape(document: Mapping[str, Any]) -> Format | None:
    if "openapi" in document or "swagger" in document:
        return Format.OPENAPI
    inner = document.get("server")
    record = inner if isinstance(inner, dict) else document
    if "name" in record and ("packages" in record or "remotes" in record):
        return Format.REGISTRY
    if isinstance(document.get("mcpServers"), dict):
        entries = document["mcpServers"].values()
        gemini = any(isinstance(entry, dict) and "httpUrl" in entry for entry in entries)
        return Format.GEMINI if gemini else Format.CLAUDE_CODE
    return Format.VSCODE if isinstance(document.get("servers"), dict) else None


def _project(client: Client, file: Path, home: Path) -> Path | None:
    """The folder that a client's file is for; None when it is for a person."""
    whole = file.absolute()
    for place in client.places:
        known = Path(place.path.partition("/")[2]).parts
        if whole.parts[-len(known) :] == known:
            folder = Path(*whole.parts[: -len(known)])
            if place.scope is Scope.PROJECT and folder != home:
                return folder
    return None


def _remarks(document: Mapping[str, Any], entries: Mapping[str, Any]) -> list[str]:
    remarks: list[str] = []
    projects = document.get("projects")
    own = [
        one
        for one in (projects.values() if isinstance(projects, dict) else ())
        if isinstance(one, dict) and one.get("mcpServers")
    ]
    if own:
        remarks.append(f"{len(own)} projects in this file have servers of their own; not read here")
    if len(entries) > MAX_SERVERS:
        remarks.append(f"it has {len(entries)} servers; only the first {MAX_SERVERS} were read")
    return remarks
