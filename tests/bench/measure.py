"""The measuring: every way, both eras, 1, 16 and 64 callers, in turn and over several rounds."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench import load, proc, targets
from tests.bench.load import Caller, Era
from tests.bench.targets import House, Running
from tests.bench.upstream import MANY
from tests.bench.wire import connect

CONCURRENT = (1, 16, 64)
LISTING = 4
KEEPING = 16
LISTS, KEPT = "tools/list", "kept result"
# What `beside` measures.
CHAT, CHAT_STREAM = "chat completion", "chat completion, streamed"
SEND, SEND_STREAM = "A2A message", "A2A message, streamed"
TOKEN = "token exchange"
PLAIN, TIED = "tools/call", "tools/call in a run, with a key"
STREAMED = frozenset({CHAT_STREAM, SEND_STREAM})
# All of it, and by how many at once.
BESIDE = dict.fromkeys((CHAT, CHAT_STREAM, SEND, SEND_STREAM, TOKEN, PLAIN, TIED), 16)
WARM_S = 0.3
# Cells in which strangers used more of the machine than this count only when there are no others.
QUIET_CORES = 0.3


class Miscounted(Exception):
    """The upstream did not see exactly the calls that were made."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One spell of one way: what it got done, and what that cost."""

    way: str
    what: str  # an era, LISTS, KEPT, or what `beside` measures
    concurrent: int
    round: int
    calls: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of the way's own process tree, per call; 0 for the direct way
    requests: float  # at the upstream, per call
    foreign_cores: float  # used by anything that is no part of the benchmark


@dataclass(frozen=True, slots=True)
class Grown:
    """Memory of a gateway: PSS with everything loaded, and what grew that no file stands behind."""

    loaded_mb: float
    warm_calls: int
    warm_mb: float  # over the first calls
    calls: int
    calls_mb: float  # over so many more, on the same connections and in the same sessions
    warm_sessions: int
    warm_sessions_mb: float  # the first sessions opened and ended
    sessions: int
    sessions_mb: float  # so many more


class Decided(msgspec.Struct):
    """What decisions took under so many rules, in CPU time."""

    rules: int
    warm_us: float  # the same caller has asked for the same tool before
    cold_us: float  # under this version nobody has
    compile_s: float


@dataclass(frozen=True, slots=True)
class Verified:
    """`audit verify` of a long log, and what that log was."""

    entries: int
    log_mb: float
    wall_s: float
    cpu_s: float


@dataclass(slots=True)
class Results:
    """All that was measured."""

    rounds: int
    spell_s: float
    cells: list[Cell] = field(default_factory=list)
    fsync_ms: list[float] = field(default_factory=list)
    commit_ms: list[float] = field(default_factory=list)
    warm_starts_s: list[float] = field(default_factory=list)
    bare_starts_s: list[float] = field(default_factory=list)
    grown: Grown | None = None
    decided: Decided | None = None
    verified: Verified | None = None

    def of(self, way: str, what: str, concurrent: int) -> list[Cell]:
        """The cells of one line of the table: the quiet ones, or all when none was quiet."""
        cells = [
            cell
            for cell in self.cells
            if (cell.way, cell.what, cell.concurrent) == (way, what, concurrent)
        ]
        return [cell for cell in cells if cell.foreign_cores <= QUIET_CORES] or cells


@dataclass(frozen=True, slots=True)
class Seen:
    """What the upstream has counted so far."""

    requests: int
    calls: int
    distinct: int


