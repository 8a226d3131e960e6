"""Resources that callers follow: one subscription for all of them, in either era of the server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.domain.model import Act, Call, Kind, Outcome, Status
from gateway.upstream.exchange import Interrupted
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import (
    Asked,
    Border,
    Collected,
    FakeUpstream,
    border,
    eventually,
    http_spec,
    make_call,
)

pytestmark = pytest.mark.anyio

WATCHED = str(Path(__file__).parents[1] / "servers" / "watched.py")
ONE, TWO, PRIVATE = "note:///1", "note:///2", "note:///private"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


def stdio(era: str) -> ServerSpec:
    transport = StdioTransport((sys.executable, "-S", WATCHED, era))
    return ServerSpec("fake", transport, timeout_s=10.0)


def follow_call(uri: str) -> Call:
    call = make_call(name=uri, method="resources/subscribe")
    return replace(call, kind=Kind.RESOURCE, act=Act.SUBSCRIBE)


@dataclass
class Ear(Collected):
    """One caller that follows a resource."""

    outcome: Outcome | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def told(self) -> list[str]:
        return [frame["method"] for frame in self.frames]

    def was_told(self, method: str) -> bool:
        return method in self.told

    async def listen(self, house: Border, uri: str) -> None:
        with self.scope:
            try:
                self.outcome = await house.call(follow_call(uri), relay=self)
            except Interrupted as left:
                self.outcome = left.outcome
                raise


@asynccontextmanager
async def following(house: Border, uri: str) -> AsyncIterator[Ear]:
    ear = Ear()
    async with anyio.create_task_group() as group:
        group.start_soon(ear.listen, house, uri)
        await eventually(lambda: bool(ear.frames) or ear.outcome is not None)
        yield ear
        ear.scope.cancel()


async def ask(house: Border, tool: str, **arguments: Any) -> Any:
    outcome = await house.call(make_call(name=tool, arguments=arguments))
    assert outcome.status is Status.OK, outcome
    return json.loads(json.loads(outcome.result)["content"][0]["text"])


async def until_state(house: Border, **wanted: Any) -> None:
    with anyio.fail_after(5):
        while True:
            state = await ask(house, "state")
            if all(state[key] == value for key, value in wanted.items()):
                return
            await anyio.sleep(0.01)  # another process: no event tells of it


@pytest.mark.slow
@ERAS
async def test_many_followers_are_one_subscription_which_ends_with_the_last(era: str) -> None:
    async with border(stdio(era)) as house:
        async with following(house, ONE) as first:
            async with following(house, ONE) as second, following(house, TWO) as third:
                await until_state(house, subscribed=2, followed=[ONE, TWO])
                await ask(house, "touch", uri=ONE)
                await eventually(lambda: UPDATED in first.told and UPDATED in second.told)
                assert third.told == [ACKNOWLEDGED]
            await until_state(house, unsubscribed=1, followed=[ONE])
            assert house.upstreams.health()["fake"].followed == 1
        await until_state(house, unsubscribed=2, followed=[])
        assert first.frames[1] == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": ONE}}
        assert first.outcome is not None
        assert (first.outcome.status, first.outcome.count) == (Status.CANCELLED, 1)
        # Somebody who comes back at once meets the server after its goodbye, not before.
        for _ in range(5):
            async with following(house, ONE) as again:
                await ask(house, "touch", uri=ONE)
                await eventually(partial(again.was_told, UPDATED))
        await until_state(house, subscribed=7, unsubscribed=7, followed=[])
        assert house.upstreams.health()["fake"].followed == 0


@pytest.mark.slow
@ERAS
async def test_a_server_may_decline_and_may_name_a_part_of_what_is_followed(era: str) -> None:
    async with border(stdio(era)) as house:
        async with following(house, PRIVATE) as ear:
            await eventually(lambda: ear.outcome is not None)
        assert ear.outcome is not None
        assert ear.outcome.status is Status.RPC_ERROR
        assert json.loads(ear.outcome.error)["code"] == -32601
        assert ear.frames == []
        async with following(house, ONE) as ear:
            await ask(house, "touch", uri=ONE, part="/pages/7")
            await eventually(lambda: UPDATED in ear.told)
            assert ear.frames[-1]["params"] == {"uri": ONE}
            await ask(house, "touch", uri=ONE, part="0")  # note:///10 is no part of note:///1
            await ask(house, "touch", uri=TWO)
            await until_state(house, subscribed=1)  # the answer comes behind them
            assert house.upstreams.health()["fake"].updates_heard == 1


@pytest.mark.slow
@ERAS
async def test_a_server_that_starts_anew_is_followed_again_and_may_have_changed(
    era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.subscribe.PAUSE_FIRST_S", 0.01)
    async with border(stdio(era)) as house, following(house, ONE) as ear:
        await house.call(make_call(name="die"))
        await eventually(lambda: UPDATED in ear.told)
        await until_state(house, subscribed=1, followed=[ONE])
        await ask(house, "touch", uri=ONE)
        await eventually(lambda: ear.told.count(UPDATED) == 2)
        assert ear.told.count(ACKNOWLEDGED) == 1


@pytest.mark.slow
async def test_a_flood_costs_a_few_words_and_does_not_keep_calls_waiting() -> None:
    async with border(stdio("legacy")) as house, following(house, ONE) as ear:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await ask(house, "flood", uri=ONE, times=10_000)
        await eventually(lambda: house.upstreams.health()["fake"].updates_heard >= 10_000)
        took_s = loop.time() - began_s
        # It was made to wait: the dam lets through some hundreds of words in a breath, and what
        # was in the pipe then.
        assert took_s > 0.25
        assert 1 <= ear.told.count(UPDATED) <= took_s / 0.1 + 1
        with anyio.fail_after(2):
            await ask(house, "state")


async def test_a_server_that_is_taken_away_ends_what_followed_it() -> None:
    async with FakeUpstream(_listened) as server, border(http_spec(server.url)) as house:
        async with following(house, ONE) as ear:
            with anyio.fail_after(5):
                await house.upstreams.remove("fake")
            await eventually(lambda: ear.outcome is not None)
        assert ear.outcome is not None
        assert (ear.outcome.status, ear.outcome.code) == (Status.FAILED, "upstream_unreachable")


# -- over HTTP --------------------------------------------------------------------------------------


async def _listened(asked: Asked) -> None:
    """A server that honours everything, and says once that it has changed."""
    wanted = asked.params["notifications"]
    await asked.open_stream()
    await asked.event(
        {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": wanted}}
    )
    for uri in wanted["resourceSubscriptions"]:
        await asked.event({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": uri}})
    await asked.reader.read()


async def test_over_http_each_resource_is_one_listen_that_is_closed_with_its_last_follower() -> (
    None
):
    async with FakeUpstream(_listened) as server, border(http_spec(server.url)) as house:
        async with following(house, ONE) as first, following(house, ONE), following(house, TWO):
            await eventually(lambda: first.told == [ACKNOWLEDGED, UPDATED])
            asked = [a.params["notifications"] for a in server.asked]
            assert asked == [{"resourceSubscriptions": [ONE]}, {"resourceSubscriptions": [TWO]}]
            listening = server.open_connections
        await eventually(lambda: server.open_connections == listening - 2)


async def test_an_acknowledgement_of_something_else_is_a_no() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        params = {"notifications": {"resourceSubscriptions": [TWO]}}
        await asked.event({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params})
        await asked.reader.read()

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        async with following(house, ONE) as ear:
            await eventually(lambda: ear.outcome is not None)
        assert ear.outcome is not None
        assert ear.outcome.status is Status.RPC_ERROR
        assert ear.frames == []


async def test_a_flood_over_http_is_cut_and_heard_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.follow.MAX_BYTES", 100_000)
    monkeypatch.setattr("gateway.upstream.subscribe.PAUSE_FIRST_S", 0.05)
    listens: list[float] = []

    async def behave(asked: Asked) -> None:
        listens.append(asyncio.get_running_loop().time())
        wanted = asked.params["notifications"]
        await asked.open_stream()
        await asked.event(
            {"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": {"notifications": wanted}}
        )
        while True:
            await asked.event({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": ONE}})

    async with (
        FakeUpstream(behave) as server,
        border(http_spec(server.url)) as house,
        following(house, ONE) as ear,
    ):
        await eventually(lambda: len(listens) == 3)
        first, second, third = listens
        assert second - first >= 0.05
        assert third - second >= 0.1  # each pause is longer than the one before
        assert ear.told.count(UPDATED) <= 2 * len(listens) + (third - first) / 0.1
        assert house.upstreams.health()["fake"].updates_heard < 10_000


async def test_there_is_room_for_so_many_resources_of_one_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.subscribe.MAX_FOLLOWED", 1)
    async with (
        FakeUpstream(_listened) as server,
        border(http_spec(server.url)) as house,
        following(house, ONE),
    ):
        async with following(house, TWO) as ear:
            await eventually(lambda: ear.outcome is not None)
        assert ear.outcome is not None
        assert (ear.outcome.status, ear.outcome.code) == (Status.FAILED, "too_many_streams")
        async with following(house, ONE) as shared:
            assert shared.told[0] == ACKNOWLEDGED


async def test_an_hour_later_it_is_over_and_counts_as_an_end_in_good_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.subscribe.FOLLOWED_S", 0.05)
    async with FakeUpstream(_listened) as server, border(http_spec(server.url)) as house:
        async with following(house, ONE) as ear:
            await eventually(lambda: ear.outcome is not None)
        assert ear.outcome is not None
        assert ear.outcome.status is Status.OK
