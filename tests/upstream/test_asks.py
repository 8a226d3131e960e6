"""Servers of the older era that ask, in sessions that one caller has to itself."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from gateway.domain import refusal
from gateway.domain.asking import KINDS, Ask
from gateway.domain.model import Outcome, Status
from gateway.domain.refusal import Refused
from gateway.upstream import callers, parking
from gateway.upstream.exchange import Interrupted
from tests.fakes import Collected, border, eventually, gone
from tests.upstream.asking import (
    BOB,
    EVERYTHING,
    FORM,
    SAMPLE,
    Answering,
    asked_in_rounds,
    call,
    cancelled_at,
    next_round,
    nosy,
    parked,
    said,
    tool,
)

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the product serves on; the other one adds nothing here but time."""
    return "asyncio", {"use_uvloop": True}


# -- whose session ----------------------------------------------------------------------------------


async def test_a_session_is_opened_with_what_its_caller_declared_and_may_be_asked() -> None:
    async with border(nosy(requests=frozenset({"elicitation"}))) as house:
        declared = said(await call(house, tool("who")))["declared"]
        assert declared == {"elicitation": {"form": {}, "url": {}}}
        shy = said(await call(house, tool("who", capabilities=b"{}")))
        assert shy["declared"] == {}


async def test_no_two_callers_share_a_child_and_one_caller_keeps_its_own() -> None:
    async with border(nosy()) as house:
        pids = [
            said(await call(house, tool("who", principal=who)))["pid"]
            for who in (None, None, BOB, replace(BOB, actors=("x",)), replace(BOB, tenant="t"))
        ]
    assert pids[0] == pids[1]
    assert len(set(pids)) == 4


async def test_a_shared_session_offers_nothing_and_asks_nobody() -> None:
    asker = Answering()
    async with border(nosy(per_caller=False)) as house:
        assert not KINDS & said(await call(house, tool("who")))["declared"].keys()
        [answer] = said(await call(house, tool("ask", method=FORM), asker))
    assert answer["code"] == -32601
    assert asker.asked == []


async def test_lists_come_from_a_session_that_is_nobodys() -> None:
    async with border(nosy()) as house:
        await house.upstreams.list_definitions("fake")
        assert house.upstreams.health()["fake"].connector["callers"] == 0


async def test_one_principal_cannot_take_all_the_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "MAX_LINES_OF_ONE", 2)
    async with border(nosy()) as house:
        first = said(await call(house, tool("who", capabilities=b"{}")))["pid"]
        await call(house, tool("who", capabilities=b'{"roots":{}}'))
        await call(house, tool("who", capabilities=b'{"sampling":{}}'))
        assert house.upstreams.health()["fake"].connector["callers"] == 2
        assert said(await call(house, tool("who", capabilities=b"{}")))["pid"] != first
        async with anyio.create_task_group() as group:
            for capabilities in (b"{}", b'{"sampling":{}}'):
                holding = tool("hold", capabilities=capabilities, key="k")
                group.start_soon(call, house, holding)
            await eventually(lambda: house.upstreams.health()["fake"].in_flight == 2)
            refused = await call(house, tool("who", capabilities=b'{"roots":{}}'))
            assert (refused.code, refused.sent) == ("too_many_streams", False)
            assert said(await call(house, tool("who", principal=BOB)))
            group.cancel_scope.cancel()


async def test_a_session_that_nobody_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "IDLE_S", 0.0)
    monkeypatch.setattr(callers, "SWEEP_S", 0.01)
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        pid = said(await call(house, tool("who", principal=BOB)))["pid"]
        await eventually(lambda: gone(pid))
        answer = {"input": {"action": "accept"}}  # one that waits for a person is in use
        assert said(await call(house, next_round(begun, outcome, answer)))


# -- questions --------------------------------------------------------------------------------------


async def test_an_answer_goes_back_to_the_server_that_asked() -> None:
    asker = Answering(b'{"action":"accept",\n"content":{"n":1.50}}')
    async with border(nosy()) as house:
        asked = tool("ask", method=FORM, params={"message": "?", "vendor": {"x": 1}})
        assert said(await call(house, asked, asker)) == [
            {"action": "accept", "content": {"n": 1.5}}
        ]
    assert asker.asked == [Ask(FORM, {"message": b'"?"', "vendor": b'{"x": 1}'})]


async def test_what_is_refused_is_an_error_for_the_server_and_says_nothing_of_the_caller() -> None:
    secret: dict[str, str | int] = {
        "problem": "the client did not declare sampling",
        "remaining": 17,
    }
    rows = {
        SAMPLE: (refusal.NOT_ASKABLE, -32601),
        FORM: (refusal.OVER_BUDGET, -32603),
    }
    asker = Answering(refuse=lambda ask: Refused(rows[ask.method][0], "c", secret))
    async with border(nosy()) as house:
        for method, (_, code) in rows.items():
            [error] = said(await call(house, tool("ask", method=method), asker))
            assert error["code"] == code
            assert "17" not in error["message"]


