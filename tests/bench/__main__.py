"""`make bench`: what a governed call costs, beside the direct way and a raw Python hop.

make bench                     about four minutes; prints tables
make bench ARGS=--write        and keeps them in tests/bench/RESULTS.md
make bench ARGS='--rounds 2 --seconds 1'
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import uvloop

from tests.bench import measure, report, targets
from tests.bench.load import WrongReply
from tests.bench.measure import Bench, Miscounted, Results
from tests.bench.targets import House, NotStarted

HOUSE = Path(__file__).parent
WORK = HOUSE / ".work"
STARTS = 5


async def run(results: Results, command: tuple[str, ...]) -> None:
    """Start everything, measure everything, stop everything; without *command* no gateway."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as made:
        folder = Path(made)
        async with contextlib.AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(targets.upstream(folder))
            port = upstream.target.port
            hops = [
                await stack.enter_async_context(targets.hop(folder, port, kind))
                for kind in targets.HOPS
            ]
            ways, gateway, many = [upstream, *hops], None, None
            if command:
                house = House(folder / "house", port, command)
                many = House(folder / "many", port, command, "/many")
                gateway = await stack.enter_async_context(targets.gateway(house))
                ways.append(gateway)
            bench = Bench(upstream, ways, results)
            await _timed("calls", measure.calls_and_memory(bench, gateway, folder))
            await _timed("lists", measure.lists(bench, many))
            if command:
                house = House(folder / "starts", port, command)
                await _timed("starts", measure.starts(bench, house, STARTS))


async def _timed(what: str, work: Awaitable[None]) -> None:
    began = time.monotonic()
    await work
    print(f"{what}: measured in {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    """Parse the arguments, measure, print and perhaps write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each cell")
    parser.add_argument("--raw", action="store_true", help="no gateway")
    parser.add_argument("--command", nargs="+", default=targets.CUSTOMHOUSE, help="the gateway's")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    asked = parser.parse_args()
    results = Results(asked.rounds, asked.seconds)
    try:
        uvloop.run(run(results, () if asked.raw else tuple(asked.command)))
    except (NotStarted, Miscounted, WrongReply, OSError) as err:
        print(f"bench: {err}", file=sys.stderr)
        return 1
    print(f"\n{report.conditions(results)}\n\n{report.gate_table(results)}\n")
    print(report.tables(results))
    if asked.write:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        (HOUSE / "RESULTS.md").write_text(report.document(results, today))
    return 0


if __name__ == "__main__":
    sys.exit(main())
