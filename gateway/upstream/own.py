"""The gateway's own requests to an upstream: introductions, lists, subscriptions to changes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import msgspec

from gateway.domain import refusal
from gateway.domain.asking import OWN_CAPABILITIES
from gateway.domain.model import Act, Call, CallClass, Client, Kind, Outcome, Principal, Relay
from gateway.upstream.exchange import Bounds, Exchange, Run, TooLarge
from gateway.upstream.message import UpstreamFailed

MAX_ANSWER_BYTES = 33_554_432
# What the discover job is called in policy and in the log.
_SYSTEM = Principal(tenant="default", subject="system:discover")
LISTEN_PARAMS: Mapping[str, bytes] = {
    "notifications": msgspec.json.encode(
        {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    )
}


def _own_version() -> str:
    try:
        return version("customhouse")
    except PackageNotFoundError:  # run from a checkout
        return "0"


# As a client the gateway itself can be asked nothing by an upstream.
OWN_CLIENT = Client(
    capabilities=OWN_CAPABILITIES,
    info=msgspec.json.encode({"name": "customhouse", "version": _own_version()}),
)


class Silent:
    """The relay of requests whose notifications nobody waits for."""

    async def notify(self, frame: bytes) -> None:
        return


def own_call(server: str, method: str, params: Mapping[str, bytes], name: str = "*") -> Call:
    return Call(
        id="",
        principal=_SYSTEM,
        method=method,
        kind=Kind.SERVER,
        server=server,
        name=name,
        act=Act.LIST,
        weight=CallClass.SINGLE,
        params=params,
        client=OWN_CLIENT,
    )


async def ask(
    run: Run,
    call: Call,
    bounds: Bounds,
    relay: Relay = Silent(),  # noqa: B008 - it has no state
) -> Outcome:
    """One request of our own, with bounds of its own. Raises: UpstreamFailed."""
    exchange = Exchange(call, relay, bounds, MAX_ANSWER_BYTES)
    try:
        return await run(exchange)
    except TooLarge:
        sentence = f"the answer to {call.method} is too large"
        raise UpstreamFailed(refusal.RESULT_TOO_LARGE.id, sentence) from None
    finally:
        exchange.close()
        bounds.close()