async def test_a_mode_that_was_not_declared_is_invalid_params() -> None:
    asker = Answering(refuse=lambda ask: Refused(refusal.NOT_ASKABLE))
    async with border(nosy()) as house:
        asked = tool("ask", method=FORM, params={"mode": "url"}, capabilities=b'{"elicitation":{}}')
        [error] = said(await call(house, asked, asker))
    assert error["code"] == -32602


async def test_what_is_no_question_reaches_nobody() -> None:
    asker = Answering()
    async with border(nosy()) as house:
        for method in ("tools/call", "made/up", "notifications/x"):
            [error] = said(await call(house, tool("ask", method=method), asker))
            assert error["code"] == -32601
    assert asker.asked == []


async def test_one_call_asks_eight_times_at_most() -> None:
    asker = Answering()
    async with border(nosy()) as house:
        answers = said(await call(house, tool("ask", method=FORM, times=11), asker))
    assert len(asker.asked) == 8
    assert [one.get("code") for one in answers].count(-32603) == 3


async def test_with_two_calls_going_on_a_question_belongs_to_neither() -> None:
    asker = Answering()
    async with border(nosy()) as house, anyio.create_task_group() as group:
        group.start_soon(call, house, tool("hold", key="k"))
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        [error] = said(await call(house, tool("ask", method=FORM), asker))
        assert error["code"] == -32600
        assert asker.asked == []
        await call(house, tool("release", key="k"))
        assert said(await call(house, tool("ask", method=FORM), asker))[0]["action"] == "accept"


async def test_a_call_that_waits_for_a_person_does_not_keep_another_from_asking() -> None:
    slow, quick = Answering(open=anyio.Event()), Answering()
    async with border(nosy()) as house, anyio.create_task_group() as group:
        group.start_soon(call, house, tool("ask", method=FORM), slow)
        await eventually(lambda: bool(slow.asked))
        assert said(await call(house, tool("ask", method=FORM), quick))[0]["action"] == "accept"
        assert (len(slow.asked), len(quick.asked)) == (1, 1)
        assert slow.open is not None
        slow.open.set()


async def test_the_clock_of_a_call_stands_still_while_a_person_is_asked() -> None:
    asker = Answering(open=anyio.Event())
    async with border(nosy(timeout_s=0.5)) as house, anyio.create_task_group() as group:
        await call(house, tool("who"))
        outcomes: list[Outcome] = []

        async def one() -> None:
            outcomes.append(await call(house, tool("ask", method=FORM), asker))

        group.start_soon(one)
        await eventually(lambda: bool(asker.asked))
        held = await call(house, tool("hold", key="k"))  # its own clock runs, and runs out
        assert held.code == "upstream_timeout"
        assert asker.open is not None
        asker.open.set()
        await eventually(lambda: bool(outcomes))
    assert said(outcomes[0]) == [{"action": "accept"}]


async def test_when_the_call_ends_nobody_is_asked_any_more() -> None:
    for name in ("ask_and_end", "ask_and_die"):
        asker = Answering(open=anyio.Event())
        async with border(nosy()) as house, anyio.create_task_group() as group:
            if name == "ask_and_end":
                assert said(await call(house, tool(name, method=FORM), asker)) == "ended"
            else:
                group.start_soon(call, house, tool(name, method=FORM), asker)
                await eventually(partial(bool, asker.asked))
                await call(house, tool("die"))
            await eventually(partial(all_interrupted, asker))


def all_interrupted(asker: Answering) -> bool:
    return len(asker.asked) == asker.interrupted


async def test_a_question_that_is_taken_back_is_not_waited_for() -> None:
    asker = Answering(open=anyio.Event())
    async with border(nosy()) as house, anyio.create_task_group() as group:
        group.start_soon(call, house, tool("ask_and_take_back", method=FORM), asker)
        await eventually(lambda: bool(asker.asked))
        await call(house, tool("take_back"))
        await eventually(lambda: asker.interrupted == 1)
    assert (len(asker.asked), asker.interrupted) == (1, 1)


async def test_log_lines_reach_the_only_call_they_can_be_for() -> None:
    relay, other = Collected(), Collected()
    async with border(nosy()) as house:
        await call(house, tool("log"), relay=relay)
    async with border(nosy(per_caller=False)) as house:
        await call(house, tool("log"), relay=other)
    assert [frame["method"] for frame in relay.frames] == ["notifications/message"]
    assert other.frames == []


# -- clients of the newest era ----------------------------------------------------------------------


async def test_a_request_becomes_a_question_in_a_result_and_the_call_waits() -> None:
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        result = json.loads(outcome.result)
        assert result["inputRequests"] == {"input": {"method": FORM, "params": {"message": "Who?"}}}
        assert parked(house) == 1
        answer = {"input": {"action": "accept", "content": {"a": 1}}}
        assert said(await call(house, next_round(begun, outcome, answer))) == [answer["input"]]
        assert parked(house) == 0


