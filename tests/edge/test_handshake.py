"""The older era: sessions, and everything that must not cross from one into another."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from tests.edge.fakes import Knocker, Line, Stand, echo
from tests.edge.older import Older, initialize, session

pytestmark = pytest.mark.anyio

PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1.50}}'
VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


class _Gate:
    """An upstream that answers when it is let."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.open = anyio.Event()

    async def __call__(self, call: Call, relay: Relay) -> Outcome:
        self.reached.set()
        await self.open.wait()
        return await echo(call, relay)


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_handshake_revision_is_spoken(version: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        opened = await initialize(alice, version)
        assert opened.result["protocolVersion"] == version
        assert opened.result["serverInfo"] == {"name": "customhouse", "version": "9.9"}
        older = await session(alice, version)
        answer = await older.call("time_now", {"zone": "UTC"})
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.result["content"][0]["text"])["name"] == "now"
    assert "resultType" not in answer.result
    client = stand.pipeline.governed[0].client
    assert (client.version, client.capabilities) == (version, b'{"elicitation": {}}')
    assert client.info == b'{"name": "by hand", "version": "1"}'


async def test_an_unknown_revision_is_answered_with_the_newest_of_the_era() -> None:
    async with Stand().open() as alice:
        assert (await initialize(alice, "2031-01-01")).result["protocolVersion"] == "2025-11-25"


