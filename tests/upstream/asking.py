"""A server of the older era that asks, calls of its tools, and those who answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from gateway.domain.asking import KINDS, Ask
from gateway.domain.model import Call, Client, Outcome, Principal, Relay, Status
from gateway.domain.refusal import Refused
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import Border, Collected, make_call, make_permit

NOSY = str(Path(__file__).parents[1] / "servers" / "nosy.py")
EVERYTHING = b'{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}'
FORM, SAMPLE = "elicitation/create", "sampling/createMessage"
BOB = Principal("default", "bob")


def nosy(era: str = "older", **bounds: Any) -> ServerSpec:
    transport = StdioTransport((sys.executable, "-S", NOSY, era))
    given = {"timeout_s": 10.0, "per_caller": True, "requests": KINDS, **bounds}
    return ServerSpec("fake", transport, **given)


def tool(
    name: str,
    *,
    modern: bool = False,
    capabilities: bytes = EVERYTHING,
    principal: Principal | None = None,
    **arguments: Any,
) -> Call:
    call = make_call(name=name, arguments=arguments)
    version = "2026-07-28" if modern else "2025-11-25"
    return replace(
        call,
        client=Client(version, capabilities),
        principal=principal or call.principal,
    )


@dataclass
class Answering:
    """An Asker that says what it is told to say."""

    result: bytes = b'{"action":"accept"}'
    asked: list[Ask] = field(default_factory=list)
    open: anyio.Event | None = None
    refuse: Callable[[Ask], Refused | None] = lambda _: None
    interrupted: int = 0

    async def ask(self, ask: Ask) -> Outcome:
        self.asked.append(ask)
        refused = self.refuse(ask)
        if refused is not None:
            raise refused
        try:
            if self.open is not None:
                await self.open.wait()
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        return Outcome(Status.OK, self.result)


async def call(
    house: Border, asked: Call, asker: Answering | None = None, relay: Relay | None = None
) -> Outcome:
    with anyio.fail_after(10):
        permit = make_permit(asked)
        return await house.upstreams.invoke(permit, relay or Collected(), asker or Answering())


def said(outcome: Outcome) -> Any:
    assert outcome.status is Status.OK, outcome
    return json.loads(json.loads(outcome.result)["content"][0]["text"])


def next_round(begun: Call, outcome: Outcome, answers: Any, **over: Any) -> Call:
    state = json.loads(outcome.result)["requestState"]
    params = {
        **begun.params,
        "requestState": json.dumps(state).encode(),
        "inputResponses": json.dumps(answers).encode(),
    }
    return replace(begun, params=params, round=begun.round + 1, **over)


async def asked_in_rounds(house: Border, **over: Any) -> tuple[Call, Outcome]:
    begun = tool("ask", modern=True, method=FORM, params={"message": "Who?"}, **over)
    outcome = await call(house, begun)
    assert outcome.status is Status.INPUT_REQUIRED, outcome
    return begun, outcome


def parked(house: Border) -> int:
    return int(house.upstreams.health()["fake"].connector["parked"])


async def cancelled_at(house: Border) -> None:
    with anyio.fail_after(5):
        while "notifications/cancelled" not in said(await call(house, tool("seen", modern=True))):
            pass