@pytest.mark.parametrize("answers", [{}, {"other": {"action": "accept"}}, {"input": 7}, []])
async def test_a_round_without_the_answer_is_asked_again(answers: Any) -> None:
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        again = await call(house, next_round(begun, outcome, answers))
        assert again.status is Status.INPUT_REQUIRED
        assert parked(house) == 1
        answer = {"input": {"action": "decline"}}
        assert said(await call(house, next_round(begun, again, answer))) == [{"action": "decline"}]


async def test_a_round_is_good_once_and_for_its_own_caller() -> None:
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        answer = {"input": {"action": "accept"}}
        stolen = await call(house, next_round(begun, outcome, answer, principal=BOB))
        assert (stolen.code, stolen.sent) == ("input_too_late", False)
        assert said(await call(house, next_round(begun, outcome, answer)))
        assert (await call(house, next_round(begun, outcome, answer))).code == "input_too_late"


async def test_nobody_waits_for_a_round_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "PARKED_S", 0.05)
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        await eventually(lambda: parked(house) == 0)
        answer = {"input": {"action": "accept"}}
        assert (await call(house, next_round(begun, outcome, answer))).code == "input_too_late"
        await cancelled_at(house)


async def test_of_too_many_parked_calls_the_oldest_of_that_caller_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "MAX_PARKED", 2)
    async with border(nosy()) as house:
        bobs = await asked_in_rounds(house, principal=BOB)
        mine = [await asked_in_rounds(house) for _ in range(3)]
        assert parked(house) == 3
        answer = {"input": {"action": "accept"}}
        ended = [await call(house, next_round(*one, answer)) for one in (*mine, bobs)]
    assert [outcome.code for outcome in ended] == ["input_too_late", "", "", ""]


async def test_a_server_that_dies_meanwhile_is_said_to_have_died() -> None:
    async with border(nosy()) as house:
        begun, outcome = await asked_in_rounds(house)
        assert (await call(house, tool("die", modern=True))).code == "upstream_died"
        answer = {"input": {"action": "accept"}}
        assert (await call(house, next_round(begun, outcome, answer))).code == "upstream_died"


async def test_a_caller_that_leaves_in_a_later_round_ends_the_call_at_the_server() -> None:
    async with border(nosy()) as house:
        begun = tool("ask_and_take_back", modern=True, method=FORM)  # ends only when told to
        first = await call(house, begun)
        later = next_round(begun, first, {"input": {"action": "accept"}})
        waiting = asyncio.create_task(call(house, later))
        await eventually(lambda: house.upstreams.health()["fake"].in_flight == 1)
        await call(house, tool("who", modern=True))
        waiting.cancel()
        with pytest.raises(Interrupted) as left:
            await waiting
        assert left.value.outcome.status is Status.CANCELLED
        await cancelled_at(house)


async def test_sampling_has_no_way_across_the_eras() -> None:
    asker = Answering(refuse=lambda _: Refused(refusal.NOT_ASKABLE))
    async with border(nosy()) as house:
        assert said(await call(house, tool("who", modern=True)))["declared"].keys() == {
            "elicitation"
        }
        [error] = said(await call(house, tool("ask", modern=True, method=SAMPLE), asker))
    assert error["code"] == -32601
    assert [ask.method for ask in asker.asked] == [SAMPLE]


# -- questions in results ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modern", "method", "params", "capabilities", "code"),
    [
        pytest.param(True, FORM, {}, b'{"elicitation":{}}', "", id="declared"),
        pytest.param(True, SAMPLE, {}, b'{"sampling":{}}', "", id="sampling, declared"),
        pytest.param(True, SAMPLE, {}, b"{}", "not_askable", id="not declared"),
        pytest.param(True, "roots/list", {}, b'{"sampling":{}}', "not_askable", id="another one"),
        pytest.param(
            True, FORM, {"mode": "url"}, b'{"elicitation":{}}', "not_askable", id="another mode"
        ),
        pytest.param(True, "tools/call", {}, EVERYTHING, "not_askable", id="no question at all"),
        pytest.param(False, FORM, {}, b'{"elicitation":{}}', "", id="across the eras"),
        pytest.param(
            False, SAMPLE, {}, EVERYTHING, "not_supported_across_eras", id="sampling across them"
        ),
    ],
)
async def test_a_server_of_the_newest_era_asks_what_it_may(
    modern: bool, method: str, params: Any, capabilities: bytes, code: str
) -> None:
    asked = tool("ask", modern=modern, method=method, params=params, capabilities=capabilities)
    async with border(nosy("newest", per_caller=False)) as house:
        outcome = await call(house, asked)
    assert outcome.code == code
    assert outcome.status is (Status.FAILED if code else Status.INPUT_REQUIRED)
    assert bool(outcome.result) is not bool(code)


async def test_a_server_of_the_newest_era_is_not_told_of_what_it_may_not_ask() -> None:
    spec = nosy("newest", per_caller=False, requests=frozenset({"elicitation"}))
    async with border(spec) as house:
        for modern in (True, False):
            meta = said(await call(house, tool("told", modern=modern)))
            capabilities = meta["io.modelcontextprotocol/clientCapabilities"]
            assert capabilities == {"elicitation": {"form": {}, "url": {}}}
