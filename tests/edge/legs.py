"""The same request on our own legs and on the SDK leg, and what each answered."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from tests.edge.fakes import Response, Stand
from tests.edge.older import Older, session

SLOW = Settings(version="9.9", fast=frozenset())
QUICK = Settings(version="9.9")
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


def stand_of(how: Settings) -> Stand:
    stand = Stand(settings=how)
    stand.pipeline.upstream = _upstream
    stand.pipeline.refusing = _refusing
    return stand


async def answer_of(how: Settings, body: bytes, headers: Any) -> tuple[Response, list[str]]:
    stand = stand_of(how)
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


async def same(body: bytes, headers: Any) -> Response:
    """The answer, which must be the same on both legs, and so must be what the pipeline saw."""
    quick, seen_quick = await answer_of(QUICK, body, headers)
    slow, seen_slow = await answer_of(SLOW, body, headers)
    assert _plain(quick) == _plain(slow)
    assert seen_quick == seen_slow
    return quick


Ask = Callable[[Stand, Older], Awaitable[list[Response]]]


async def on_both_legs(ask: Ask, **over: Any) -> list[Response]:
    """What *ask* gets in a session, which must be the same on both legs, byte for byte."""
    said = []
    for how in (QUICK, SLOW):
        stand = stand_of(replace(how, **over))
        async with stand.open() as alice:
            answers = await ask(stand, await session(alice))
        said.append(([_spelled(answer) for answer in answers], _seen(stand)))
    assert said[0] == said[1]
    return answers