async def seen(upstream: Running) -> Seen:
    """Ask the upstream what it has counted."""
    client = await connect(upstream.target.port)
    answer = await client.ask(b"GET /count HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    client.transport.close()
    return msgspec.json.decode(answer.body, type=Seen)


class Line(NamedTuple):
    """What is measured in one cell."""

    what: str
    round: int
    reaching: int | None = 1  # calls of the upstream for each; None: they are not counted


@dataclass(frozen=True, slots=True)
class Bench:
    """The processes of one run and where the results go."""

    upstream: Running
    ways: Sequence[Running]
    results: Results

    async def cell(self, way: Running, what: str, concurrent: int, round_: int) -> None:
        """Measure one cell and keep it.

        Raises: Miscounted, when a call was lost or reached the upstream twice.
        """
        era = Era.MODERN if what in (LISTS, KEPT) else Era(what)
        callers = await load.callers(way.target, era, concurrent)
        reaching = {LISTS: None, KEPT: 0}.get(what, 1)
        try:
            steps = [_step(caller, what) for caller in callers]
            await self.measure(way, Line(what, round_, reaching), steps)
        finally:
            await load.leave(callers)

    async def measure(
        self, way: Running, line: Line, steps: Sequence[Callable[[], Awaitable[None]]]
    ) -> None:
        """Have *steps* repeated for a while and keep what that cost. Raises: as `cell`."""
        await load.spell(steps, WARM_S)
        before, cpu, ours, busy = await seen(self.upstream), *self._clocks(way)
        spell = await load.spell(steps, self.results.spell_s)
        cpu_after, ours_after, busy_after = self._clocks(way)
        after = await seen(self.upstream)
        if line.reaching is not None:
            _check(way, before, after, spell.calls * line.reaching)
        self.results.cells.append(
            Cell(
                way=way.target.name,
                what=line.what,
                concurrent=len(steps),
                round=line.round,
                calls=spell.calls,
                per_s=spell.calls / spell.seconds,
                p50_ms=spell.quantile_ms(0.5),
                p99_ms=spell.quantile_ms(0.99),
                cpu_ms=(cpu_after - cpu) * 1000 / spell.calls,
                requests=(after.requests - before.requests) / spell.calls,
                foreign_cores=max(0.0, busy_after - busy - (ours_after - ours)) / spell.seconds,
            )
        )

    def _clocks(self, way: Running) -> tuple[float, float, float]:
        """CPU so far: of the way itself, of the whole benchmark, of the machine."""
        own = 0.0 if way.pid == self.upstream.pid else proc.cpu_s(way.pid)
        children = proc.spent_s({self.upstream.pid, way.pid})
        times = os.times()
        return own, children + times.user + times.system, proc.busy_s()


def _step(caller: Caller, what: str) -> Callable[[], Awaitable[None]]:
    if what == LISTS:
        return lambda: caller.list_tools(MANY)
    return caller.repeat if what == KEPT else caller.call


def _check(way: Running, before: Seen, after: Seen, calls: int) -> None:
    reached, distinct = after.calls - before.calls, after.distinct - before.distinct
    if not reached == distinct == calls:
        raise Miscounted(
            f"{way.target.name}: {calls} calls had to reach the upstream, {reached} did, "
            f"{distinct} of them different"
        )


async def calls(bench: Bench, folder: Path) -> None:
    """Every cell of every round, the ways taking turns."""
    results = bench.results
    for round_ in range(results.rounds):
        results.fsync_ms.append(proc.fsync_ms(folder))
        results.commit_ms.append(proc.commit_ms(folder))
        # Whoever goes first meets another machine: the order moves on every round.
        shift = round_ % len(bench.ways)
        ways = [*bench.ways[shift:], *bench.ways[:shift]]
        for era in Era:
            for concurrent in CONCURRENT:
                for way in ways:
                    await bench.cell(way, era.value, concurrent, round_)
        print(f"round {round_ + 1} of {results.rounds}", flush=True)


async def lists(bench: Bench, house: House | None) -> None:
    """tools/list of 1,000 tools, each way in turn; *house* has them behind it."""
    ways = [targets.many(way) for way in bench.ways if way.target.path == "/mcp"]
    if house is None:
        await _list_rounds(bench, ways)
        return
    async with targets.gateway(house) as gateway:
        await _list_rounds(bench, [*ways, gateway])


async def _list_rounds(bench: Bench, ways: Sequence[Running]) -> None:
    for round_ in range(bench.results.rounds):
        for way in ways:
            await bench.cell(way, LISTS, LISTING, round_)


async def kept(bench: Bench, house: House) -> None:
    """Calls that are answered with what an equal call has got; *house* keeps results."""
    async with targets.gateway(house) as gateway:
        for round_ in range(bench.results.rounds):
            await bench.cell(gateway, KEPT, KEEPING, round_)


async def starts(bench: Bench, house: House, times: int) -> None:
    """Start to first answered call: warm several times, once without any bytecode."""
    async with targets.gateway(house):
        pass  # keys, tables and definitions are made once
    for _ in range(times):
        async with targets.gateway(house) as warm:
            bench.results.warm_starts_s.append(warm.start_s)
    nowhere = str(house.folder / "no-bytecode")
    bare = {"PYTHONPYCACHEPREFIX": nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
    async with targets.gateway(house, env=bare) as cold:
        bench.results.bare_starts_s.append(cold.start_s)
