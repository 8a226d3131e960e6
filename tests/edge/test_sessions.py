"""How many sessions one caller may have, and how much a client may say of itself."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from tests.edge.fakes import Knocker, Stand
from tests.edge.older import initialize, session

pytestmark = pytest.mark.anyio


async def test_sessions_are_counted_over_all_endpoints_and_before_they_are_open() -> None:
    stand = Stand(settings=Settings(max_sessions_per_principal=3))
    ends: list[int] = []

    async def open_one(path: str) -> None:
        ends.append((await initialize(Knocker(stand.border, path=path))).status)

    async with stand.open():
        async with anyio.create_task_group() as group:
            for path in ("/mcp", "/mcp/s/time", "/mcp/s/docs") * 3:
                group.start_soon(open_one, path)
        assert sorted(ends) == [200] * 3 + [429] * 6


async def test_an_initialize_that_fails_takes_no_room() -> None:
    stand = Stand(settings=Settings(max_sessions_per_principal=1))
    async with stand.open() as alice:
        stand.pipeline.refusing = lambda _: Refused(BY_ID["rate_limited"])
        await initialize(alice)
        stand.pipeline.refusing = lambda _: None
        assert (await initialize(alice)).status == 200


@pytest.mark.parametrize("member", ["capabilities", "clientInfo", "_meta"])
async def test_what_a_client_says_of_itself_is_bounded(member: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        params: dict[str, Any] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        }
        params[member] = {**params.get(member, {}), "com.example/more": "x" * 9_000}
        answer = await alice.raw(older.body("initialize", params), older.headers())
    assert answer.status == 400
    assert answer.error["code"] == -32602
    assert "8192" in answer.error["message"]
    assert "mcp-session-id" not in answer.headers
