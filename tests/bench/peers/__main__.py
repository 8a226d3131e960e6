"""`make bench-peers`: other gateways in front of the same upstream, under the same load.

make bench-peers                     about eight minutes; prints tables
make bench-peers ARGS=--write        and keeps them in tests/bench/PEERS.md
make bench-peers ARGS='--rounds 1 --seconds 1'
"""

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench import proc, targets
from tests.bench.load import Era, Target, WrongReply
from tests.bench.measure import Bench, Miscounted, Results
from tests.bench.peers import report
from tests.bench.peers.sites import PEERS, SECRET
from tests.bench.peers.started import Way, started
from tests.bench.targets import House, NotStarted

HOUSE = Path(__file__).parents[1]
WORK = HOUSE / ".work"

NOTHING = "nothing in between"
HOP = "parses the JSON, compares a static token, forwards. The least a Python gateway can do"
OURS = "key, policy, rates and budgets on four levels, pin, schema; two durable commits to a signed log"


@dataclass(slots=True)
class Run:
    """One run: what was measured, of whom, and who could not be."""

    results: Results
    ways: list[Way] = field(default_factory=list)
    loaded_mb: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, why: Exception) -> None:
        """Go on without it, and say so."""
        said = (str(why).strip() or type(why).__name__).replace(SECRET, "...")
        print(f"{name}: {said}", file=sys.stderr, flush=True)
        first, *more = said.splitlines()
        self.failed[name] = " ".join([first, *more[-1:]])
        self.ways = [way for way in self.ways if way.name != name]


async def measure(run: Run, environments: Path, command: tuple[str, ...]) -> None:
    """Start everything, measure everything, stop everything."""
    WORK.mkdir(exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=WORK)))
        upstream = await stack.enter_async_context(targets.upstream(folder))
        port = upstream.target.port
        hop = await stack.enter_async_context(targets.hop(folder, port, "asgi"))
        house = House(folder / "house", port, command)
        gateway = await stack.enter_async_context(targets.gateway(house))
        run.ways.append(Way(upstream, tuple(Era), NOTHING))
        for running, does in ((hop, HOP), (gateway, OURS)):
            run.ways.append(Way(running, tuple(Era), does, idle_mb=proc.pss_mb(running.pid)))
        await _start_peers(run, stack, environments, folder, upstream.target)
        bench = Bench(upstream, [way.running for way in run.ways], run.results)
        for round_ in range(run.results.rounds):
            await _round(run, bench, round_)
            print(f"round {round_ + 1} of {run.results.rounds}", flush=True)
        gateways = [way.running for way in run.ways if way.running is not upstream]
        run.loaded_mb = {way.target.name: proc.pss_mb(way.pid) for way in gateways}


async def _start_peers(
    run: Run, stack: contextlib.AsyncExitStack, environments: Path, folder: Path, upstream: Target
) -> None:
    for number, peer in enumerate(PEERS):
        place = folder / f"peer-{number}"
        try:
            way = await stack.enter_async_context(started(peer, environments, place, upstream))
        except (NotStarted, OSError) as err:
            run.fail(peer.name, err)
            continue
        run.ways.append(way)
        spoken = ", ".join(way.eras)
        print(f"{peer.name} {way.made_of}: {way.running.start_s:.1f} s, {spoken}", flush=True)


async def _round(run: Run, bench: Bench, round_: int) -> None:
    """Every cell once; whoever goes first meets another machine: the order moves."""
    shift = round_ % len(run.ways)
    for era in Era:
        for concurrent in (report.ONE, report.MANY):
            for way in [*run.ways[shift:], *run.ways[:shift]]:
                if era not in way.eras:
                    continue
                try:
                    await bench.cell(way.running, era.value, concurrent, round_)
                except (WrongReply, Miscounted, OSError) as err:
                    run.fail(way.name, err)


def main() -> int:
    """Parse the arguments, measure, print and perhaps write; 1 when a peer was not measured."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("environments", type=Path, help="the folder that `make` has filled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each cell")
    parser.add_argument("--write", action="store_true", help="write PEERS.md")
    asked = parser.parse_args()
    run = Run(Results(asked.rounds, asked.seconds))
    try:
        uvloop.run(measure(run, asked.environments.resolve(), targets.CUSTOMHOUSE))
    except (NotStarted, OSError) as err:
        print(f"bench-peers: {err}", file=sys.stderr)
        return 1
    today = time.strftime("%Y-%m-%d", time.gmtime())
    text = report.document(run.results, run.ways, run.loaded_mb, run.failed, today)
    print(f"\n{text}")
    if asked.write:
        (HOUSE / "PEERS.md").write_text(text)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
