"""Definitions and catalogues as the edge is given them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.domain.catalogue import Catalogue, ServerView
from gateway.domain.definition import canonical, digest
from gateway.domain.model import Approval, Definition, Kind


def definition(
    server: str, kind: Kind, name: str, *, approval: Approval = Approval.APPROVED, **members: Any
) -> Definition:
    key = {Kind.RESOURCE: "uri", Kind.TEMPLATE: "uriTemplate"}.get(kind, "name")
    body = canonical({"name": name, key: name, **members})
    wired = kind in (Kind.TOOL, Kind.PROMPT)
    wire_name = f"{server}_{name}" if wired else name
    return Definition(server, kind, name, wire_name, body, digest(body), approval)


def tool(server: str, name: str, **members: Any) -> Definition:
    members.setdefault("inputSchema", {"type": "object"})
    return definition(server, Kind.TOOL, name, **members)


def instructions(server: str, text: str) -> Definition:
    body = canonical({"instructions": text})
    return Definition(server, Kind.SERVER, "", "", body, digest(body), Approval.APPROVED)


def catalogue(definitions: Iterable[Definition], version: int = 1) -> Catalogue:
    listed = tuple(definitions)
    greetings = {d.server: d for d in listed if d.kind is Kind.SERVER}
    servers = {
        name: ServerView(instructions=greetings.get(name))
        for name in sorted({d.server for d in listed})
    }
    return Catalogue(version, tuple(d for d in listed if d.kind is not Kind.SERVER), servers)


BASIC = (
    tool("time", "now", vendor={"kept": 1.10}),
    tool("time", "zones"),
    tool("docs", "search"),
    tool("docs", "poisoned", approval=Approval.QUARANTINED),
    tool("docs", "proposed", approval=Approval.PROPOSED),
    tool("docs", "mirrored", inputSchema={
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }),
    tool("hidden", "secret"),
    definition("docs", Kind.PROMPT, "summarise"),
    definition("docs", Kind.RESOURCE, "file:///readme"),
    definition("docs", Kind.TEMPLATE, "file:///pages/{page}"),
    definition("time", Kind.RESOURCE, "file:///shared"),
    definition("docs", Kind.RESOURCE, "file:///shared"),
    instructions("time", "Ask for the time politely."),
)  # fmt: skip
