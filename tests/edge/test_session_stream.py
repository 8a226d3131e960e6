"""What a session of the older era GETs, and the resources it follows."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.model import Act, Kind, Status
from gateway.domain.refusal import BY_ID, Refused
from tests.edge.definitions import definition, tool
from tests.edge.fakes import Knocker, Line, Stand
from tests.edge.listeners import (
    PAGE,
    PROMPTS,
    README,
    TOOLS,
    UPDATED,
    Ear,
    Followed,
    getting,
    heard,
    more,
    quick,
)
from tests.edge.older import Older, session

pytestmark = pytest.mark.anyio


async def test_a_session_is_told_of_its_lists_and_of_what_it_follows_without_a_stamp() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        older = await session(alice)
        async with getting(older) as ear:
            assert ear.line.response.headers["content-type"] == "text/event-stream"
            assert (await older.ask("resources/subscribe", {"uri": README})).result == {}
            await followed.updates(README)
            await ear.hears(UPDATED)
            stand.catalogue = more(definition("docs", Kind.PROMPT, "late"))
            await ear.hears(PROMPTS)
        assert ear.events == [
            {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": README}},
            {"jsonrpc": "2.0", "method": PROMPTS},
        ]
        await ear.until(lambda: bool(stand.pipeline.attended))
    [outcome] = stand.pipeline.attended
    assert (outcome.status, outcome.count) == (Status.CANCELLED, 2)
    get, follow = stand.pipeline.governed
    assert (get.method, get.kind, get.act) == ("GET", Kind.SERVER, Act.SUBSCRIBE)
    assert (follow.object, follow.act) == (f"resource/docs/{README}", Act.SUBSCRIBE)


async def test_what_came_while_a_session_had_no_stream_is_told_once_on_the_next() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        older = await session(alice)
        assert (await older.ask("resources/subscribe", {"uri": README})).result == {}
        for _ in range(1_000):
            await followed.updates(README)
        async with getting(older) as ear:
            await ear.hears(UPDATED)
        assert ear.told == [UPDATED]
        assert followed.count == 1  # the session goes on without a stream
        async with getting(older) as again:
            await followed.updates(README)
            await again.hears(UPDATED)


async def test_what_was_unsubscribed_is_not_told_later_and_waits_nowhere() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        older = await session(alice)
        for uri in (README, PAGE):
            assert (await older.ask("resources/subscribe", {"uri": uri})).result == {}
            await followed.updates(uri)
        assert (await older.ask("resources/unsubscribe", {"uri": README})).result == {}
        [kept] = stand.border._handshake._sessions._open.values()
        assert [word.uri for word in kept.hearing.box._waiting] == [PAGE]
        async with getting(older) as ear:
            await ear.hears(UPDATED)
        assert [event["params"]["uri"] for event in ear.events] == [PAGE]


async def test_subscribing_twice_is_one_subscription_and_unsubscribing_ends_it() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        older = await session(alice)
        for _ in range(3):
            assert (await older.ask("resources/subscribe", {"uri": README})).result == {}
        assert followed.count == 1
        assert [call.method for call in stand.pipeline.governed] == ["resources/subscribe"]
        for _ in range(2):
            assert (await older.ask("resources/unsubscribe", {"uri": README})).result == {}
        await Ear(Line(b"")).until(lambda: followed.count == 0)
        assert [call.method for call in stand.pipeline.rated[1:]] == [
            *("resources/subscribe", "resources/subscribe"),
            *("resources/unsubscribe", "resources/unsubscribe"),
        ]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        pytest.param(README, -32601, id="the server declines"),
        pytest.param("file:///nowhere", -32602, id="there is no such resource"),
        pytest.param(7, -32602, id="it is no URI"),
    ],
)
async def test_a_subscription_that_does_not_come_about_is_an_error(uri: Any, code: int) -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = Followed(declined={README})
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.ask("resources/subscribe", {"uri": uri})
        assert answer.error["code"] == code


async def test_a_server_that_says_nothing_to_a_subscription_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.edge.follows.KNOWN_S", 0.01)
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed(silent={README})
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.ask("resources/subscribe", {"uri": README})
        assert answer.error["code"] == 50400
        await Ear(Line(b"")).until(lambda: followed.count == 0)


async def test_after_an_hour_a_session_goes_on_as_another_call_that_is_judged_again() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed(hours=2)
    async with stand.open() as alice:
        older = await session(alice)
        async with getting(older) as ear:
            assert (await older.ask("resources/subscribe", {"uri": README})).result == {}
            await ear.hears(UPDATED)  # who knows what happened in between
            assert followed.count == 1
            calls = stand.pipeline.governed[1:]
            assert len({call.id for call in calls}) == 3
            assert {call.object for call in calls} == {f"resource/docs/{README}"}


async def test_an_ended_session_takes_its_stream_and_its_subscriptions_along() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        older = await session(alice)
        async with getting(older) as ear:
            assert (await older.ask("resources/subscribe", {"uri": README})).result == {}
            assert (await alice.raw(b"", older.headers(), method="DELETE")).status == 200
            await ear.until(lambda: bool(stand.pipeline.attended) and followed.count == 0)
        assert ear.events == []


async def test_a_session_has_one_stream_and_it_is_its_owners() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        older = await session(alice)
        bob = Knocker(stand.border, "bob-key")
        async with getting(older):
            again = await alice.raw(b"", older.headers(), method="GET")
            assert (again.status, again.error["code"]) == (429, 42903)
            stranger = Older(bob, older.session)
            assert (await bob.raw(b"", stranger.headers(), method="GET")).status == 404
        without = await alice.raw(b"", alice.headers(), method="GET")
        assert without.status == 400
        plain = older.headers(accept="application/json")
        assert (await alice.raw(b"", plain, method="GET")).status == 406
    assert stand.pipeline.refusals == ["too_many_streams", "unknown_session", "malformed"]


async def test_a_stream_that_is_refused_says_so_in_http() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        older = await session(alice)
        stand.pipeline.refusing = lambda _: Refused(BY_ID["rate_limited"])
        answer = await alice.raw(b"", older.headers(), method="GET")
    assert (answer.status, answer.error["code"]) == (429, 42900)
    assert stand.pipeline.refusals == []  # it was logged where it was made


async def test_an_event_id_to_resume_from_is_not_heeded() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        older = await session(alice)
        headers = [*older.headers(), (b"last-event-id", b"7")]
        async with heard(alice, Line(b""), headers, method="GET") as ear:
            await ear.until(lambda: bool(ear.line.response.status))
            stand.catalogue = more(tool("time", "late"))
            await ear.hears(TOOLS)
        assert b"\nid:" not in ear.line.response.body
