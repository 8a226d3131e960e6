"""How the tests of imports read somebody else's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.config import server_from
from gateway.config.sources import Candidate, format_of, read_source

HOME = Path("/home/me")
WORK = Path("/home/me/work")
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


def imported(text: str, file: str) -> dict[str, Candidate]:
    """What a file would be here, by the names it has there. Every table can be read."""
    path = Path(file)
    source = read_source(text, format_of(path, text), path, HOME)
    for one in source.candidates:
        if one.table:
            server_from(one.name or "server", one.table, HOME)
    return {one.called: one for one in source.candidates}


def only(entry: Any) -> Candidate:
    """What one entry of a project's file would be."""
    (found,) = imported(
        json.dumps({"mcpServers": {"srv": entry}}), str(WORK / ".mcp.json")
    ).values()
    return found
