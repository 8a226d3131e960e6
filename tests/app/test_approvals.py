"""Calls that wait for an approval: asked, given, denied, used up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.audit import entry as entries
from gateway.domain.approval import MAX_OPEN, Granted
from gateway.domain.asking import Ask, as_child
from gateway.domain.model import Principal
from gateway.domain.operator import OperationRefused
from gateway.store import engine
from gateway.store.keyring import payload_keys
from gateway.store.petitions import read_asked
from tests.app.counsel import (
    OPERATOR,
    OTHER_OPERATOR,
    Counsel,
    anyio_backend,
    counsel,
    counselled,
    once,
    own,
    passed,
    refusal_of,
)
from tests.cli.household import Household, tool
from tests.fakes import make_call

__all__ = ["anyio_backend", "counsel", "once", "own"]
pytestmark = pytest.mark.anyio


async def test_the_repeated_call_passes_once(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    assert await counsel.asked(amount=5) == approval
    assert counsel.effects() == []
    done = await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    assert (done["state"], done["approved_by"]) == ("granted", [OPERATOR])
    assert passed(await counsel.call(amount=5))
    assert counsel.effects() == ["pay"]
    assert await counsel.asked(amount=5) != approval
    assert counsel.effects() == ["pay"]
    assert [intent.approval for intent in counsel.intents()] == [approval]
    about = f"approval/{approval}"
    changes = [change for change in counsel.changes() if change[2] == about]
    assert changes == [
        ("approval.ask", "agent:bot", about),
        ("approval.give", OPERATOR, about),
        ("approval.use", "agent:bot", about),
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"who": "second", "amount": 5}, id="another principal"),
        pytest.param({"who": "bot", "amount": 6}, id="other arguments"),
        pytest.param({"who": "bot", "amount": 5.0}, id="the same number, written otherwise"),
        pytest.param({"who": "bot", "amount": 5, "more": None}, id="one argument more"),
    ],
)
async def test_an_approval_fits_nothing_else(counsel: Counsel, other: dict[str, object]) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    who = str(other.pop("who"))
    assert await counsel.asked(who, "pay", **other) != approval
    assert counsel.effects() == []
    assert passed(await counsel.call(amount=5))


async def test_arguments_in_another_order_are_the_same(counsel: Counsel) -> None:
    approval = await counsel.asked(a=1, b={"x": [1, 2], "y": None})
    assert await counsel.asked(b={"y": None, "x": [1, 2]}, a=1) == approval


async def test_a_definition_that_changed_needs_an_approval_of_its_own(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    counsel.home.lists(*(tool(name, "now it does more") for name in ("look", "pay")))
    await counsel.operate(OPERATOR, "server.test", name="shelf")
    [pay] = [d for d in counsel.house.registry.catalogue.definitions if d.name == "pay"]
    given = {"server": "shelf", "name": "pay", "digest": pay.digest}
    await counsel.operate(OPERATOR, "tool.approve", **given)
    assert await counsel.asked(amount=5) != approval
    assert counsel.effects() == []


async def test_over_the_api_it_takes_the_role_and_the_right(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    path = f"/approvals/{approval}"
    assert (await counsel.get("second", path)).status == 403
    shown = (await counsel.get("ann", path)).json
    assert (shown["agent"], shown["object"], shown["roles"]) == ("bot", "tool/shelf/pay", "boss")
    assert "arguments" not in shown
    refused = await counsel.decide("rita", approval, "approve")
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert "takes the role boss" in refused.json["detail"]
    assert (await counsel.post("ann", f"{path}/approve")).status == 428
    assert (await counsel.post("ann", f"{path}/approve", if_match='"old"')).status == 412
    done = await counsel.yes("ann", approval, {"reason": "it is due"})
    assert (done.json["state"], done.json["approved_by"]) == ("granted", ["agent:ann"])
    again = await counsel.decide("bob", approval, "approve")
    assert (again.status, again.json["code"]) == (409, "in_the_way")
    assert passed(await counsel.call(amount=5))
    assert (await counsel.get("ann", path)).status == 404


async def test_arguments_are_shown_to_those_who_could_decide_and_the_look_is_entered(
    counsel: Counsel,
) -> None:
    approval = await counsel.asked(b=1.50, a="\u202eevil")
    path = f"/approvals/{approval}/arguments"
    assert (await counsel.get("rita", path)).status == 403
    looks = [change for change in counsel.changes() if change[0] == "audit.payload_read"]
    assert looks == []
    shown = (await counsel.get("ann", path)).json
    assert '"a": "\u202eevil",\n    "b": 1.5' in shown["arguments"]
    assert shown["rule_text"].endswith("tool/shelf/pay, call, approval:boss, allow")
    looks = [change for change in counsel.changes() if change[0] == "audit.payload_read"]
    assert looks == [("audit.payload_read", "agent:ann", f"approval/{approval}")]


async def test_two_roles_take_two_persons(counsel: Counsel) -> None:
    approval = await counsel.asked("bot", "move", amount=5)
    assert (await counsel.yes("both", approval)).json["state"] == "waiting"
    assert await counsel.asked("bot", "move", amount=5) == approval
    alone = await counsel.decide("both", approval, "approve")
    assert (alone.status, alone.json["code"]) == (403, "forbidden")
    # Whoever stands for both leaves either one to somebody else.
    assert (await counsel.yes("ann", approval)).json["state"] == "granted"
    assert passed(await counsel.call("bot", "move", amount=5))


async def test_the_same_role_twice_is_not_two_roles(counsel: Counsel) -> None:
    approval = await counsel.asked("bot", "move", amount=5)
    await counsel.yes("ann", approval)
    again = await counsel.decide("bob", approval, "approve")
    assert again.status == 403
    assert (await counsel.operate(OPERATOR, "approval.approve", approval=approval))["state"] == (
        "granted"
    )


async def test_one_operator_is_one_person(counsel: Counsel) -> None:
    approval = await counsel.asked("bot", "move", amount=5)
    await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    for same in (OPERATOR, "uid:1000 renamed"):
        with pytest.raises(OperationRefused, match="cannot decide"):
            await counsel.operate(same, "approval.approve", approval=approval)
    done = await counsel.operate(OTHER_OPERATOR, "approval.approve", approval=approval)
    assert done["state"] == "granted"


async def test_either_of_two_rules_is_enough(counsel: Counsel) -> None:
    approval = await counsel.asked("bot", "sell")
    assert (await counsel.yes("aud", approval)).json["state"] == "granted"
    assert passed(await counsel.call("bot", "sell"))


async def test_a_no_stands_and_the_caller_is_told_why(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    done = await counsel.decide("ann", approval, "deny", {"reason": "not this month"})
    assert (done.json["state"], done.json["denied_by"]) == ("denied", "agent:ann")
    for _ in range(2):
        answer = await counsel.call(amount=5)
        assert refusal_of(answer)["code"] == "approval_denied"
        assert "not this month" in answer.result["content"][0]["text"]
    refused = [e for e in counsel.entries() if isinstance(e, entries.Refused)]
    assert not any("month" in str(e.detail) for e in refused)
    late = await counsel.decide("bob", approval, "approve")
    assert (late.status, late.json["code"]) == (409, "in_the_way")
    assert counsel.effects() == []


async def test_what_was_approved_can_be_taken_back_until_it_is_used(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    await counsel.decide("ann", approval, "deny")
    assert refusal_of(await counsel.call(amount=5))["code"] == "approval_denied"


async def test_for_a_run_it_covers_other_arguments_so_many_times(counsel: Counsel) -> None:
    refusal = refusal_of(await counsel.call(run="run-00001", amount=1))
    await counsel.yes("ann", refusal["approval"], {"calls": 3})
    for amount in (2, 3, 1):
        assert passed(await counsel.call(run="run-00001", amount=amount))
    for run in ("run-00001", "run-00002", ""):
        answer = await counsel.call(run=run, amount=2)
        assert refusal_of(answer)["code"] == "approval_needed"
    assert len(counsel.effects()) == 3


async def test_for_a_run_of_two_approvers_the_smaller_number_counts(counsel: Counsel) -> None:
    refusal = refusal_of(await counsel.call("bot", "move", run="run-00001", amount=1))
    await counsel.yes("ann", refusal["approval"], {"calls": 3})
    await counsel.yes("aud", refusal["approval"])
    assert not passed(await counsel.call("bot", "move", run="run-00001", amount=2))
    assert passed(await counsel.call("bot", "move", run="run-00001", amount=1))
    assert not passed(await counsel.call("bot", "move", run="run-00001", amount=1))


async def test_what_is_part_of_no_run_is_not_approved_for_one(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    answer = await counsel.decide("ann", approval, "approve", {"calls": 2})
    assert (answer.status, answer.json["code"]) == (409, "in_the_way")


async def test_the_twenty_first_ask_of_one_principal_is_told_so(counsel: Counsel) -> None:
    for amount in range(MAX_OPEN):
        await counsel.asked(amount=amount)
    answer = await counsel.call(amount=MAX_OPEN)
    assert "approval" not in refusal_of(answer)
    assert "20 calls of yours wait" in answer.result["content"][0]["text"]
    assert await counsel.asked("second", "pay", amount=MAX_OPEN)
    assert await counsel.asked(amount=0)  # the one that waits is still told


async def test_what_nobody_could_read_through_nobody_is_asked(counsel: Counsel) -> None:
    answer = await counsel.call(text="x" * 24_000)
    assert "approval" not in refusal_of(answer)
    assert "nobody can approve more" in answer.result["content"][0]["text"]


async def test_a_restart_forgets_nothing(own: Household) -> None:
    async with counselled(own) as house:
        given, open_, denied = [await house.asked(amount=n) for n in (1, 2, 3)]
        used = await house.asked(amount=4)
        for approval in (given, used):
            await house.yes("ann", approval)
        await house.decide("ann", denied, "deny", {"reason": "no"})
        assert passed(await house.call(amount=4))
    async with counselled(own) as house:
        rows = (await house.get("ann", "/approvals")).json["items"]
        states = {row["approval"]: row["state"] for row in rows}
        assert states == {given: "granted", open_: "waiting", denied: "denied"}
        assert passed(await house.call(amount=1))
        assert await house.asked(amount=2) == open_
        assert refusal_of(await house.call(amount=3))["code"] == "approval_denied"
        assert await house.asked(amount=4) != used
        assert len(house.effects()) == 2


async def test_a_failed_commit_leaves_what_is_on_disk(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    house = counsel.house
    await house.recovery.after_failed_commit()
    assert house.approvals.find(approval) is not None
    assert passed(await counsel.call(amount=5))


async def test_erasing_the_subject_erases_what_it_asked_for(counsel: Counsel) -> None:
    approval = await counsel.asked(secret="of-the-island")
    course = counsel.house.approvals.find(approval)
    assert course is not None
    given = {"subject": "bot", "registered": True}
    await counsel.operate(OPERATOR, "audit.erase", **given)
    with pytest.raises(OperationRefused, match="cannot be shown"):
        await counsel.operate(OPERATOR, "approval.show", approval=approval)
    with engine.reading(counsel.house.database) as connection:
        keys = tuple(payload_keys(counsel.house.house_keys.folder))
        assert read_asked(connection, keys, course.petition) is None


async def test_erasing_the_call_that_asked_erases_its_arguments_there(counsel: Counsel) -> None:
    refusal = refusal_of(await counsel.call(secret="of-the-island"))
    await counsel.operate(OPERATOR, "audit.erase", call=refusal["call_id"])
    with pytest.raises(OperationRefused, match="cannot be shown"):
        await counsel.operate(OPERATOR, "approval.show", approval=refusal["approval"])


async def test_what_belongs_to_an_approved_call_needs_no_other_approval(counsel: Counsel) -> None:
    """Its later rounds, and what its server asks the caller meanwhile; and nothing else."""
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    assert passed(await counsel.call(amount=5))
    approvals, now_us = counsel.house.approvals, counsel.house.ledger.log.stamp()
    [pay] = [d for d in counsel.house.registry.catalogue.definitions if d.name == "pay"]
    params = {"name": b'"pay"', "arguments": b'{"amount": 5}'}
    bot = Principal("default", "bot")
    first = replace(make_call("shelf", "pay"), principal=bot, definition=pay, params=params)
    first = replace(first, id=counsel.intents()[0].call)
    decision = counsel.house.policies.decide(first)
    more = {**params, "inputResponses": b"{}"}
    asked = Ask("elicitation/create", {"message": b'"name?"'})
    for call, belongs in (
        (replace(first, round=2, params=more), True),
        (as_child(first, asked, "0" * 26), True),
        (first, False),
        (replace(first, round=2, params={**more, "arguments": b"{}"}), False),
        (replace(first, round=2, principal=Principal("default", "second")), False),
        (as_child(replace(first, id="1" * 26), asked, "0" * 26), False),
    ):
        assert isinstance(approvals.standing(call, decision, now_us), Granted) is belongs
