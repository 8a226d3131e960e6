"""Log messages of servers: to whom they are told, and from which level on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.model import Call, Outcome, Relay
from tests.edge.fakes import Stand, echo
from tests.edge.older import session

pytestmark = pytest.mark.anyio

LEVEL = "io.modelcontextprotocol/logLevel"


def _message(level: str) -> bytes:
    params = {"level": level, "data": "x"}
    return json.dumps(
        {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
    ).encode()


async def _chatty(call: Call, relay: Relay) -> Outcome:
    for level in ("debug", "info", "warning", "emergency", "loud"):
        await relay.notify(_message(level))
    return await echo(call, relay)


def _levels(events: list[Any]) -> list[str]:
    return [e["params"]["level"] for e in events if e.get("method") == "notifications/message"]


@pytest.mark.parametrize(
    ("wanted", "heard_levels"),
    [
        pytest.param("debug", ["debug", "info", "warning", "emergency"], id="all"),
        pytest.param("warning", ["warning", "emergency"], id="from warnings on"),
        pytest.param("emergency", ["emergency"], id="the worst"),
    ],
)
async def test_log_messages_are_told_from_the_level_that_was_asked_for(
    wanted: str, heard_levels: list[str]
) -> None:
    stand = Stand()
    stand.pipeline.upstream = _chatty
    async with stand.open() as alice:
        newest = await alice.call("time_now", None, **{LEVEL: wanted})
        assert _levels(newest.events) == heard_levels
        older = await session(alice)
        assert not (await older.call("time_now")).is_stream
        assert (await older.ask("logging/setLevel", {"level": wanted})).result == {}
        assert _levels((await older.call("time_now")).events) == heard_levels
        other = await session(alice)  # the level is the session's own
        assert not (await other.call("time_now", None, **{LEVEL: "debug"})).is_stream
    sent = [call.meta.get(LEVEL) for call in stand.pipeline.governed]
    assert sent == [json.dumps(wanted).encode(), None, json.dumps(wanted).encode(), None]


@pytest.mark.parametrize("level", [None, "loud", 7, "INFO"])
async def test_a_level_that_does_not_exist_is_refused(level: Any) -> None:
    stand = Stand()
    async with stand.open() as alice:
        older = await session(alice)
        answer = await older.ask("logging/setLevel", {"level": level})
    assert answer.error["code"] == -32602
    assert stand.pipeline.refusals == ["bad_params"]


async def test_a_level_that_does_not_exist_in_the_newest_era_wants_nothing() -> None:
    stand = Stand()
    stand.pipeline.upstream = _chatty
    async with stand.open() as alice:
        assert not (await alice.call("time_now", None, **{LEVEL: "loud"})).is_stream
