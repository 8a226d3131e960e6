"""Results that answer twice, through a real gateway, with the SDK's own client in both eras."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.cli.household import SHELF, tool
from tests.journey.process import KEY, ROOT, gateway

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[servers.shelf]
command = ["{python}", "-S", "{shelf}", "{folder}/shelf.json", "{folder}/calls"]
approve = "first-seen"
cache = 3600
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
"""


async def test_a_clients_equal_calls_reach_the_server_once_in_either_era(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "model.conf").write_text((ROOT / "policies" / "model.conf").read_text())
    (policies / "policy.csv").write_text("p, caller, default, tool/shelf/*, call, -, allow\n")
    look = {**tool("look"), "annotations": {"readOnlyHint": True}}
    (tmp_path / "shelf.json").write_text(json.dumps({"tools": [look]}))
    config = tmp_path / "customhouse.toml"
    config.write_text(CONFIG.format(python=sys.executable, shelf=SHELF, folder=tmp_path))
    authorised = {"Authorization": f"Bearer {KEY}"}
    with gateway(config) as running, anyio.fail_after(20):
        async with httpx2.AsyncClient(headers=authorised) as http:
            for made, mode in enumerate(("legacy", "2026-07-28"), start=1):
                transport = streamable_http_client(f"{running.url}/mcp/s/shelf", http_client=http)
                async with Client(transport, mode=mode, cache=None) as client:
                    for _ in range(3):
                        await client.call_tool("look", {"page": 1})
                assert len((tmp_path / "calls").read_text().splitlines()) == made
