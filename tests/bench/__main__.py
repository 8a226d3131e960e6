"""`make bench`: what a governed call costs, beside the direct way and a raw Python hop.

make bench                     about nine minutes and 2 GB of disk meanwhile; prints tables
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

from tests.bench import beside, inside, measure, report, targets
from tests.bench.load import WrongReply
from tests.bench.measure import Bench, Miscounted, Results
from tests.bench.targets import House, NotStarted, Running

HOUSE = Path(__file__).parent
WORK = HOUSE / ".work"
STARTS = 5


async def run(results: Results, command: tuple[str, ...], entries: int) -> None:
    """Start everything, measure everything, stop everything; without *command* no gateway."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as made:
        folder = Path(made)
        async with targets.upstream(folder) as upstream:
            await _compare(results, folder, upstream, command)
            if command:
                await _look_inside(results, folder, upstream, command, entries)


async def _compare(
    results: Results, folder: Path, upstream: Running, command: tuple[str, ...]
) -> None:
    """The ways beside each other."""
    port = upstream.target.port
    async with contextlib.AsyncExitStack() as stack:
        hops = [
            await stack.enter_async_context(targets.hop(folder, port, kind))
            for kind in targets.HOPS
        ]
        ways, many = [upstream, *hops], None
        if command:
            house = House(folder / "house", port, command)
            many = House(folder / "many", port, command, "/many")
            ways.append(await stack.enter_async_context(targets.gateway(house)))
        bench = Bench(upstream, ways, results)
        await _timed("calls", measure.calls(bench, folder))
        await _timed("lists", measure.lists(bench, many))


async def _look_inside(
    results: Results, folder: Path, upstream: Running, command: tuple[str, ...], entries: int
) -> None:
    """The gateway alone."""
    port = upstream.target.port
    keeping = House(folder / "kept", port, command, "/kept", cache_s=3600)
    bench = Bench(upstream, [upstream], results)
    await _timed("kept results", measure.kept(bench, keeping))
    other = beside.house(folder / "beside", port, command)
    await _timed("beside MCP", beside.measured(bench, folder, other))
    starting = House(folder / "starts", port, command)
    await _timed("starts", measure.starts(bench, starting, STARTS))
    await _timed("memory", inside.memory(results, House(folder / "memory", port, command)))
    await _timed("decisions", inside.decisions(results))
    long = House(folder / "long", port, command)
    await _timed("verify", inside.verifying(results, long, entries))


async def _timed(what: str, work: Awaitable[None]) -> None:
    began = time.monotonic()
    await work
    print(f"{what}: measured in {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    """Parse the arguments, measure, print and perhaps write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each cell")
    parser.add_argument("--entries", type=int, default=report.MILLION, help="of the log to verify")
    parser.add_argument("--raw", action="store_true", help="no gateway")
    parser.add_argument("--command", nargs="+", default=targets.CUSTOMHOUSE, help="the gateway's")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md")
    asked = parser.parse_args()
    results = Results(asked.rounds, asked.seconds)
    try:
        uvloop.run(run(results, () if asked.raw else tuple(asked.command), asked.entries))
    except (NotStarted, Miscounted, WrongReply, inside.Failed, OSError) as err:
        print(f"bench: {err}", file=sys.stderr)
        return 1
    print(f"\n{report.conditions(results)}\n\n{report.gate_table(results)}\n")
    print(f"{report.inside(results)}\n")
    print(f"{report.beside(results)}\n")
    print(report.tables(results))
    if asked.write:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        (HOUSE / "RESULTS.md").write_text(report.document(results, today))
    return 0


if __name__ == "__main__":
    sys.exit(main())
