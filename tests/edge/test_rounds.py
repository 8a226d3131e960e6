"""Calls that ask for input before they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, Refused
from tests.edge.fakes import Knocker, Stand, echo

pytestmark = pytest.mark.anyio


async def _asking(call: Call, relay: Relay) -> Outcome:
    """Asks for input until it is given, with a state of its own."""
    if b"inputResponses" in b"".join(name.encode() for name in call.params):
        return await echo(call, relay)
    state = b'"theirs"' if call.arguments.get("stateful") else b""
    asked = b'{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create"}}'
    tail = b',"requestState":' + state + b"}" if state else b"}"
    return Outcome(Status.INPUT_REQUIRED, asked + tail)


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
@pytest.mark.parametrize("stateful", [True, False])
async def test_rounds_share_their_first_call_id_and_the_upstream_gets_its_own_state(
    method: str, stateful: bool
) -> None:
    stand = Stand()
    stand.pipeline.upstream = _asking
    what: dict[str, Any] = {
        "tools/call": {"name": "time_now"},
        "prompts/get": {"name": "docs_summarise"},
        "resources/read": {"uri": "file:///readme"},
    }[method]
    if method != "resources/read":
        what["arguments"] = {"stateful": stateful}
    async with stand.open() as alice:
        first = await alice.ask(method, what)
        assert first.result["resultType"] == "input_required"
        token = first.result["requestState"]
        again = {**what, "requestState": token, "inputResponses": {"q": {"action": "accept"}}}
        second = await alice.ask(method, again)
    begun, continued = stand.pipeline.governed
    assert (continued.id, begun.round, continued.round) == (begun.id, 1, 2)
    sent = json.loads(second.result["content"][0]["text"])
    has_state = stateful and method != "resources/read"
    assert sent.get("requestState") == ("theirs" if has_state else None)
    assert sent["inputResponses"] == {"q": {"action": "accept"}}


@pytest.mark.parametrize("forged", ["theirs", 7, {"a": 1}, "ch1.AAAA", ""])
async def test_a_state_that_is_not_ours_never_reaches_the_upstream(forged: Any) -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.ask("tools/call", {"name": "time_now", "requestState": forged})
    assert answer.error["code"] == -32602
    assert stand.pipeline.governed == []
    assert stand.pipeline.refusals == ["bad_state"]


async def test_a_state_begins_one_round_only() -> None:
    stand = Stand()
    stand.pipeline.upstream = _asking
    async with stand.open() as alice:
        first = await alice.call("time_now")
        again = {
            "name": "time_now",
            "arguments": {},
            "requestState": first.result["requestState"],
            "inputResponses": {},
        }
        stand.pipeline.refusing = lambda _: Refused(BY_ID["rate_limited"])
        assert (await alice.ask("tools/call", again)).result["isError"] is True
        stand.pipeline.refusing = lambda _: None
        assert "isError" not in (await alice.ask("tools/call", again)).result
        assert (await alice.ask("tools/call", again)).error["code"] == -32602


async def test_a_state_whose_call_was_made_is_spent_though_its_outcome_was_not_written() -> None:
    stand = Stand()
    stand.pipeline.upstream = _asking
    async with stand.open() as alice:
        token = (await alice.call("time_now")).result["requestState"]
        again = {"name": "time_now", "arguments": {}, "requestState": token, "inputResponses": {}}
        stand.pipeline.refusing = lambda _: Refused(BY_ID["outcome_unwritten"])
        assert (await alice.ask("tools/call", again)).status == 503
        stand.pipeline.refusing = lambda _: None
        assert (await alice.ask("tools/call", again)).error["code"] == -32602


async def test_somebody_elses_state_is_refused() -> None:
    stand = Stand()
    stand.pipeline.upstream = _asking
    async with stand.open() as alice:
        token = (await alice.call("time_now")).result["requestState"]
        bob = Knocker(stand.border, "bob-key")
        stolen = {"name": "time_now", "arguments": {}, "requestState": token}
        assert (await bob.ask("tools/call", stolen)).error["code"] == -32602
    assert stand.pipeline.refusals == ["bad_state"]


async def test_a_state_sealed_with_a_key_that_was_rotated_begins_nothing() -> None:
    stand = Stand()
    stand.pipeline.upstream = _asking
    async with stand.open() as alice:
        token = (await alice.call("time_now")).result["requestState"]
        stand.border.reseal(b"\x02" * 32)
        again = {"name": "time_now", "arguments": {}, "requestState": token, "inputResponses": {}}
        assert (await alice.ask("tools/call", again)).error["code"] == -32602
        fresh = (await alice.call("time_now")).result["requestState"]
        assert (
            "isError"
            not in (await alice.ask("tools/call", {**again, "requestState": fresh})).result
        )
    assert stand.pipeline.refusals == ["bad_state"]
