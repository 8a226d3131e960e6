"""subscriptions/listen: what is told on it, how it ends, and how many there may be."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from gateway.domain.model import Act, Kind, Status
from tests.edge.definitions import BASIC, catalogue, definition, tool
from tests.edge.fakes import Knocker, Line, Stand, modern
from tests.edge.listeners import (
    ACKNOWLEDGED,
    PAGE,
    PROMPTS,
    README,
    RESOURCES,
    TOOLS,
    UPDATED,
    Followed,
    getting,
    heard,
    listening,
    more,
    quick,
)
from tests.edge.older import session

pytestmark = pytest.mark.anyio

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


async def test_a_listen_is_acknowledged_first_and_every_frame_names_it() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        asked = {"toolsListChanged": True, "resourceSubscriptions": [README], "tasks": ["x"]}
        async with listening(alice, **asked) as ear:
            stand.catalogue = more(tool("time", "late"))
            await ear.hears(TOOLS)
            await followed.updates(README)
            await ear.hears(UPDATED)
        honoured = {"toolsListChanged": True, "resourceSubscriptions": [README]}
        assert ear.line.response.headers["content-type"] == "text/event-stream"
        assert ear.events == [
            {
                "jsonrpc": "2.0",
                "method": ACKNOWLEDGED,
                "params": {"notifications": honoured, "_meta": {SUBSCRIPTION: 7}},
            },
            {"jsonrpc": "2.0", "method": TOOLS, "params": {"_meta": {SUBSCRIPTION: 7}}},
            {
                "jsonrpc": "2.0",
                "method": UPDATED,
                "params": {"uri": README, "_meta": {SUBSCRIPTION: 7}},
            },
        ]


async def test_a_listen_is_a_call_and_so_is_each_resource_of_it() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        async with listening(alice, resourceSubscriptions=[README, PAGE, README]) as ear:
            await followed.updates(PAGE)
            await ear.hears(UPDATED)
        await ear.until(lambda: followed.count == 0)
    listen, *resources = stand.pipeline.governed
    assert (listen.kind, listen.act, listen.name) == (Kind.SERVER, Act.SUBSCRIBE, "*")
    assert {call.object for call in resources} == {
        f"resource/docs/{README}",
        f"resource/docs/{PAGE}",
    }
    assert {(call.act, call.parent, call.method) for call in resources} == {
        (Act.SUBSCRIBE, listen.id, "resources/subscribe")
    }
    assert all(not call.meta for call in resources)
    [outcome] = stand.pipeline.attended
    assert (outcome.status, outcome.count) == (Status.CANCELLED, 1)


async def test_what_was_not_asked_for_is_not_told() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        async with (
            listening(alice, promptsListChanged=True) as prompts,
            listening(alice, toolsListChanged=True, promptsListChanged=False) as tools,
            listening(alice, resourcesListChanged=True) as resources,
        ):
            stand.catalogue = more(
                tool("time", "late"), definition("docs", Kind.TEMPLATE, "file:///x/{y}")
            )
            await tools.hears(TOOLS)
            await resources.hears(RESOURCES)
            stand.catalogue = more(definition("docs", Kind.PROMPT, "late"), version=3)
            await prompts.hears(PROMPTS)
            await tools.hears(TOOLS, 2)
        assert prompts.told == [ACKNOWLEDGED, PROMPTS]
        assert tools.told == [ACKNOWLEDGED, TOOLS, TOOLS]
        assert resources.told == [ACKNOWLEDGED, RESOURCES, RESOURCES]
    assert followed.count == 0


async def test_a_change_that_the_caller_cannot_see_is_no_change() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        bob = Knocker(stand.border, "bob-key")
        async with (
            listening(alice, toolsListChanged=True) as hers,
            listening(bob, toolsListChanged=True) as his,
        ):
            stand.catalogue = more(tool("docs", "late"), tool("hidden", "more"))
            await hers.hears(TOOLS)
            stand.catalogue = more(tool("docs", "late"), tool("hidden", "most"), version=3)
            stand.policies.current = type(stand.policies.current)("policy-2")
            stand.catalogue = more(tool("docs", "late"), tool("time", "late"), version=4)
            await his.hears(TOOLS)
        assert hers.told.count(TOOLS) == 2
        assert his.told.count(TOOLS) == 1


@pytest.mark.parametrize(
    "notifications",
    [
        *(None, [], "x", {"toolsListChanged": 1}, {"resourceSubscriptions": "file:///readme"}),
        *({"resourceSubscriptions": [""]}, {"resourceSubscriptions": [7]}),
        {"resourceSubscriptions": ["x" * 9_000]},
    ],
)
async def test_a_filter_that_is_none_is_refused(notifications: Any) -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.ask("subscriptions/listen", {"notifications": notifications})
    assert (answer.status, answer.error["code"]) == (400, -32602)
    assert stand.pipeline.refusals == ["bad_params"]
    assert stand.pipeline.governed == []


async def test_resources_that_may_not_or_cannot_be_followed_are_left_out() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = Followed(declined={README})
    async with stand.open() as alice:
        wanted = [README, PAGE, "file:///nowhere", "file:///hidden"]
        async with listening(alice, resourceSubscriptions=wanted) as ear:
            params = ear.events[0]["params"]
        assert params["notifications"] == {"resourceSubscriptions": [PAGE]}


async def test_a_listen_on_which_nothing_can_ever_be_told_ends_in_good_order() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice, listening(alice) as ear:
        await ear.until(lambda: len(ear.events) == 2)
        final = ear.events[1]
        assert final["id"] == 7
        assert final["result"]["resultType"] == "complete"
        assert final["result"]["_meta"][SUBSCRIPTION] == 7
        assert "call_id" in final["result"]["_meta"]["io.customhouse/call"]
    assert [outcome.status for outcome in stand.pipeline.attended] == [Status.OK]


async def test_a_listen_that_cannot_stream_is_not_acceptable() -> None:
    async with Stand().open() as alice:
        body, headers = modern(
            alice, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}
        )
        plain = [(k, b"application/json" if k == b"accept" else v) for k, v in headers]
        assert (await alice.raw(body, plain)).status == 406


async def test_a_listen_that_is_not_plain_goes_through_the_sdk_and_is_the_same() -> None:
    stand = Stand(settings=quick(fast=frozenset()))
    async with stand.open() as alice:
        async with listening(alice, toolsListChanged=True) as ear:
            stand.catalogue = more(tool("time", "late"))
            await ear.hears(TOOLS)
        assert ear.told == [ACKNOWLEDGED, TOOLS]
        await ear.until(lambda: bool(stand.pipeline.attended))


# -- how it ends---------------------------------------------------------------------------------


async def test_a_revoked_key_ends_all_that_it_listens_to() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        async with listening(alice, resourceSubscriptions=[README]) as ear:
            stand.identity.revoked.add("key-alice")
            await followed.updates(README)
            await ear.until(lambda: len(stand.pipeline.attended) == 1)
            await ear.until(lambda: followed.count == 0)
        assert ear.events[-1]["error"]["data"]["io.customhouse/refusal"]["code"] == (
            "not_authenticated"
        )
    assert stand.pipeline.refusals == ["not_authenticated"]


async def test_a_revoked_key_ends_a_listen_that_waits_for_a_server_to_acknowledge() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed(silent={README})
    async with stand.open() as alice:
        body, headers = modern(
            alice, "subscriptions/listen", {"notifications": {"resourceSubscriptions": [README]}}
        )
        async with heard(alice, Line(body), headers) as ear:
            await ear.until(lambda: followed.count == 1)
            stand.identity.revoked.add("key-alice")
            await ear.until(lambda: bool(ear.line.response.body))
        assert ear.line.response.status == 401
        await ear.until(lambda: followed.count == 0)
    assert [outcome.status for outcome in stand.pipeline.attended] == [Status.CANCELLED]


async def test_a_right_that_is_taken_away_ends_what_it_allowed_and_nothing_is_told_meanwhile() -> (
    None
):
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice:
        async with listening(
            alice, toolsListChanged=True, resourceSubscriptions=[README, PAGE]
        ) as ear:
            stand.policies.denied.add(README)  # before anybody has looked again
            await followed.updates(README)
            await followed.updates(PAGE)
            await ear.hears(UPDATED)
            stand.policies.current = type(stand.policies.current)("policy-2")
            await ear.until(lambda: followed.count == 1)
            assert list(followed.relays[PAGE]) != []
        assert [event["params"].get("uri") for event in ear.events[1:]] == [PAGE]


async def test_a_definition_that_is_quarantined_is_not_told_of_anymore() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice, listening(alice, resourceSubscriptions=[README]) as ear:
        stand.catalogue = catalogue([d for d in BASIC if d.name != README], 2)
        await followed.updates(README)
        await ear.until(lambda: followed.count == 0)
        await ear.until(lambda: "result" in ear.events[-1])
        assert UPDATED not in ear.told


async def test_an_endpoint_that_is_nothing_to_its_caller_any_more_is_closed() -> None:
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        alice.path = "/mcp/s/time"
        async with listening(alice, toolsListChanged=True) as ear:
            stand.catalogue = catalogue([d for d in BASIC if d.server != "time"], 2)
            await ear.until(lambda: "result" in ear.events[-1])
    assert [(o.status, o.code) for o in stand.pipeline.attended] == [(Status.OK, "forbidden")]


async def test_drain_and_the_end_of_the_hour_close_streams_in_good_order() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    async with stand.open() as alice, listening(alice, resourceSubscriptions=[README]) as ear:
        stand.draining = True
        await ear.until(lambda: "result" in ear.events[-1])
        await ear.until(lambda: followed.count == 0)
    assert [(o.status, o.code) for o in stand.pipeline.attended] == [(Status.OK, "draining")]
    brief = Stand(settings=quick(stream_s=0.0))
    async with brief.open() as alice, listening(alice, toolsListChanged=True) as ear:
        await ear.until(lambda: "result" in ear.events[-1])
    assert [(o.status, o.code) for o in brief.pipeline.attended] == [(Status.OK, "")]


async def test_whoever_reads_nothing_is_let_go_all_the_same() -> None:
    """Its stream is stuck in a write, which no end of it gets past."""
    stand = Stand(settings=quick())
    async with stand.open() as alice:
        body, headers = modern(
            alice, "subscriptions/listen", {"notifications": {"toolsListChanged": True}}
        )
        line = Line(body)
        stuck, free = anyio.Event(), anyio.Event()
        send = line.send

        async def slow(message: Any) -> None:
            if b"list_changed" in message.get("body", b""):
                stuck.set()
                await free.wait()
            await send(message)

        line.send = slow  # type: ignore[method-assign]  # a reader that stops
        async with heard(alice, line, headers) as ear:
            await ear.hears(ACKNOWLEDGED)
            stand.catalogue = more(tool("time", "late"))
            with anyio.fail_after(3):
                await stuck.wait()
            stand.draining = True
            await ear.until(lambda: bool(stand.pipeline.attended))
            assert [o.code for o in stand.pipeline.attended] == ["draining"]
            free.set()


# -- how many--------------------------------------------------------------------------------------


async def test_streams_of_one_principal_are_counted_over_all_endpoints_and_eras() -> None:
    stand = Stand(settings=quick(max_streams_per_principal=2))
    async with stand.open() as alice:
        older, newer = await session(alice), Knocker(stand.border, path="/mcp/s/time")
        other = Knocker(stand.border, "alice-other-key")
        async with getting(older), listening(newer, toolsListChanged=True):
            answer = await other.ask("subscriptions/listen", {"notifications": {}})
            assert (answer.status, answer.error["code"]) == (429, 42903)
            second = await session(alice)
            got = await alice.raw(b"", second.headers(), method="GET")
            assert (got.status, got.error["code"]) == (429, 42903)
            bob = Knocker(stand.border, "bob-key")
            async with listening(bob, toolsListChanged=True):
                pass
        async with listening(newer, toolsListChanged=True):
            pass
    assert stand.pipeline.refusals == ["too_many_streams"] * 2


async def test_resources_of_one_principal_are_counted_over_all_streams() -> None:
    stand = Stand(settings=quick())
    stand.pipeline.upstream = followed = Followed()
    pages = [f"file:///pages/{n}" for n in range(70)]
    async with stand.open() as alice:
        async with listening(alice, resourceSubscriptions=pages) as ear:
            honoured = ear.events[0]["params"]["notifications"]["resourceSubscriptions"]
            assert (len(honoured), followed.count) == (64, 64)
            older = await session(alice)
            answer = await older.ask("resources/subscribe", {"uri": README})
            assert answer.error["code"] == 42903
        await ear.until(lambda: followed.count == 0)
        async with listening(alice, resourceSubscriptions=[README]) as ear:
            assert ear.events[0]["params"]["notifications"] == {"resourceSubscriptions": [README]}
    assert stand.pipeline.refusals == ["too_many_streams"] * 2
