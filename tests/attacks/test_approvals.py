"""Somebody tries to have a call made that nobody approved."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import anyio
import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.app.operations.persons import are_told_apart
from gateway.audit import entry as entries
from gateway.domain.approval import ASK_LASTS_US, USE_LASTS_US, Approver, Yes, arguments_digest
from gateway.domain.model import Principal
from gateway.domain.operator import OperationRefused
from gateway.store import engine
from gateway.store.keyring import payload_keys
from gateway.store.log import SALT_BYTES
from gateway.store.petitions import GIVE
from gateway.store.writer import unseal
from tests.app.administered import KEYS
from tests.app.counsel import (
    OPERATOR,
    Counsel,
    anyio_backend,
    counsel,
    counselled,
    once,
    own,
    passed,
    refusal_of,
)
from tests.cli.household import Household
from tests.edge.fakes import Knocker

__all__ = ["anyio_backend", "counsel", "once", "own"]
pytestmark = pytest.mark.anyio


# -- other arguments, and the same again ----------------------------------------------------------


async def test_a_hundred_repeats_of_one_approved_call_are_one_call(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    ends: list[bool] = []

    async def repeat() -> None:
        ends.append(passed(await counsel.call(amount=5)))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(repeat)
    assert (len(ends), sum(ends)) == (100, 1)
    assert counsel.effects() == ["pay"]
    assert [intent.approval for intent in counsel.intents()] == [approval]


async def test_a_hundred_calls_of_a_run_are_as_many_as_were_approved(counsel: Counsel) -> None:
    refusal = refusal_of(await counsel.call(run="run-00001", amount=0))
    await counsel.yes("ann", refusal["approval"], {"calls": 7})
    ends: list[bool] = []

    async def one(amount: int) -> None:
        ends.append(passed(await counsel.call(run="run-00001", amount=amount)))

    async with anyio.create_task_group() as group:
        for amount in range(15):  # as many as a run may have open
            group.start_soon(one, amount)
    assert sum(ends) == len(counsel.effects()) == 7


@pytest.mark.parametrize(
    ("approved", "sent"),
    [
        pytest.param('{"a":1.0}', '{"a":1.00000000000000000001}', id="a fraction rounded away"),
        pytest.param('{"a":9007199254740993}', '{"a":9007199254740992}', id="a large number"),
        pytest.param('{"a":9007199254740993.0}', '{"a":9007199254740992.0}', id="one with a point"),
        pytest.param('{"a":"1"}', '{"a":1}', id="a text for a number"),
        pytest.param('{"a":"\\u0061"}', '{"a":"\\u0430"}', id="a letter that looks alike"),
        pytest.param('{"a":null}', "{}", id="nothing for null"),
        pytest.param('{"a":[1,2]}', '{"a":[2,1]}', id="another order of a list"),
        pytest.param('{"a":true}', '{"a":1}', id="a number for true"),
        pytest.param('{"a":{"b":1},"c":2}', '{"a":{"b":2},"c":1}', id="values changed over"),
    ],
)
def test_arguments_that_look_alike_are_not_the_same(approved: str, sent: str) -> None:
    one = {"name": b'"pay"', "arguments": approved.encode()}
    other = {"name": b'"pay"', "arguments": sent.encode()}
    assert arguments_digest(one) != arguments_digest(other)


async def test_what_is_hidden_beside_the_arguments_is_not_approved_with_them(
    counsel: Counsel,
) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    extra = {"name": "shelf_pay", "arguments": {"amount": 5}}
    for more in (
        {"inputResponses": {"x": {"action": "accept", "content": {"amount": 10**6}}}},
        {"unknown": {"amount": 10**6}},
    ):
        answer = await Knocker(counsel.app, KEYS["bot"]).ask("tools/call", {**extra, **more})
        assert not passed(answer), more
    assert counsel.effects() == []


# -- approving for oneself ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["approve", "deny"])
async def test_nobody_decides_on_what_they_ask_for(counsel: Counsel, way: str) -> None:
    approval = await counsel.asked("greedy", "pay", amount=5)
    answer = await counsel.decide("greedy", approval, way)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert "nobody approves or denies what they asked for" in answer.json["detail"]
    assert not passed(await counsel.call("greedy", "pay", amount=5))


async def decides(counsel: Counsel, approval: str, who: Principal) -> None:
    """As the desk has it carried out for somebody that the door let in."""
    given = {"approval": approval, "as": msgspec.to_builtins(who)}
    await counsel.operate(f"agent:{who.subject}", "approval.approve", **given)


@pytest.mark.parametrize(
    "who",
    [
        pytest.param(Principal("default", "corp/bot", roles=frozenset({"boss"})), id="a token"),
        pytest.param(
            Principal("default", "other/BOT", roles=frozenset({"boss"})), id="in capitals"
        ),
        pytest.param(Principal("default", "ann", actors=("bot",)), id="for the one who asks"),
    ],
)
async def test_another_credential_of_the_asker_is_the_asker(counsel: Counsel, who: Any) -> None:
    approval = await counsel.asked(amount=5)
    with pytest.raises(OperationRefused, match="cannot"):
        await decides(counsel, approval, who)
    assert not passed(await counsel.call(amount=5))


@pytest.mark.parametrize(
    ("asker", "approver"),
    [("agent:bot", "agent:corp/bot"), ("agent:corp/al", "agent:corp/aI"), ("agent:x", "agent:x")],
)
def test_names_that_look_alike_are_one(asker: str, approver: str) -> None:
    assert not are_told_apart(asker, approver)


async def test_whoever_it_is_asked_for_does_not_approve(counsel: Counsel) -> None:
    """ann has delegated to bot: what bot asks for, ann would be approving for herself."""
    approval = await counsel.asked(amount=5)
    course = counsel.house.approvals.find(approval)
    assert course is not None
    course.petition = replace(course.petition, actors=("ann",))
    answer = await counsel.decide("ann", approval, "approve")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert (await counsel.decide("bob", approval, "approve")).status == 200


async def test_an_approver_does_not_say_over_the_api_who_it_is(counsel: Counsel) -> None:
    approval = await counsel.asked(amount=5)
    boss = {"tenant": "default", "subject": "rita", "roles": ["boss"]}
    answer = await counsel.decide("rita", approval, "approve", {"as": boss})
    assert (answer.status, answer.json["code"]) == (400, "bad_params")
    with pytest.raises(OperationRefused, match="nobody else"):
        await counsel.operate(OPERATOR, "approval.approve", approval=approval, **{"as": boss})


# -- too late, and not any more -------------------------------------------------------------------


def later(counsel: Counsel, monkeypatch: pytest.MonkeyPatch, by_us: int) -> None:
    log = counsel.house.ledger.log
    now = log._clock
    monkeypatch.setattr(log, "_clock", lambda: now() + by_us)
    for place in ("gateway.app.operations.approvals", "gateway.app.bench"):
        monkeypatch.setattr(f"{place}.wall_us", lambda: now() + by_us)


async def test_what_expired_between_approval_and_call_is_not_approved(
    counsel: Counsel, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await counsel.asked(amount=5)
    await counsel.yes("ann", approval)
    later(counsel, monkeypatch, USE_LASTS_US)
    assert await counsel.asked(amount=5) != approval
    assert counsel.effects() == []


async def test_an_ask_that_expired_is_not_approved_any_more(
    counsel: Counsel, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await counsel.asked(amount=5)
    later(counsel, monkeypatch, ASK_LASTS_US)
    with pytest.raises(OperationRefused, match="there is no approval"):
        await counsel.operate(OPERATOR, "approval.approve", approval=approval)
    assert not passed(await counsel.call(amount=5))


async def lose_the_role(counsel: Counsel) -> None:
    await counsel.operate(OPERATOR, "agent.withdraw", name="carl", role="boss")


async def take_the_role_from_the_rule(counsel: Counsel) -> None:
    rules = counsel.home.folder / "policies" / "policy.csv"
    rules.write_text(rules.read_text().replace("approval:boss", "approval:chief"))
    await counsel.operate(OPERATOR, "policy.apply")


async def disable(counsel: Counsel) -> None:
    await counsel.operate(OPERATOR, "agent.disable", name="carl")


async def revoke(counsel: Counsel) -> None:
    [key] = [key for key in counsel.house.identity.keys.values() if key.agent == "carl"]
    await counsel.operate(OPERATOR, "key.revoke", id=key.id)


@pytest.mark.parametrize("loss", [lose_the_role, take_the_role_from_the_rule, disable, revoke])
async def test_an_approver_who_is_none_any_more_has_approved_nothing(
    counsel: Counsel, loss: Any
) -> None:
    await counsel.operate(OPERATOR, "agent.add", name="carl", roles=["boss"])
    KEYS["carl"] = (await counsel.operate(OPERATOR, "key.issue", agent="carl"))["key"]
    approval = await counsel.asked(amount=5)
    await counsel.yes("carl", approval)
    await loss(counsel)
    assert refusal_of(await counsel.call(amount=5))["code"] == "approval_needed"
    assert counsel.effects() == []


# -- what is another's ----------------------------------------------------------------------------


async def test_of_another_tenant_nobody_sees_or_decides_anything(own: Household) -> None:
    rules = own.folder / "policies" / "policy.csv"
    rules.write_text(rules.read_text().replace("p, boss, *, admin", "p, boss, acme, admin"))
    async with counselled(own) as house:
        approval = await house.asked(amount=5)
        path = f"/approvals/{approval}"
        assert (await house.get("hidden", "/approvals")).json["items"] == []
        for answer in (
            await house.get("hidden", path),
            await house.get("hidden", f"{path}/arguments"),
            await house.post("hidden", f"{path}/approve", if_match='"x"'),
            await house.post("hidden", f"{path}/deny", if_match='"x"'),
        ):
            assert answer.status == 404, answer.body
        with pytest.raises(OperationRefused, match="there is no approval"):
            await decides(house, approval, Principal("acme", "hidden", roles=frozenset({"boss"})))


async def test_a_role_in_one_tenant_is_none_in_another(counsel: Counsel) -> None:
    """The right of `hidden` is one of every tenant, the role is not."""
    approval = await counsel.asked(amount=5)
    path = f"/approvals/{approval}"
    assert (await counsel.get("hidden", path)).status == 200
    assert (await counsel.get("hidden", f"{path}/arguments")).status == 403
    assert (await counsel.decide("hidden", approval, "approve")).status == 404


async def test_what_the_database_was_made_to_say_approves_nothing(own: Household) -> None:
    """Whoever has the key to payloads puts another approver's yes in the place of one's own."""
    async with counselled(own) as house:
        approval = await house.asked(amount=5)
        await house.yes("ann", approval)
        await house.operate(OPERATOR, "agent.disable", name="ann")
        [leaf] = [e.i for e in house.entries() if isinstance(e, entries.Change) and e.what == GIVE]
        [key] = payload_keys(house.house.house_keys.folder)
    with closing(sqlite3.connect(own.database)) as connection, connection:
        query = "SELECT nonce, sealed FROM payloads WHERE leaf = ?"
        nonce, sealed = connection.execute(query, (leaf,)).fetchone()
        opened = unseal(key, leaf, nonce, sealed)
        forged = opened[:SALT_BYTES] + msgspec.json.encode(Yes(Approver("uid:0 root"), 0))
        resealed = AESGCM(key).encrypt(nonce, forged, leaf.to_bytes(8, "big"))
        connection.execute("UPDATE payloads SET sealed = ? WHERE leaf = ?", (resealed, leaf))
    async with counselled(own) as house:
        assert await house.asked(amount=5) == approval
        assert house.effects() == []


async def test_nothing_of_arguments_or_reasons_stands_in_the_log(counsel: Counsel) -> None:
    approval = await counsel.asked(note="island-one")
    await counsel.decide("ann", approval, "deny", {"reason": "island-two"})
    await counsel.call(note="island-one")
    with engine.reading(counsel.house.database) as connection:
        bodies = b"".join(body for (body,) in connection.execute("SELECT body FROM entries"))
        names = json.dumps(connection.execute("SELECT name FROM pseudonyms").fetchall())
    assert b"island" not in bodies
    assert "island" not in names
