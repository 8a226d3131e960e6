"""Questions that nobody answers, at servers with a session for each caller: who makes room, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream import callers, parking
from tests.fakes import Border, border, eventually
from tests.upstream.asking import BOB, asked_in_rounds, call, next_round, nosy, parked, said, tool

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLEO = replace(BOB, subject="cleo")
_APPS = b'"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}'
FOUR = [  # capabilities that open four sessions
    b'{"elicitation":{"form":{}}}',
    b'{"elicitation":{"form":{},"url":{}}}',
    b'{"elicitation":{"form":{}},%b}' % _APPS,
    b'{"elicitation":{"form":{},"url":{}},%b}' % _APPS,
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the product serves on; the other one adds nothing here but time."""
    return "asyncio", {"use_uvloop": True}


async def test_of_too_many_parked_calls_of_a_tenant_the_oldest_of_its_greediest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "MAX_PARKED_OF_TENANT", 3)
    async with border(nosy()) as house:
        bobs = await asked_in_rounds(house, principal=BOB)
        mine = [await asked_in_rounds(house) for _ in range(2)]
        others = await asked_in_rounds(house, principal=replace(BOB, tenant="other"))
        cleo = await asked_in_rounds(house, principal=CLEO)
        assert parked(house) == 4
        answer = {"input": {"action": "accept"}}
        ended = [await call(house, next_round(*one, answer)) for one in (bobs, *mine, others, cleo)]
        assert [outcome.code for outcome in ended] == ["", "input_too_late", "", "", ""]


def sessions(house: Border) -> int:
    return int(house.upstreams.health()["fake"].connector["callers"])


async def test_questions_that_nobody_answers_keep_no_other_agent_from_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "MAX_LINES", 5)
    answer = {"input": {"action": "accept"}}
    async with border(nosy()) as house:
        bobs = await asked_in_rounds(house, principal=BOB)
        mine = [await asked_in_rounds(house, capabilities=capabilities) for capabilities in FOUR]
        assert sessions(house) == 5
        # Whoever has most makes room, with what waits longest, though another waits longer.
        assert said(await call(house, tool("who", modern=True, principal=CLEO)))
        assert (sessions(house), parked(house)) == (5, 4)
        late = await call(house, next_round(*mine[0], answer))
        assert (late.code, late.sent, late.status) == ("input_too_late", False, Status.FAILED)
        for one in (bobs, *mine[1:]):
            assert said(await call(house, next_round(*one, answer))) == [answer["input"]]


async def test_a_call_that_is_under_way_makes_no_room_nor_does_one_who_has_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "MAX_LINES", 2)
    answer = {"input": {"action": "accept"}}
    async with border(nosy()) as house:
        bobs = await asked_in_rounds(house, principal=BOB)
        async with anyio.create_task_group() as group:
            group.start_soon(call, house, tool("hold", key="k"))
            await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
            other = tool("who", modern=True, capabilities=FOUR[0])
            assert (await call(house, other)).code == "too_many_streams"
            assert said(await call(house, next_round(*bobs, answer))) == [answer["input"]]
            group.cancel_scope.cancel()