async def test_initialize_is_one_entry_and_says_what_is_offered() -> None:
    stand = Stand()
    async with stand.open() as alice:
        alice.path = "/mcp/s/time"
        opened = await initialize(alice)
    assert opened.result["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }
    assert opened.result["instructions"] == "Ask for the time politely."
    [call] = stand.pipeline.entered
    assert opened.result["_meta"]["io.customhouse/call"]["call_id"] == call.id


@pytest.mark.parametrize("how", ["refused", "malformed"])
async def test_an_initialize_that_is_refused_opens_nothing(how: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        if how == "refused":
            stand.pipeline.refusing = lambda _: Refused(BY_ID["rate_limited"])
            answer = await initialize(alice)
            assert answer.error["code"] == 42900
        else:
            answer = await initialize(alice, clientInfo=7)
            assert answer.error["code"] == -32602
            assert stand.pipeline.refusals == ["bad_params"]
        assert "mcp-session-id" not in answer.headers
        transports = stand.border._sdk._transport._server_instances
        assert transports == {}


async def test_lists_prompts_resources_and_completion_work_as_in_the_newest_era() -> None:
    async with Stand().open() as alice:
        older = await session(alice)
        listed = (await older.ask("tools/list")).result
        assert [tool["name"] for tool in listed["tools"]] == [
            "docs_mirrored",
            "docs_search",
            "time_now",
            "time_zones",
        ]
        assert listed.keys() == {"tools", "_meta"}
        assert (await older.ask("prompts/get", {"name": "docs_summarise"})).result["content"]
        assert (await older.ask("resources/read", {"uri": "file:///readme"})).result["content"]
        ref = {"type": "ref/prompt", "name": "docs_summarise"}
        assert (await older.ask("completion/complete", {"ref": ref})).result["content"]


async def test_ping_is_rated_and_answered() -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        assert (await older.ask("ping")).result == {}
    assert [call.method for call in stand.pipeline.rated] == ["notifications/initialized", "ping"]


@pytest.mark.parametrize("method", ["nope", "server/discover", "subscriptions/listen", "tasks/get"])
async def test_what_is_not_offered_is_an_error_and_an_entry(method: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.ask(method, {"uri": "file:///readme", "level": "info"})
    assert (answer.status, answer.error["code"]) == (200, -32601)
    assert stand.pipeline.refusals == ["unknown_method"]


async def test_raw_values_survive_in_the_older_era_too() -> None:
    raw = rb'{"content":[{"type":"text","text":"\u00fc\/\ud83d\ude00","n":1.10}],"vendor":{"x":12345678901234567890.5}}'

    async def upstream(call: Call, relay: Relay) -> Outcome:
        return Outcome(Status.OK, raw)

    stand = Stand()
    stand.pipeline.upstream = upstream
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.call("time_now")
    assert raw[1:-1].split(b',"vendor"')[0] in answer.body
    assert b'"vendor":{"x":12345678901234567890.5}' in answer.body


async def test_progress_is_streamed_on_the_request_it_belongs_to() -> None:
    async def upstream(call: Call, relay: Relay) -> Outcome:
        await relay.notify(PROGRESS)
        return await echo(call, relay)

    stand = Stand()
    stand.pipeline.upstream = upstream
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.call("time_now", None, progressToken="p")
    assert answer.is_stream
    assert PROGRESS in answer.body
    assert answer.result["content"]


async def test_a_question_across_the_eras_is_a_typed_refusal() -> None:
    async def upstream(call: Call, relay: Relay) -> Outcome:
        return Outcome(Status.INPUT_REQUIRED, b'{"resultType":"input_required","inputRequests":{}}')

    stand = Stand()
    stand.pipeline.upstream = upstream
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.call("time_now")
        error = (await older.ask("prompts/get", {"name": "docs_summarise"})).error
    refusal = answer.result["_meta"]["io.customhouse/refusal"]
    assert answer.result["isError"] is True
    assert refusal["code"] == "not_supported_across_eras"
    assert error["code"] == 50100


async def test_a_state_of_the_newest_era_is_no_way_to_an_upstream() -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.ask("tools/call", {"name": "time_now", "requestState": "theirs"})
    assert answer.error["code"] == -32602
    assert stand.pipeline.governed == []


# -- sessions -------------------------------------------------------------------------------------


async def test_a_session_is_nobody_elses() -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        bob = Knocker(stand.border, "bob-key")
        for thief in (
            Older(bob, older.session),
            Older(Knocker(stand.border, "alice-key", "/mcp/s/time"), older.session),
            Older(alice, "0" * 32),
        ):
            assert (await thief.call("time_now")).status == 404
            assert (await thief.notify("notifications/cancelled", {"requestId": 7})).status == 404
            ended = await thief.who.raw(b"", thief.headers(), method="DELETE")
            assert ended.status == 404
        assert (await older.call("time_now")).status == 200
    assert set(stand.pipeline.refusals) == {"unknown_session"}


async def test_a_session_outlives_the_key_it_was_opened_with_but_not_without_one() -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        stand.identity.revoked.add("key-alice")
        assert (await older.call("time_now")).status == 401
        alice.key = "alice-other-key"
        assert (await older.call("time_now")).status == 200


async def test_a_session_that_was_ended_is_gone() -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        assert (await alice.raw(b"", older.headers(), method="DELETE")).status == 200
        assert (await older.call("time_now")).status == 404
        assert stand.border._sdk._transport._server_instances == {}


async def test_without_a_session_only_initialize_is_heard() -> None:
    stand = Stand()
    async with stand.open() as alice:
        for session_id in (None, ""):
            older = Older(alice, "")
            headers = older.headers(mcp_session_id=session_id)
            answer = await alice.raw(older.body("tools/call", {"name": "time_now"}), headers)
            assert answer.status == 400
    assert stand.pipeline.refusals == ["malformed"] * 2
    assert stand.pipeline.governed == []


async def test_initialize_with_the_id_of_a_session_opens_another() -> None:
    async with Stand().open() as alice:
        older = await session(alice)
        said = older.body(
            "initialize",
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        )
        opened = await alice.raw(said, older.headers())
        assert opened.headers["mcp-session-id"] != older.session


async def test_one_principal_cannot_take_all_the_sessions() -> None:
    stand = Stand(settings=Settings(max_sessions_per_principal=2))
    async with stand.open() as alice:
        older = await session(alice)
        await session(alice)
        assert (await initialize(alice)).status == 429
        await session(Knocker(stand.border, "bob-key"))
        await alice.raw(b"", older.headers(), method="DELETE")
        assert (await initialize(alice)).status == 200


async def test_the_same_id_in_two_sessions_is_two_requests() -> None:
    stand = Stand()
    async with stand.open() as alice:
        mine, other = await session(alice), await session(alice)
        gate = _Gate()
        stand.pipeline.upstream = gate
        lines: list[Line] = []
        async with anyio.create_task_group() as group:
            for older, zone in ((mine, "a"), (other, "b")):
                params = {"name": "time_now", "arguments": {"zone": zone}}
                lines.append(Line(older.body("tools/call", params)))
                group.start_soon(alice.on, lines[-1], older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            gate.open.set()
    zones = [json.loads(line.response.result["content"][0]["text"]) for line in lines]
    assert [said["arguments"]["zone"] for said in zones] == ["a", "b"]


@pytest.mark.parametrize("second", [7, "7"], ids=["the same", "as text"])
async def test_an_id_that_is_still_open_cannot_be_used_again(second: Any) -> None:
    stand, gate = Stand(), _Gate()
    stand.pipeline.upstream = gate
    async with stand.open() as alice:
        older = await session(alice)
        params = {"name": "time_now", "arguments": {}}
        line = Line(older.body("tools/call", params))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            assert (await older.ask("tools/call", params, second)).status == 400
            gate.open.set()
        assert line.response.result["content"]
        assert (await older.ask("tools/call", params, second)).status == 200


# -- leaving --------------------------------------------------------------------------------------


async def test_a_cancellation_stops_the_request_of_its_own_session_only() -> None:
    stand, gate = Stand(), _Gate()
    stand.pipeline.upstream = gate
    async with stand.open() as alice:
        older, other = await session(alice), await session(alice)
        line = Line(older.body("tools/call", {"name": "time_now", "arguments": {}}))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            await other.notify("notifications/cancelled", {"requestId": 7})
            await older.notify("notifications/cancelled", {"requestId": 8})
            assert stand.pipeline.interrupted == []
            await older.notify("notifications/cancelled", {"requestId": 7})
    assert len(stand.pipeline.interrupted) == 1
    assert line.response.error["code"] == -32800
    assert stand.pipeline.refusals == []


async def test_a_lost_connection_does_not_cancel_in_this_era() -> None:
    impatient = Settings(watch_after_s=0.0)
    stand, gate = Stand(settings=impatient), _Gate()
    stand.pipeline.upstream = gate
    async with stand.open() as alice:
        older = await session(alice)
        line = Line(older.body("tools/call", {"name": "time_now", "arguments": {}}))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            line.hung_up.set()
            await anyio.wait_all_tasks_blocked()
            gate.open.set()
    assert stand.pipeline.interrupted == []
    assert len(stand.pipeline.governed) == 1


async def test_a_key_that_is_revoked_ends_an_open_request_and_not_the_session() -> None:
    impatient = Settings(watch_after_s=0.0, liveness_period_s=0.01)
    stand, gate = Stand(settings=impatient), _Gate()
    stand.pipeline.upstream = gate
    async with stand.open() as alice:
        older = await session(alice)
        line = Line(older.body("tools/call", {"name": "time_now", "arguments": {}}))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            stand.identity.revoked.add("key-alice")
        assert line.response.status == 401
        assert len(stand.pipeline.interrupted) == 1
        alice.key = "alice-other-key"
        gate.open.set()
        assert (await older.call("time_now")).status == 200


async def test_a_rated_notification_that_comes_too_often_is_dropped() -> None:
    stand, gate = Stand(), _Gate()
    stand.pipeline.upstream = gate
    async with stand.open() as alice:
        older = await session(alice)
        line = Line(older.body("tools/call", {"name": "time_now", "arguments": {}}))
        async with anyio.create_task_group() as group:
            group.start_soon(alice.on, line, older.headers())
            with anyio.fail_after(5):
                await gate.reached.wait()
            stand.pipeline.refusing = lambda _: Refused(BY_ID["rate_limited"])
            dropped = await older.notify("notifications/cancelled", {"requestId": 7})
            assert dropped.status == 429
            gate.open.set()
    assert line.response.result["content"]


async def test_a_fault_says_nothing_of_what_broke() -> None:
    async def broken(call: Call, relay: Relay) -> Outcome:
        raise ValueError("the password is hunter2")

    stand = Stand()
    stand.pipeline.upstream = broken
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.call("time_now")
        assert answer.error["code"] == -32603
        assert b"hunter2" not in answer.body
        assert (await older.ask("ping")).result == {}
