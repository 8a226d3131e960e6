"""Callers of the newest era whose person opens pages: they are sent there, and come back."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from gateway.edge.approvals import elicit
from tests.app.administered import KEYS
from tests.app.counsel import (
    OPERATOR,
    Counsel,
    anyio_backend,
    counsel,
    once,
    own,
    passed,
    refusal_of,
)
from tests.edge.fakes import Knocker, Response

__all__ = ["anyio_backend", "counsel", "once", "own"]
pytestmark = pytest.mark.anyio
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
BY_URL: dict[str, Any] = {CAPABILITIES: {"elicitation": {"url": {}}}}
BY_FORM: dict[str, Any] = {CAPABILITIES: {"elicitation": {"form": {}}}}
ACCEPT = {"approval": {"action": "accept"}}


async def call(
    counsel: Counsel, state: Any = None, answers: Any = None, who: str = "bot", **arguments: Any
) -> Response:
    params: dict[str, Any] = {"name": "shelf_pay", "arguments": arguments}
    if state is not None:
        params |= {"requestState": state, "inputResponses": ACCEPT if answers is None else answers}
    return await Knocker(counsel.app, KEYS[who]).ask("tools/call", params, **BY_URL)


async def test_a_person_is_sent_to_the_page_and_the_call_goes_on(counsel: Counsel) -> None:
    asked = (await call(counsel, amount=5)).result
    assert asked["resultType"] == "input_required"
    question = asked["inputRequests"]["approval"]
    assert (question["method"], question["params"]["mode"]) == ("elicitation/create", "url")
    approval = asked["_meta"]["io.customhouse/refusal"]["approval"]
    assert f"/approvals/{approval}?exp=" in question["params"]["url"]
    ends: list[Response] = []

    async def comes_back() -> None:
        ends.append(await call(counsel, asked["requestState"], amount=5))

    async with anyio.create_task_group() as group:
        group.start_soon(comes_back)
        await anyio.wait_all_tasks_blocked()
        assert ends == []
        await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    assert passed(ends[0])
    assert counsel.effects() == ["pay"]


async def test_who_waits_is_told_of_a_no(counsel: Counsel) -> None:
    asked = (await call(counsel, amount=5)).result
    approval = asked["_meta"]["io.customhouse/refusal"]["approval"]
    await counsel.operate(OPERATOR, "approval.deny", approval=approval, reason="too much")
    answer = await call(counsel, asked["requestState"], amount=5)
    assert refusal_of(answer)["code"] == "approval_denied"
    assert "too much" in answer.result["content"][0]["text"]


async def test_undecided_it_is_asked_again_and_not_for_ever(
    counsel: Counsel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elicit, "WAIT_S", 0.01)
    answer = await call(counsel, amount=5)
    rounds = 0
    while answer.result["resultType"] == "input_required":
        rounds += 1
        answer = await call(counsel, answer.result["requestState"], amount=5)
    assert rounds == 7
    assert refusal_of(answer)["code"] == "approval_needed"
    assert "/approvals/A-" in answer.result["content"][0]["text"]


@pytest.mark.parametrize("answers", [{"approval": {"action": "decline"}}, {}, "x"])
async def test_a_person_who_declines_is_not_sent_there_again(
    counsel: Counsel, answers: Any
) -> None:
    asked = (await call(counsel, amount=5)).result
    answer = await call(counsel, asked["requestState"], answers, amount=5)
    assert refusal_of(answer)["code"] == "approval_needed"


@pytest.mark.parametrize("capabilities", [{CAPABILITIES: {}}, BY_FORM])
async def test_others_read_the_link_in_a_refusal(counsel: Counsel, capabilities: Any) -> None:
    knocker = Knocker(counsel.app, KEYS["bot"])
    answer = await knocker.call("shelf_pay", {"amount": 5}, **capabilities)
    refusal = refusal_of(answer)
    text = answer.result["content"][0]["text"]
    assert refusal["url"] in text
    assert refusal["approval"] in text
    assert text.endswith("repeat exactly this call.")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount": 6}, id="other arguments"),
        pytest.param({"amount": 5, "who": "second"}, id="another caller"),
    ],
)
async def test_a_state_of_another_call_is_refused(counsel: Counsel, change: Any) -> None:
    asked = (await call(counsel, amount=5)).result
    answer = await call(counsel, asked["requestState"], **change)
    assert answer.error["data"]["io.customhouse/refusal"]["code"] == "bad_state"


async def test_what_comes_with_the_state_is_not_sent_on(counsel: Counsel) -> None:
    """Else the server would hear what nobody was shown."""
    asked = (await call(counsel, amount=5)).result
    approval = asked["_meta"]["io.customhouse/refusal"]["approval"]
    await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    more = {**ACCEPT, "injected": {"action": "accept", "content": {"amount": 10**6}}}
    assert passed(await call(counsel, asked["requestState"], more, amount=5))
    [intent] = counsel.intents()
    assert intent.approval == approval
