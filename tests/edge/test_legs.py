"""Our own legs and the SDK leg give the same answer to the same request, in both eras."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.refusal import BY_ID, Refused
from tests.edge.fakes import Response, Stand, modern
from tests.edge.legs import QUICK, SLOW, answer_of, on_both_legs, same, stand_of
from tests.edge.older import Older, session

pytestmark = pytest.mark.anyio

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
    answer = await same(body, headers)
    assert b'"id":7' in answer.body


@pytest.mark.parametrize("id_", ['"a"', "0", "-7", '"\\u0061\\/"', '""', "12345678901234567890"])
async def test_both_legs_echo_every_id_as_it_was_spelled(id_: str) -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
    spelled = body.replace(b'"id": 7', b'"id": ' + id_.encode())
    await same(spelled, headers)
    answer, _ = await answer_of(SLOW, spelled, headers)
    assert b'"id":' + id_.encode() + b"," in answer.body


# -- the older era --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", list(_REQUESTS))
async def test_in_a_session_both_legs_answer_alike_and_ask_the_pipeline_alike(what: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        return [await older.ask(*_REQUESTS[what])]

    [answer] = await on_both_legs(ask)
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

    answers = await on_both_legs(ask)
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

    [answer] = await on_both_legs(ask)
    assert answer.status == status


@pytest.mark.parametrize("id_", ['"a"', "0", "-7", '"\\u0061\\/"', '""', "12345678901234567890"])
async def test_in_a_session_both_legs_echo_every_id_as_it_was_spelled(id_: str) -> None:
    async def ask(stand: Stand, older: Older) -> list[Response]:
        body = older.body("tools/call", {"name": "time_now"})
        spelled = body.replace(b'"id": 7', b'"id": ' + id_.encode())
        return [await older.who.raw(spelled, older.headers())]

    [answer] = await on_both_legs(ask)
    assert b'"id":' + id_.encode() + b"," in answer.body


async def test_in_a_session_what_is_plain_does_not_go_through_the_sdk_and_all_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def carry(*_: Any) -> Any:
        raise Refused(BY_ID["draining"])

    stand = stand_of(QUICK)
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
    newer = await same(body, headers)

    async def ask(stand: Stand, older: Older) -> list[Response]:
        return [await older.ask("tools/call", {**params, "_meta": meta})]

    [older] = await on_both_legs(ask)
    assert newer.status == older.status == 200
