"""A call as anybody might have made it: what a server is told when its answer may be kept.

What comes of it may answer others. So the server is told nothing that a caller chose and the key of
the result does not hold: a tool may echo what one says in passing, and all the rest would read it.
"""

from __future__ import annotations

import json
from dataclasses import replace

from gateway.domain.model import Call, Kind
from gateway.upstream.own import OWN_CLIENT

PROGRESS = "progressToken"


def as_anybody(call: Call) -> Call:
    """*call* with what is in the key of its result, and of the rest what the gateway says itself."""
    if call.kind is Kind.MODEL:
        return replace(call, trace="")
    return replace(
        call,
        params={**call.params, "arguments": spelled(call).encode()},
        meta={key: raw for key, raw in call.meta.items() if key == PROGRESS},
        client=replace(call.client, info=OWN_CLIENT.info),
        trace="",
    )


def spelled(call: Call) -> str:
    """The arguments in one spelling: order, spaces and digits beyond a double say nothing here."""
    return json.dumps(call.arguments, sort_keys=True, separators=(",", ":"))
