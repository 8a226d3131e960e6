"""A long log, made by the house itself without any HTTP: every call is decided, admitted, settled.

BENCH_KEY=... python -m tests.bench.longlog CUSTOMHOUSE_TOML ENTRIES
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog
import uvloop

from gateway.app.clock import wall_us
from gateway.app.house import House, open_house
from gateway.config import load
from gateway.domain.catalogue import Catalogue
from gateway.domain.model import Act, Call, CallClass, Kind, Outcome, Principal, Status
from gateway.edge.ids import new_call_id

TOGETHER = 256  # so many wait for the same commit, which is what makes it quick
_LISTED_S = 30.0


async def fill(config_file: Path, entries: int) -> int:
    """Write at least *entries* entries and close the house; how many there are."""
    environ = dict(os.environ)
    async with open_house(load(config_file, environ), environ) as house:
        await house.upstreams.start()
        try:
            async with asyncio.timeout(_LISTED_S):
                await house.discovery.try_refresh("bench")
            # The house adds counters every 10,000 entries, and what it says when it closes.
            log = house.ledger.log
            await asyncio.gather(*(_calls(house, entries) for _ in range(TOGETHER)))
            return log.next_leaf
        finally:
            await house.upstreams.stop()


async def _calls(house: House, entries: int) -> None:
    principal = house.identity.authenticate(os.environ["BENCH_KEY"], wall_us())
    if principal is None:
        raise SystemExit("the key in BENCH_KEY is not the one of the configuration")
    catalogue = house.registry.catalogue
    while house.ledger.log.next_leaf < entries:
        call = _call(principal, catalogue, new_call_id(wall_us()))
        permit = await house.ledger.hold(call, house.policies.decide(call))
        result = b'{"content":[{"type":"text","text":"%b"}]}' % call.id.encode()
        outcome = Outcome(Status.OK, result, received_bytes=len(result), upstream_s=0.001)
        await house.ledger.settle(permit, outcome)


def _call(principal: Principal, catalogue: Catalogue, call_id: str) -> Call:
    raw = b'{"text":"%b"}' % call_id.encode()
    return Call(
        id=call_id,
        principal=principal,
        method="tools/call",
        kind=Kind.TOOL,
        server="bench",
        name="echo",
        act=Act.CALL,
        weight=CallClass.FULL,
        params={"name": b'"echo"', "arguments": raw},
        arguments={"text": call_id},
        definition=catalogue.find("bench", Kind.TOOL, "echo"),
    )


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    written = uvloop.run(fill(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.write(f"{written}\n")
