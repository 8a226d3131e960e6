"""Callers at search endpoints, in both eras and on both legs."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.toolset import Toolset
from gateway.edge.house import Settings
from tests.edge.fakes import Knocker, Response, Stand
from tests.edge.older import Older, session

TOOLSETS = {"office": Toolset.of(["time/now", "docs/s*"])}
LEGS = {"own": Settings(version="9.9"), "sdk": Settings(version="9.9", fast=frozenset())}
WAYS = [(leg, era) for leg in LEGS for era in ("modern", "older")]
either_way = pytest.mark.parametrize(("leg", "era"), WAYS, ids=["-".join(way) for way in WAYS])
# What time/now is called at each, and all that alice may use there.
PLACES = {
    "/mcp/search": ("time_now", {"time_now", "time_zones", "docs_search", "docs_mirrored"}),
    "/mcp/s/time/search": ("now", {"now", "zones"}),
    "/mcp/t/office/search": ("time_now", {"time_now", "docs_search"}),
    "/token/mcp/search": ("time_now", {"time_now", "time_zones", "docs_search", "docs_mirrored"}),
}


def searched(leg: str = "own") -> Stand:
    return Stand(settings=LEGS[leg], toolsets=TOOLSETS)


def at(alice: Knocker, path: str = "/mcp/search", key: str = "alice-key") -> Knocker:
    return Knocker(alice.app, key, path)


async def of_era(who: Knocker, era: str) -> Knocker | Older:
    return who if era == "modern" else await session(who)


def through(name: Any, arguments: Any = None) -> dict[str, Any]:
    """The params of a tools/call of call_tool."""
    inner = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    return {"name": "call_tool", "arguments": inner}


def told_by(answer: Response) -> Any:
    """The answer, byte for byte, but for the ids of calls."""
    said = answer.body.decode()
    return answer.status, [part for part in said.split('"') if len(part) != 26]
