"""How the connector of an agent is asked, as the edge and the registry do it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from gateway.domain.definition import canonical
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Definition,
    Kind,
    Outcome,
    Status,
)
from gateway.upstream.spec import HttpTransport, PeerTransport, ServerSpec
from tests.fakes import ALICE, Border, border
from tests.servers.agent import Agent

CREDENTIAL = "Bearer of-the-gateway"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spec(agent: Agent, *, rules: MessageRules = MessageRules(), **bounds: Any) -> ServerSpec:  # noqa: B008 - frozen
    card = HttpTransport(agent.card_url, auth_header_value=CREDENTIAL, allow_private=True)
    transport = PeerTransport(card, rules=rules)
    return ServerSpec("fake", transport, **{"timeout_s": 5.0, **bounds})


async def listed(house: Border) -> dict[str, Definition]:
    """The skills as approved definitions, and the agent itself under ""."""
    listing = await house.upstreams.list_definitions("fake")
    bodies = {one.name: (one.kind, one.body) for one in listing.definitions if not one.fault}
    bodies[""] = (Kind.SERVER, canonical({"instructions": listing.instructions}))
    return {
        name: Definition("fake", kind, name, name, body, "0" * 64, Approval.APPROVED)
        for name, (kind, body) in bodies.items()
    }


@asynccontextmanager
async def met(one: ServerSpec) -> AsyncIterator[tuple[Border, dict[str, Definition]]]:
    async with border(one) as house:
        yield house, await listed(house)


def asking(definition: Definition | None, method: str, /, **params: Any) -> Call:
    """An A2A request as the edge makes a call of it."""
    return Call(
        id="01HZX0000000000000000000AA",
        principal=ALICE,
        method=method,
        kind=Kind.PEER,
        server="fake",
        name="quote",
        act=Act.CALL,
        weight=CallClass.FULL,
        params={name: json.dumps(value).encode() for name, value in params.items()},
        definition=definition,
        trace=TRACE,
        run="run-of-alice",
    )


def tool_call(definition: Definition, meta: dict[str, Any] | None = None, **arguments: Any) -> Call:
    call = asking(definition, "tools/call", arguments=arguments)
    raw = {name: json.dumps(value).encode() for name, value in (meta or {}).items()}
    return replace(call, arguments=arguments, meta=raw)


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": f"m-{text}", "role": "ROLE_USER", "parts": [{"text": text}], **more}


def result(outcome: Outcome) -> Any:
    assert outcome.status in {Status.OK, Status.TOOL_ERROR}, outcome
    return json.loads(outcome.result)
