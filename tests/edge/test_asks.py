"""What callers of the older era are asked on the stream of a call, and who may answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from gateway.domain.asking import Ask, as_child
from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.edge import asks
from gateway.edge.strict import parse_response
from tests.edge.fakes import Knocker, Line, Response, Stand, echo, modern
from tests.edge.older import Older, session
from tests.fakes import eventually, make_permit

pytestmark = pytest.mark.anyio

FORM = Ask("elicitation/create", {"message": b'"Who?"', "vendor": b'{"x":1.50}'})
ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}


class Curious:
    """An upstream that asks once, as the pipeline does it, and ends with what was answered."""

    def __init__(self, stand: Stand, ask: Ask = FORM, ceiling_tokens: int = 1_000) -> None:
        self._stand = stand
        self._ask = ask
        self._ceiling_tokens = ceiling_tokens
        self.outcomes: list[Outcome] = []
        stand.pipeline.upstream = self

    async def __call__(self, call: Call, relay: Relay) -> Outcome:
        caller = self._stand.pipeline.caller
        assert caller is not None
        permit = make_permit(as_child(call, self._ask, "CHILD"), self._ceiling_tokens)
        self.outcomes.append(await caller.ask(permit))
        return await echo(call, relay)


def has_events(line: Line, count: int) -> bool:
    return len(events(line)) >= count


def events(line: Line) -> list[Any]:
    """What has come on a stream that is still open."""
    return [
        json.loads(text[6:])
        for text in line.response.body.decode().split("\r\n")
        if text.startswith("data: ")
    ]


@asynccontextmanager
async def asked(who: Knocker, older: Older) -> AsyncIterator[tuple[Line, Any]]:
    """A call that is open, and the question that came on its stream."""
    line = Line(older.body("tools/call", {"name": "time_now", "arguments": {}}))
    async with anyio.create_task_group() as group:
        group.start_soon(who.on, line, older.headers())
        await eventually(lambda: bool(events(line)))
        yield line, events(line)[0]


async def say(older: Older, message: Any, **over: str | None) -> Response:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await older.who.raw(body, older.headers(**over))


def answer(question: Any, **said: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": question["id"], **said}


async def test_a_question_comes_on_the_stream_of_its_call_and_its_answer_by_post() -> None:
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (line, question):
            assert question["method"] == "elicitation/create"
            assert question["params"] == {"message": "Who?", "vendor": {"x": 1.5}}
            taken = await say(older, answer(question, result=ACCEPTED))
            assert (taken.status, taken.body) == (202, b"")
    assert line.response.is_stream
    assert line.response.result["content"]
    [outcome] = curious.outcomes
    assert outcome.status is Status.OK
    assert json.loads(outcome.result) == ACCEPTED
    assert outcome.received_bytes == len(outcome.result)


async def test_a_client_may_answer_with_an_error() -> None:
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (_, question):
            await say(older, answer(question, error={"code": -1, "message": "no"}))
    [outcome] = curious.outcomes
    assert outcome.status is Status.RPC_ERROR
    assert json.loads(outcome.error) == {"code": -1, "message": "no"}


async def test_nobody_else_can_answer_and_nobody_twice() -> None:
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        older, other = await session(alice), await session(alice)
        bob = Knocker(stand.border, "bob-key")
        async with asked(alice, older) as (_, question):
            forged = answer(question, result={"action": "accept", "content": {"name": "Eve"}})
            assert (await say(Older(bob, older.session), forged)).status == 404
            assert (await say(await session(bob), forged)).status == 400
            assert (await say(other, forged)).status == 400
            elsewhere = Older(Knocker(stand.border, "alice-key", "/mcp/s/time"), older.session)
            assert (await say(elsewhere, forged)).status == 404
            assert (await say(older, {**forged, "id": "ask-99"})).status == 400
            assert (await say(older, {**forged, "id": 1})).status == 400
            newest = {"mcp_protocol_version": "2026-07-28"}
            assert (await say(older, forged, **newest)).status == 400
            assert (await say(older, forged, mcp_session_id=None)).status == 400
            assert curious.outcomes == []
            assert (await say(older, answer(question, result=ACCEPTED))).status == 202
            assert (await say(older, forged)).status == 400
    assert json.loads(curious.outcomes[0].result) == ACCEPTED
    assert set(stand.pipeline.refusals) == {"malformed", "unknown_session"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":"ask-1","result":{},"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":"ask-1","result":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","id":"ask-1","result":[]}',
        b'{"jsonrpc":"2.0","id":"ask-1","result":"x"}',
        b'{"jsonrpc":"2.0","id":"ask-1","result":{"n":NaN}}',
        b'{"jsonrpc":"2.0","id":"ask-1","error":{"code":"x"}}',
        b'{"jsonrpc":"2.0","id":"ask-1","error":null}',
        b'{"jsonrpc":"2.0","id":"ask-1"}',
        b'{"jsonrpc":"1.0","id":"ask-1","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'{"jsonrpc":"2.0","id":"ask-1","id":"ask-2","result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'[{"jsonrpc":"2.0","id":"ask-1","result":{}}]',
        b'{"jsonrpc":"2.0","id":"ask-1","result":' + b'{"a":' * 70 + b"1" + b"}" * 71,
    ],
)
async def test_what_is_no_plain_answer_is_none(body: bytes) -> None:
    assert parse_response(body) is None
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        assert (await say(older, body)).status == 400


async def test_an_answer_larger_than_what_is_held_for_it_is_withheld() -> None:
    stand = Stand()
    curious = Curious(stand, ceiling_tokens=10)
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (_, question):
            await say(older, answer(question, result={"action": "accept", "x": "y" * 100}))
    assert (curious.outcomes[0].status, curious.outcomes[0].result) == (Status.TOO_LARGE, b"")


async def test_what_a_server_says_in_the_name_of_the_gateway_is_taken_out() -> None:
    stand = Stand()
    meta = b'{"io.customhouse/call":{"call_id":"X"},"progressToken":7,"theirs":1}'
    Curious(stand, Ask("elicitation/create", {"message": b'"?"', "_meta": meta}))
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (_, question):
            assert question["params"] == {"message": "?", "_meta": {"theirs": 1}}
            await say(older, answer(question, result=ACCEPTED))


async def test_a_person_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks, "PATIENCE_S", 0.05)
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (line, question):
            pass
        assert (await say(older, answer(question, result=ACCEPTED))).status == 400
    assert (curious.outcomes[0].status, curious.outcomes[0].code) == (Status.FAILED, "unanswered")
    assert [event.get("method") for event in line.response.events] == [
        "elicitation/create",
        "notifications/cancelled",
        None,
    ]
    assert line.response.events[1]["params"]["requestId"] == question["id"]


async def test_a_caller_that_takes_its_call_back_is_asked_no_more() -> None:
    stand = Stand()
    Curious(stand)
    async with stand.open() as alice:
        older = await session(alice)
        async with asked(alice, older) as (line, question):
            await older.notify("notifications/cancelled", {"requestId": 7})
        assert (await say(older, answer(question, result=ACCEPTED))).status == 400
    assert line.response.error["code"] == -32800


async def test_a_caller_that_reads_no_stream_cannot_be_asked() -> None:
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        older = await session(alice)
        body = older.body("tools/call", {"name": "time_now", "arguments": {}})
        plain = await alice.raw(body, older.headers(accept="application/json"))
    assert plain.result["content"]
    [outcome] = curious.outcomes
    assert (outcome.status, outcome.code, outcome.sent) == (Status.FAILED, "unanswered", False)


async def test_a_caller_of_the_newest_era_is_not_asked_on_its_stream() -> None:
    stand = Stand()
    curious = Curious(stand)
    async with stand.open() as alice:
        assert not (await alice.call("time_now")).is_stream
    assert curious.outcomes[0].code == "not_supported_across_eras"


async def test_a_response_in_the_newest_era_is_a_message_that_is_none() -> None:
    stand = Stand()
    async with stand.open() as alice:
        _, headers = modern(alice, "tools/call", {"name": "time_now"})
        body = json.dumps({"jsonrpc": "2.0", "id": "ask-1", "result": {}}).encode()
        assert (await alice.raw(body, headers)).status == 400
    assert stand.pipeline.refusals == ["malformed"]


# -- a client of the older era, at a server of the newest -------------------------------------------


class Rounds:
    """A server of the newest era: asks *questions*, one round each, and says what it was told."""

    def __init__(self, stand: Stand, *questions: dict[str, Any], state: Any = "theirs") -> None:
        self._questions = questions
        self._state = state
        stand.pipeline.upstream = self

    async def __call__(self, call: Call, relay: Relay) -> Outcome:
        if call.round > len(self._questions):
            return await echo(call, relay)
        asked = {"resultType": "input_required", "inputRequests": self._questions[call.round - 1]}
        if self._state is not None:
            asked["requestState"] = self._state
        return Outcome(Status.INPUT_REQUIRED, json.dumps(asked).encode())


def form(message: str = "Who?") -> dict[str, Any]:
    return {"method": "elicitation/create", "params": {"message": message, "mode": "form"}}


async def played(stand: Stand, *results: Any) -> tuple[Line, list[Any]]:
    """One call, each question answered with the next of *results*."""
    questions: list[Any] = []
    async with stand.open() as alice:
        older = await session(alice)
        line = Line(older.body("tools/call", {"name": "time_now", "arguments": {"z": 1}}))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            for count, said in enumerate(results, 1):
                await eventually(partial(has_events, line, count))
                questions.append(events(line)[count - 1])
                member = "error" if "code" in said else "result"
                assert (await say(older, answer(questions[-1], **{member: said}))).status == 202
    return line, questions


def refusal(line: Line) -> str:
    result = line.response.result
    assert result["isError"] is True
    return str(result["_meta"]["io.customhouse/refusal"]["code"])


async def test_the_gateway_makes_the_rounds_that_its_client_cannot() -> None:
    stand = Stand()
    two = {"name": form("Who?"), "colour": form("Which?")}
    Rounds(stand, {"first": form("Really?")}, two)
    line, questions = await played(stand, ACCEPTED, {"action": "decline"}, {"action": "cancel"})
    assert [one["params"]["message"] for one in questions] == ["Really?", "Who?", "Which?"]
    begun, second, third = stand.pipeline.governed
    assert {call.id for call in (begun, second, third)} == {begun.id}
    assert [call.round for call in (begun, second, third)] == [1, 2, 3]
    assert json.loads(second.params["inputResponses"]) == {"first": ACCEPTED}
    assert json.loads(third.params["inputResponses"]) == {
        "name": {"action": "decline"},
        "colour": {"action": "cancel"},
    }
    assert third.params["requestState"] == b'"theirs"'
    assert third.params["arguments"] == begun.params["arguments"]
    assert "resultType" not in line.response.result


async def test_each_question_that_crosses_the_eras_is_a_call_under_the_one_it_is_asked_in() -> None:
    stand = Stand()
    Rounds(stand, {"first": form("Really?")}, {"name": form("Who?"), "colour": form("Which?")})
    await played(stand, ACCEPTED, ACCEPTED, ACCEPTED)
    begun = stand.pipeline.governed[0]
    assert [one.parent for one in stand.pipeline.questions] == [begun.id] * 3
    assert [one.method for one in stand.pipeline.questions] == ["elicitation/create"] * 3
    messages = [one.params["message"] for one in stand.pipeline.questions]
    assert messages == [b'"Really?"', b'"Who?"', b'"Which?"']


@pytest.mark.parametrize(
    ("rounds", "put"),
    [([9], 0), ([400], 0), ([5, 3, 1], 8), ([8], 8), ([8, 1], 8)],
    ids=["nine at once", "hundreds", "nine in rounds", "eight", "eight, and one more"],
)
async def test_a_person_is_asked_eight_times_in_one_call_over_all_its_rounds(
    rounds: list[int], put: int
) -> None:
    stand = Stand()
    Rounds(stand, *({f"q{n}": form() for n in range(count)} for count in rounds))
    line, questions = await played(stand, *[ACCEPTED] * put)
    assert len(questions) == len(stand.pipeline.questions) == put == len(events(line)[:-1])
    if sum(rounds) > 8:
        assert refusal(line) == "too_many_rounds"
        assert stand.pipeline.refusals == ["too_many_rounds"]
    else:
        assert line.response.result["content"]


async def test_a_server_that_wants_only_time_is_asked_again() -> None:
    stand = Stand()
    Rounds(stand, {})
    line, _ = await played(stand)
    assert line.response.result["content"]
    assert "inputResponses" not in stand.pipeline.governed[1].params


async def test_a_page_gets_the_id_that_the_older_era_wants() -> None:
    stand = Stand()
    page = {"mode": "url", "message": "Sign", "url": "https://example.com/"}
    Rounds(stand, {"q": {"method": "elicitation/create", "params": page}})
    _, [question] = await played(stand, {"action": "accept"})
    assert len(question["params"].pop("elicitationId")) == 32
    assert question["params"] == page


@pytest.mark.parametrize(
    ("questions", "results", "code"),
    [
        ([{"q": form()}], [{"code": -1, "message": "no"}], "unanswered"),
        ([{"q": form()}] * 9, [ACCEPTED] * 7, "too_many_rounds"),
        ([{"q": {"method": 7}}], [], "upstream_broken"),
    ],
    ids=["an error", "too many rounds", "no question at all"],
)
async def test_a_call_that_cannot_go_on_is_a_clear_refusal_and_an_entry(
    questions: list[dict[str, Any]], results: list[Any], code: str
) -> None:
    stand = Stand()
    Rounds(stand, *questions)
    line, _ = await played(stand, *results)
    assert refusal(line) == code
    assert stand.pipeline.refusals == [code]


async def test_without_a_stream_a_call_that_asks_ends() -> None:
    stand = Stand()
    Rounds(stand, {"q": form()})
    async with stand.open() as alice:
        older = await session(alice)
        body = older.body("tools/call", {"name": "time_now", "arguments": {}})
        plain = await alice.raw(body, older.headers(accept="application/json"))
    code = plain.result["_meta"]["io.customhouse/refusal"]["code"]
    assert code == "unanswered"
    assert stand.pipeline.refusals == ["unanswered"]
