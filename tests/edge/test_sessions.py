"""How many sessions one caller may have, and how much a client may say of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.domain.model import Client, Token
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.endpoint import ALL
from gateway.edge.house import Settings
from gateway.edge.sessions import Sessions, begin, owner_of
from tests.edge.fakes import Knocker, Stand
from tests.edge.older import initialize, session
from tests.edge.people import ALICE

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


def test_a_session_is_its_clients_own_and_outlives_a_token_of_it() -> None:
    token = Token("corp", "thumbprint", 2, 1, "", ())
    wide = replace(ALICE, credential="corp/desk#1 ", token=token)
    sessions, owner = Sessions(60, 9), owner_of(wide, ALL)
    with sessions.slot(owner, 0.0) as slot:
        sessions.open(slot, "s", Client(), 0.0)
    renewed = replace(wide, credential="corp/desk#2 ")
    assert sessions.find("s", owner_of(renewed, ALL), 0.0).id == "s"
    for other in (replace(wide, credential="corp/app#3 "), replace(ALICE, credential="corp/desk")):
        with pytest.raises(Refused):
            sessions.find("s", owner_of(other, ALL), 0.0)
    another_key = replace(ALICE, credential="key-alice-2")
    assert owner_of(ALICE, ALL) == owner_of(another_key, ALL)


# -- sessions that nobody uses --------------------------------------------------------------------

OWNER = owner_of(ALICE, ALL)


def _opened(sessions: Sessions, at_s: float) -> None:
    with sessions.slot(OWNER, at_s) as slot:
        sessions.open(slot, "one", Client(), at_s)


async def test_a_session_is_forgotten_once_it_was_idle_and_never_while_it_works() -> None:
    sessions = Sessions(idle_s=10.0, max_per_principal=1)
    _opened(sessions, 0.0)
    found = sessions.find("one", OWNER, 9.0)
    begin(found, 7, None)
    assert sessions.forgotten(100.0) == []
    found.in_flight.clear()
    assert sessions.forgotten(19.0) == []
    assert sessions.forgotten(19.1) == [found]
    assert sessions.forgotten(19.2) == []
    with pytest.raises(Refused):
        sessions.find("one", OWNER, 19.2)
    _opened(sessions, 19.2)  # in the room of the other


@pytest.mark.parametrize("how", ["asked for", "in the way"])
async def test_a_session_that_was_found_idle_is_told_to_whoever_tidies_up(how: str) -> None:
    sessions = Sessions(idle_s=10.0, max_per_principal=1)
    _opened(sessions, 0.0)
    if how == "asked for":
        with pytest.raises(Refused):
            sessions.find("one", OWNER, 11.0)
    else:
        _opened(sessions, 11.0)
    assert [session.used_s for session in sessions.forgotten(11.0)] == [0.0]


async def test_the_sdk_forgets_the_sessions_that_we_forget() -> None:
    stand = Stand(settings=Settings(session_idle_s=0.01))
    async with stand.open() as alice:
        assert (await initialize(alice)).status == 200
        kept_by_sdk = stand.border._sdk._transport._server_instances
        with anyio.fail_after(5):
            while kept_by_sdk:
                await anyio.lowlevel.checkpoint()
