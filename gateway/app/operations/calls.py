"""One tool call by hand, as an agent: governed like any other, and the log says who made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.asking import is_absent, like_it, unserved, with_meant
from gateway.app.operations.entering import Change, conflict, enter, nothing, unknown
from gateway.domain.model import (
    Act,
    Call,
    CallClass,
    Client,
    Kind,
    Principal,
    Reply,
    Verdict,
)
from gateway.domain.operator import OperationRefused, usage
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.ids import new_call_id
from gateway.edge.strict import scan

MAX_ARGUMENTS = 1_000_000
_CLIENT = Client(info=b'{"name":"customhouse","version":"1"}')


class _Silent:
    """Nobody waits for the progress of a call made by hand."""

    async def notify(self, frame: bytes) -> None:
        return


async def call(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Call a tool as *agent*: its roles, its rate, its budget. Who did so is an entry before it."""
    args = Args(given, "agent", "server", "name", "arguments", "reason")
    principal = _principal(house, args.text("agent"), author)
    made = _call(house, principal, args)
    change = Change(
        "tool.call_as",
        author,
        subject=f"call/{made.id}",
        note=args.text("reason", "") or f"as agent {principal.subject}",
    )
    await enter(house, change, nothing)
    try:
        reply = await house.pipeline.govern(made, _Silent())
    except Refused as refused:
        return _refused(house, made, refused)
    return _answer(reply)


def _principal(house: House, name: str, author: str) -> Principal:
    agent = house.identity.agents.get(name)
    if agent is None:
        raise unknown("agent", name, "see: customhouse agent list")
    if agent.disabled:
        raise conflict(
            f"agent {name} is disabled",
            "nothing is let in under its name",
            f"customhouse agent enable {name}",
        )
    return Principal(
        tenant=agent.tenant,
        subject=agent.name,
        team=agent.team,
        credential=f"operator {author}",
    )


def _call(house: House, principal: Principal, args: Args) -> Call:
    server, name = args.text("server"), args.text("name")
    raw = args.text("arguments", "{}", MAX_ARGUMENTS)
    return Call(
        id=new_call_id(wall_us()),
        principal=principal,
        method="tools/call",
        kind=Kind.TOOL,
        server=server,
        name=name,
        act=Act.CALL,
        weight=CallClass.FULL,
        params={"name": json.dumps(name).encode(), "arguments": raw.encode()},
        arguments=_arguments(raw),
        client=_CLIENT,
        definition=house.registry.catalogue.find(server, Kind.TOOL, name),
    )


def _arguments(raw: str) -> Mapping[str, Any]:
    try:
        # The scanner stops after the first value; the decoder of the library does not.
        json.loads(raw)
        arguments = scan(raw.encode())
    except (ValueError, RecursionError) as err:
        raise _not_arguments(str(err)) from err
    if not isinstance(arguments, dict):
        raise _not_arguments("it is not an object")
    return arguments


def _not_arguments(why: str) -> OperationRefused:
    return usage(
        f"the arguments are not strict JSON: {why:.100}", """for example '{"city":"Oslo"}'"""
    )


def _refused(house: House, made: Call, refused: Refused) -> Any:
    explanation = house.policies.current.explain(made, wall_us())
    absent = is_absent(made)
    by_policy = explanation.decision.verdict is not Verdict.ALLOW and not absent
    return {
        "call": made.id,
        "status": "refused",
        "code": refused.refusal.id,
        "sentence": refused.say(),
        "fix": refused.refusal.fix,
        "detail": dict(refused.detail),
        "stopped": with_meant(unserved(house, made), like_it(house, made) if absent else ""),
        "decision": explanation.say() if by_policy else "",
    }


def _answer(reply: Reply) -> Any:
    outcome, charged = reply.outcome, reply.settlement.charged
    failed = BY_ID.get(outcome.code)
    return {
        "call": reply.call.id,
        "status": str(outcome.status),
        "code": outcome.code,
        "sentence": failed.sentence if failed else "",
        "result": _decoded(outcome.result),
        "error": _decoded(outcome.error),
        "charged": {"tokens": charged.tokens, "calls": charged.calls, "cost": charged.cost},
        "left": dict(reply.settlement.left),
        "ms": int(outcome.upstream_s * 1000),
    }


def _decoded(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "backslashreplace")
