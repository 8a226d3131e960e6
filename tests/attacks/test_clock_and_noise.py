"""A clock that is set back, and a server that shouts on its standard error."""

import os
import sys
from pathlib import Path

import httpx2
import pytest

from gateway.domain import refusal as no
from gateway.domain.refusal import Refused
from tests.attacks.conftest import KEYS, POLICY
from tests.journey.process import ROOT, gateway, headers, modern, write_policy
from tests.store.world import RESULT, World

NOISY = """
listen = "127.0.0.1:0"
[servers.pipe]
command = ["sh", "-c", "yes 'token=hunter2-shouted' | head -c 30000000 >&2; exec {python} -m tests.journey.effects {folder}/effects stdio"]
cwd = "{root}"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:KEY_TESTER"
"""


@pytest.mark.anyio
async def test_a_clock_set_back_stops_admission_and_never_the_order_of_the_log(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "customhouse.db")
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        world.clock.advance(-3600)
        with pytest.raises(Refused) as refused:
            await world.ledger.hold(world.call(), world.allow())
        assert refused.value.refusal is no.CLOCK_BEHIND
        await world.ledger.settle(permit, RESULT)  # what was admitted is settled all the same
        times = [entry.t for entry in world.stored()]
        assert times == sorted(times)


@pytest.mark.slow
def test_a_server_that_floods_its_standard_error_works_and_fills_nothing(tmp_path: Path) -> None:
    write_policy(tmp_path, POLICY)
    config = tmp_path / "customhouse.toml"
    config.write_text(NOISY.format(python=sys.executable, folder=tmp_path, root=ROOT))
    with gateway(config, {"KEY_TESTER": KEYS["tester"], "PATH": os.environ["PATH"]}) as running:
        body = modern("tools/call", {"name": "pipe_act", "arguments": {"mark": "noise"}})
        said = headers("tools/call", "pipe_act", KEYS["tester"])
        answer = httpx2.post(f"{running.url}/mcp", content=body, headers=said, timeout=60)
        assert answer.json()["result"]["content"][0]["text"] == "noise"
        kept = sum(len(str(line)) for line in running.lines)
    assert kept < 1_000_000, "thirty megabytes of noise must not become thirty of log"
