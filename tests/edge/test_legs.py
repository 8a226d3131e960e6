"""Our own legs and the SDK leg give the same answer to the same request, in both eras."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from tests.edge.fakes import Line, Response, Stand, modern
from tests.edge.older import Older, session

pytestmark = pytest.mark.anyio

_SLOW = Settings(version="9.9", fast=frozenset())
_QUICK = Settings(version="9.9")
_PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
)


async def _upstream(call: Call, relay: Relay) -> Outcome:
    """Everything an upstream may do, chosen by the arguments."""
    how = call.arguments.get("how")
    if call.arguments.get("tells") or how == "waits":
        await relay.notify(_PROGRESS)
    if how == "waits":
        await anyio.sleep_forever()
    if how == "error":
        return Outcome(Status.RPC_ERROR, error=b'{"code":-32001,"message":"x","data":1.0}')
    if how == "bad params":
        return Outcome(Status.RPC_ERROR, error=b'{"code":-32602,"message":"x"}')
    if how == "failed":
        return Outcome(Status.FAILED, code="upstream_died")
    if how == "broken":
        return Outcome(Status.OK, b"nonsense")
    if how == "tool error":
        return Outcome(Status.TOOL_ERROR, b'{"content":[],"isError":true}')
    return Outcome(Status.OK, b'{"content":[],"vendor":{"n":1.10}}')


def _refusing(call: Call) -> Refused | None:
    code = call.arguments.get("refused")
    return Refused(BY_ID[code], "", {"retry_after_ms": 5}) if isinstance(code, str) else None


def _stand(how: Settings) -> Stand:
    stand = Stand(settings=how)
    stand.pipeline.upstream = _upstream
    stand.pipeline.refusing = _refusing
    return stand


async def _answer(how: Settings, body: bytes, headers: Any) -> tuple[Response, list[str]]:
    stand = _stand(how)
    async with stand.open() as alice:
        answer = await alice.raw(body, headers)
    return answer, _seen(stand)


def _seen(stand: Stand) -> list[str]:
    pipeline = stand.pipeline
    return [
        *(
            f"governed {call.object} {dict(call.params)} {call.client}"
            for call in pipeline.governed
        ),
        *(f"interrupted {call.object}" for call in pipeline.interrupted),
        *(f"entered {call.object}" for call in pipeline.entered),
        *(f"rated {call.method}" for call in pipeline.rated),
        *(f"refused {row.id} {who} {method}" for row, who, _, method in pipeline.refused),
    ]


def _plain(answer: Response) -> Any:
    """The answer without what is new in every call."""
    events = answer.events if answer.is_stream else [answer.json]
    text = json.dumps(events)
    for event in events:
        for id_ in _call_ids(event):
            text = text.replace(id_, "ID")
    return answer.status, answer.headers["content-type"], json.loads(text)


def _spelled(answer: Response) -> Any:
    """The answer byte for byte, without what is new in every call."""
    text = answer.body.decode()
    for event in answer.events if answer.is_stream or not text else [answer.json]:
        for id_ in _call_ids(event):
            text = text.replace(id_, "ID")
    return answer.status, {**answer.headers, "content-length": ""}, text


def _call_ids(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["call_id"]] if "call_id" in value else []
        return own + [id_ for inner in value.values() for id_ in _call_ids(inner)]
    return [id_ for inner in value for id_ in _call_ids(inner)] if isinstance(value, list) else []


async def _same(body: bytes, headers: Any) -> Response:
    """The answer, which must be the same on both legs, and so must be what the pipeline saw."""
    quick, seen_quick = await _answer(_QUICK, body, headers)
    slow, seen_slow = await _answer(_SLOW, body, headers)
    assert _plain(quick) == _plain(slow)
    assert seen_quick == seen_slow
    return quick


_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a call": ("tools/call", {"name": "time_now", "arguments": {"a": [1.5, None]}}),
    "a call without arguments": ("tools/call", {"name": "time_now"}),
    "a call with arguments null": ("tools/call", {"name": "time_now", "arguments": None}),
    "a call with arguments of no shape": ("tools/call", {"name": "time_now", "arguments": [1]}),
    "a call without a name": ("tools/call", {}),
    "a call with a name of no shape": ("tools/call", {"name": 7}),
    "an unknown tool": ("tools/call", {"name": "nope"}),
    "a hidden tool": ("tools/call", {"name": "hidden_secret"}),
    "a quarantined tool": ("tools/call", {"name": "docs_poisoned"}),
    "a forged state": ("tools/call", {"name": "time_now", "requestState": "x"}),
    "a list": ("tools/list", {}),
    "a list from a cursor": ("tools/list", {"cursor": "x"}),
    "a tool that mirrors": ("tools/call", {"name": "docs_mirrored", "arguments": {}}),
    **{
        f"an upstream with {how}": ("tools/call", {"name": "time_now", "arguments": {"how": how}})
        for how in ("error", "bad params", "failed", "broken", "tool error")
    },
    **{
        f"refused as {id_}": ("tools/call", {"name": "time_now", "arguments": {"refused": id_}})
        for id_ in sorted(BY_ID)
    },
    "a call that tells": ("tools/call", {"name": "time_now", "arguments": {"tells": True}}),
    "one that tells and fails": (
        "tools/call",
        {"name": "time_now", "arguments": {"tells": True, "how": "error"}},
    ),
}


@pytest.mark.parametrize("what", list(_REQUESTS))
async def test_both_legs_answer_alike_and_ask_the_pipeline_alike(what: str) -> None:
    method, params = _REQUESTS[what]
    async with Stand().open() as alice:
        body, headers = modern(alice, method, params)
    answer = await _same(body, headers)
    assert b'"id":7' in answer.body


@pytest.mark.parametrize("id_", ['"a"', "0", "-7", '"\\u0061\\/"', '""', "12345678901234567890"])
async def test_both_legs_echo_every_id_as_it_was_spelled(id_: str) -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
    spelled = body.replace(b'"id": 7', b'"id": ' + id_.encode())
    await _same(spelled, headers)
    answer, _ = await _answer(_SLOW, spelled, headers)
    assert b'"id":' + id_.encode() + b"," in answer.body


# -- the older era --------------------------------------------------------------------------------


_Ask = Callable[[Stand, Older], Awaitable[list[Response]]]


async def _on_both_legs(ask: _Ask, **over: Any) -> list[Response]:
    """What *ask* gets in a session, which must be the same on both legs, byte for byte."""
    said = []
    for how in (_QUICK, _SLOW):
        stand = _stand(replace(how, **over))
        async with stand.open() as alice:
            answers = await ask(stand, await session(alice))
        said.append(([_spelled(answer) for answer in answers], _seen(stand)))
    assert said[0] == said[1]
    return answers


@pytest.mark.parametrize("what", list(_REQUESTS))
async def test_in_a_session_both_legs_answer_alike_and_ask_the_pipeline_alike(what: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        return [await older.ask(*_REQUESTS[what])]

    [answer] = await _on_both_legs(ask)
    assert b'"id":7' in answer.body


_HEADERS: dict[str, tuple[int, dict[str, str | None]]] = {
    "no version": (200, {"mcp_protocol_version": None}),
    "another version of the era": (200, {"mcp_protocol_version": "2025-03-26"}),
    "a version with blanks": (200, {"mcp_protocol_version": " 2025-11-25 "}),
    "an empty version": (400, {"mcp_protocol_version": ""}),
    "an unknown version": (400, {"mcp_protocol_version": "2031-01-01"}),
    "the version of the newest era": (400, {"mcp_protocol_version": "2026-07-28"}),
    "no accept": (406, {"accept": None}),
    "accept of JSON": (200, {"accept": "text/html, Application/JSON;q=0.1"}),
    "accept of all applications": (200, {"accept": "application/*"}),
    "accept of anything": (200, {"accept": "*/*"}),
    "accept of streams": (406, {"accept": "text/event-stream"}),
    "headers of the newest era": (200, {"mcp_method": "tools/list", "mcp_name": "other"}),
    "no session": (400, {"mcp_session_id": None}),
    "a session that is none": (404, {"mcp_session_id": "0" * 32}),
    "somebody else's key": (404, {"authorization": "Bearer bob-key"}),
    "another key of the same": (200, {"authorization": "Bearer alice-other-key"}),
    "no key": (401, {"authorization": None}),
    "a key that is none": (401, {"authorization": "Bearer x"}),
    "another type": (415, {"content_type": "text/plain"}),
}


@pytest.mark.parametrize("tells", [False, True], ids=["quietly", "telling"])
@pytest.mark.parametrize("what", list(_HEADERS))
async def test_in_a_session_both_legs_read_headers_alike(what: str, tells: bool) -> None:
    status, over = _HEADERS[what]

    async def ask(stand: Stand, older: Older) -> list[Response]:
        params = {"name": "time_now", "arguments": {"tells": tells}}
        answers = []
        for method, asked in (("tools/call", params), ("tools/list", {})):
            headers = older.headers(**over)
            answers.append(await older.who.raw(older.body(method, asked), headers))
        return answers

    answers = await _on_both_legs(ask)
    assert [answer.status for answer in answers] == [status] * 2


@pytest.mark.parametrize(
    ("name", "status"),
    [("mcp-session-id", 400), ("mcp-protocol-version", 200), ("accept", 200), ("x-any", 200)],
)
async def test_in_a_session_both_legs_read_a_repeated_header_alike(name: str, status: int) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        headers = [*older.headers(x_any="1")]
        headers.append(next(pair for pair in headers if pair[0] == name.encode()))
        return [await older.who.raw(older.body("tools/call", {"name": "time_now"}), headers)]

    [answer] = await _on_both_legs(ask)
    assert answer.status == status


@pytest.mark.parametrize("id_", ['"a"', "0", "-7", '"\\u0061\\/"', '""', "12345678901234567890"])
async def test_in_a_session_both_legs_echo_every_id_as_it_was_spelled(id_: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        body = older.body("tools/call", {"name": "time_now"})
        spelled = body.replace(b'"id": 7', b'"id": ' + id_.encode())
        return [await older.who.raw(spelled, older.headers())]

    [answer] = await _on_both_legs(ask)
    assert b'"id":' + id_.encode() + b"," in answer.body


_Stop = Callable[[Line], Awaitable[Any]]


async def _stopped(stand: Stand, older: Older, stop: _Stop, accept: str) -> list[Response]:
    """A call that waits without end, until *stop* ends it."""
    line = Line(older.body("tools/call", {"name": "time_now", "arguments": {"how": "waits"}}))
    async with anyio.create_task_group() as group:
        group.start_soon(older.who.on, line, older.headers(accept=accept))
        with anyio.fail_after(5):
            while not stand.pipeline.governed:
                await anyio.lowlevel.checkpoint()
            if accept == "*/*":
                await line.first_chunk.wait()  # the upstream tells, and then it waits
            last = await stop(line)
    return [line.response, *([last] if isinstance(last, Response) else [])]


_either_way = pytest.mark.parametrize("accept", ["*/*", "application/json"])


@_either_way
@pytest.mark.parametrize("request_id", [7, "7"], ids=["as it was", "as text"])
async def test_in_a_session_both_legs_let_a_cancellation_end_a_call(
    request_id: Any, accept: str
) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            for other in (8, None, True, [7], 7.0):
                await older.notify("notifications/cancelled", {"requestId": other})
            await older.notify("notifications/progress", {"requestId": request_id})
            await anyio.wait_all_tasks_blocked()
            assert stand.pipeline.interrupted == []
            return await older.notify("notifications/cancelled", {"requestId": request_id})

        return await _stopped(stand, older, stop, accept)

    answer, notified = await _on_both_legs(ask)
    assert answer.is_stream is (accept == "*/*")
    assert answer.error == {"code": -32800, "message": "Request cancelled"}
    assert notified.status == 202


@_either_way
async def test_in_a_session_both_legs_end_a_call_with_its_session(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            return await older.who.raw(b"", older.headers(), method="DELETE")

        return await _stopped(stand, older, stop, accept)

    answer, ended = await _on_both_legs(ask)
    assert (answer.error["code"], ended.status) == (-32603, 200)


@_either_way
async def test_in_a_session_both_legs_end_a_call_with_its_key(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> None:
            stand.identity.revoked.add("key-alice")

        return await _stopped(stand, older, stop, accept)

    [answer] = await _on_both_legs(ask, watch_after_s=0.0, liveness_period_s=0.01)
    assert answer.error["code"] == 40100


@_either_way
async def test_in_a_session_neither_leg_ends_a_call_whose_caller_has_left(accept: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            line.hung_up.set()
            await anyio.wait_all_tasks_blocked()
            assert stand.pipeline.interrupted == []
            return await older.notify("notifications/cancelled", {"requestId": 7})

        return await _stopped(stand, older, stop, accept)

    answer, _ = await _on_both_legs(ask, watch_after_s=0.0)
    assert answer.error["code"] == -32800


async def test_in_a_session_both_legs_refuse_an_id_that_is_still_open() -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        async def stop(line: Line) -> Response:
            again = await older.call("time_now")
            await older.notify("notifications/cancelled", {"requestId": 7})
            return again

        return [*await _stopped(stand, older, stop, "*/*"), await older.call("time_now")]

    answers = await _on_both_legs(ask)
    assert [answer.status for answer in answers] == [200, 400, 200]


async def test_in_a_session_what_is_plain_does_not_go_through_the_sdk_and_all_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def carry(*_: Any) -> Any:
        raise Refused(BY_ID["draining"])

    stand = _stand(_QUICK)
    async with stand.open() as alice:
        older = await session(alice)
        monkeypatch.setattr(stand.border._sdk, "carry", carry)
        assert (await older.call("time_now")).status == 200
        assert (await older.ask("tools/list")).status == 200
        assert (await older.ask("prompts/list")).status == 503
        for over in ({"accept": "text/html"}, {"mcp_protocol_version": ""}):
            headers = older.headers(**over)
            answer = await alice.raw(older.body("tools/call", {"name": "time_now"}), headers)
            assert answer.status == 503


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    arguments=st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    extra=st.dictionaries(st.sampled_from(["x", "task", "inputResponses"]), _JSON, max_size=2),
    meta=st.dictionaries(
        st.sampled_from(["v/a", "progressToken", "traceparent"]), _JSON, max_size=2
    ),
)
async def test_both_legs_send_on_the_same_bytes(
    arguments: dict[str, Any], extra: dict[str, Any], meta: dict[str, Any]
) -> None:
    async with Stand().open() as alice:
        params = {"name": "time_now", "arguments": arguments, **extra}
        body, headers = modern(alice, "tools/call", params, **meta)
    newer = await _same(body, headers)

    async def ask(stand: Stand, older: Older) -> list[Response]:
        return [await older.ask("tools/call", {**params, "_meta": meta})]

    [older] = await _on_both_legs(ask)
    assert newer.status == older.status == 200
