"""The fast path and the SDK leg give the same answer to the same request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from tests.edge.fakes import Response, Stand, modern

pytestmark = pytest.mark.anyio

_SLOW = Settings(version="9.9", fast=frozenset())
_QUICK = Settings(version="9.9")
_PROGRESS = (
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'
)


async def _upstream(call: Call, relay: Relay) -> Outcome:
    """Everything an upstream may do, chosen by the arguments."""
    how = call.arguments.get("how")
    if call.arguments.get("tells"):
        await relay.notify(_PROGRESS)
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


async def _answer(how: Settings, body: bytes, headers: Any) -> tuple[Response, list[str]]:
    stand = Stand(settings=how)
    stand.pipeline.upstream = _upstream
    stand.pipeline.refusing = _refusing
    async with stand.open() as alice:
        answer = await alice.raw(body, headers)
    pipeline = stand.pipeline
    seen = [
        *(f"governed {call.object} {dict(call.params)}" for call in pipeline.governed),
        *(f"entered {call.object}" for call in pipeline.entered),
        *(f"refused {row.id} {method}" for row, _, _, method in pipeline.refused),
    ]
    return answer, seen


def _plain(answer: Response) -> Any:
    """The answer without what is new in every call."""
    events = answer.events if answer.is_stream else [answer.json]
    text = json.dumps(events)
    for event in events:
        for id_ in _call_ids(event):
            text = text.replace(id_, "ID")
    return answer.status, answer.headers["content-type"], json.loads(text)


def _call_ids(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["call_id"]] if "call_id" in value else []
        return own + [id_ for inner in value.values() for id_ in _call_ids(inner)]
    return [id_ for inner in value for id_ in _call_ids(inner)] if isinstance(value, list) else []


async def _same(body: bytes, headers: Any) -> None:
    quick, seen_quick = await _answer(_QUICK, body, headers)
    slow, seen_slow = await _answer(_SLOW, body, headers)
    assert _plain(quick) == _plain(slow)
    assert seen_quick == seen_slow


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
    await _same(body, headers)


@pytest.mark.parametrize("id_", ['"a"', "0", "-7", '"\\u0061\\/"', '""', "12345678901234567890"])
async def test_both_legs_echo_every_id_as_it_was_spelled(id_: str) -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
    spelled = body.replace(b'"id": 7', b'"id": ' + id_.encode())
    await _same(spelled, headers)
    answer, _ = await _answer(_SLOW, spelled, headers)
    assert b'"id":' + id_.encode() + b"," in answer.body


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
    await _same(body, headers)
