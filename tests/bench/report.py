"""What was measured, as tables, beside what the design asks for."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version

from tests.bench import proc
from tests.bench.answers import EVENTS
from tests.bench.load import Era
from tests.bench.measure import (
    BESIDE,
    CONCURRENT,
    KEEPING,
    KEPT,
    LISTING,
    LISTS,
    PLAIN,
    QUIET_CORES,
    STREAMED,
    TIED,
    Cell,
    Results,
)
from tests.bench.upstream import MANY

MILLION = 1_000_000
WAYS = ("direct", "bare hop", "raw hop", "customhouse")
_PACKAGES = (
    "mcp",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "pycasbin",
    "cryptography",
    "jsonschema-rs",
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One promise of the design and what came of it; None: not measured."""

    what: str
    wanted: str
    measured: float | None
    unit: str
    met: bool


def _median(cells: list[Cell], of: Callable[[Cell], float]) -> float | None:
    return statistics.median(of(cell) for cell in cells) if cells else None


def _range(cells: list[Cell], of: Callable[[Cell], float], digits: int) -> str:
    values = sorted(of(cell) for cell in cells)
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({values[0]:,.{digits}f}-{values[-1]:,.{digits}f})"


def table(results: Results, what: str, concurrent: int) -> Iterator[str]:
    """One row for each way that was measured."""
    rounds = results.rounds
    for way in WAYS:
        cells = results.of(way, what, concurrent)
        if not cells:
            continue
        quiet = sum(cell.foreign_cores <= QUIET_CORES for cell in cells)
        cpu = "-" if way == "direct" else _range(cells, lambda cell: cell.cpu_ms, 3)
        yield (
            f"| {what} | {concurrent} | {way} | {_range(cells, lambda cell: cell.per_s, 0)} | "
            f"{_median(cells, lambda cell: cell.p50_ms):.2f} | "
            f"{_median(cells, lambda cell: cell.p99_ms):.2f} | {cpu} | "
            f"{_median(cells, lambda cell: cell.requests):.3f} | "
            f"{_median(cells, lambda cell: cell.foreign_cores):.2f} | {quiet} of {rounds} |"
        )


def tables(results: Results) -> str:
    """Every line that was measured."""
    lines = [
        "| what | concurrent | way | calls/s | p50 ms | p99 ms | CPU ms per call "
        "| upstream requests per call | foreign cores | quiet rounds |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for era in Era:
        for concurrent in CONCURRENT:
            lines += table(results, era.value, concurrent)
    lines += table(results, LISTS, LISTING)
    lines += table(results, KEPT, KEEPING)
    return "\n".join(lines)


def beside(results: Results) -> str:
    """What is relayed beside MCP, and what a run and a key add to a call."""
    lines = [
        "| what | concurrent | way | per s | p50 ms | CPU ms each | CPU us per event "
        "| times the least | foreign cores | quiet rounds |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for what, concurrent in BESIDE.items():
        rows = [results.of(way, what, concurrent) for way in WAYS]
        lines += [_beside(results, cells) for cells in rows if cells]
    return "\n".join(lines)


def _beside(results: Results, cells: list[Cell]) -> str:
    way, what, concurrent = cells[0].way, cells[0].what, cells[0].concurrent
    each = statistics.median(cell.cpu_ms for cell in cells)
    least = _cpu(results, *_LEAST.get(what, ("raw hop", what)), concurrent)
    times = f"{each / least:.1f}" if least and way == "customhouse" else "-"
    event = f"{each * 1000 / EVENTS:.1f}" if what in STREAMED else "-"
    quiet = sum(cell.foreign_cores <= QUIET_CORES for cell in cells)
    return (
        f"| {what} | {concurrent} | {way} | {_range(cells, lambda cell: cell.per_s, 0)} | "
        f"{_median(cells, lambda cell: cell.p50_ms):.2f} | "
        f"{_range(cells, lambda cell: cell.cpu_ms, 3)} | {event} | {times} | "
        f"{_median(cells, lambda cell: cell.foreign_cores):.2f} | {quiet} of {results.rounds} |"
    )


# What a row is held against where no raw hop does the same.
_LEAST = {TIED: ("customhouse", PLAIN)}


def _at_most(what: str, limit: float, measured: float | None, unit: str) -> Gate:
    met = measured is not None and measured <= limit
    return Gate(what, f"<= {limit:g}", measured, unit, met)


def _at_least(what: str, limit: float, measured: float | None, unit: str) -> Gate:
    met = measured is not None and measured >= limit
    return Gate(what, f">= {limit:,g}", measured, unit, met)


def _cpu(results: Results, way: str, what: str, concurrent: int) -> float | None:
    return _median(results.of(way, what, concurrent), lambda cell: cell.cpu_ms)


def _p50(results: Results, way: str) -> float | None:
    return _median(results.of(way, Era.MODERN.value, 1), lambda cell: cell.p50_ms)


def _added_ms(results: Results) -> float | None:
    mine, direct = _p50(results, "customhouse"), _p50(results, "direct")
    return None if mine is None or direct is None else mine - direct


def _ratio(results: Results) -> float | None:
    modern = Era.MODERN.value
    mine, raw = _cpu(results, "customhouse", modern, 16), _cpu(results, "raw hop", modern, 16)
    return None if mine is None or not raw else mine / raw


def _per_call(results: Results) -> float | None:
    """The median: in one cell or another the gateway also looks whether a list has changed."""
    cells = [cell for cell in results.cells if cell.way == "customhouse" and cell.what in list(Era)]
    return _median(cells, lambda cell: cell.requests)


def _of_kept(results: Results) -> float | None:
    return _median(results.of("customhouse", KEPT, KEEPING), lambda cell: cell.requests)


def gates(results: Results) -> list[Gate]:
    """The promises this benchmark can judge, in the order of the design."""
    modern, session = Era.MODERN.value, Era.SESSION.value
    ms, house = "ms CPU", "customhouse"
    rate = {
        concurrent: _median(results.of(house, modern, concurrent), lambda cell: cell.per_s)
        for concurrent in CONCURRENT
    }
    two_commits_ms = 2 * statistics.median(results.commit_ms)
    decision_us = results.decided.warm_us if results.decided else None
    loaded = results.grown.loaded_mb if results.grown else None
    warm = statistics.median(results.warm_starts_s) if results.warm_starts_s else None
    bare = statistics.median(results.bare_starts_s) if results.bare_starts_s else None
    return [
        _at_most("modern call, 16 concurrent", 0.30, _cpu(results, house, modern, 16), ms),
        _at_most("the same, against the raw hop", 4.5, _ratio(results), "times"),
        _at_most("modern call, 64 concurrent", 0.22, _cpu(results, house, modern, 64), ms),
        _at_most("modern call, 1 concurrent", 1.0, _cpu(results, house, modern, 1), ms),
        _at_most("2025-11-25 call in a session, 16", 0.4, _cpu(results, house, session, 16), ms),
        _at_least("governed calls, 16 concurrent", 3000, rate[16], "per s"),
        _at_least("governed calls, 64 concurrent", 4500, rate[64], "per s"),
        _at_most(
            "p50 added at 1 concurrent (two durable commits + 0.5)",
            round(two_commits_ms + 0.5, 2),
            _added_ms(results),
            "ms",
        ),
        _at_most("upstream requests per call", 1.0, _per_call(results), ""),
        _at_most(
            f"tools/list of {MANY:,} tools, warm",
            0.8,
            _cpu(results, house, LISTS, LISTING),
            ms,
        ),
        _at_most("upstream requests per kept result", 0.0, _of_kept(results), ""),
        _at_most("policy decision at 100,000 rules", 5.0, decision_us, "us CPU"),
        _at_most(f"`audit verify` of {MILLION:,} entries", 15.0, _million_s(results), "s"),
        _at_most("memory PSS, all loaded", 130, loaded, "MB"),
        _at_most("memory growth per 100,000 calls", 1.0, _growth_mb(results), "MB"),
        _at_most("start to first answered call, warm", 1.5, warm, "s"),
        _at_most("start to first answered call, no bytecode", 4.5, bare, "s"),
    ]


def _million_s(results: Results) -> float | None:
    """None also of a shorter log: nothing is said of what was not read."""
    verified = results.verified
    return verified.wall_s if verified and verified.entries >= MILLION else None


def _growth_mb(results: Results) -> float | None:
    grown = results.grown
    return grown.calls_mb * 100_000 / grown.calls if grown else None


def inside(results: Results) -> str:
    """What was measured of the gateway alone, in sentences."""
    lines = []
    if (decided := results.decided) is not None:
        lines.append(
            f"- Under {decided.rules:,} rules a decision takes {decided.warm_us:.1f} us where the "
            f"same caller has asked for the same tool before, and {decided.cold_us:.0f} us the "
            f"first time under a version; to compile them takes {decided.compile_s:.1f} s (CPU)."
        )
    if (verified := results.verified) is not None:
        lines.append(
            f"- `audit verify` of {verified.entries:,} entries ({verified.log_mb:,.0f} MB with "
            f"payloads and indexes): {verified.wall_s:.1f} s, {verified.cpu_s:.1f} s of CPU."
        )
    if (grown := results.grown) is not None:
        lines.append(
            f"- Memory without what is mapped from files (its share changes with other processes): "
            f"{grown.warm_mb:+.2f} MB over the first {grown.warm_calls:,} calls, "
            f"{grown.calls_mb:+.2f} MB over {grown.calls:,} more of both eras on the same "
            f"connections and in the same sessions; {grown.warm_sessions_mb:+.2f} MB over the "
            f"first {grown.warm_sessions:,} sessions opened and ended, {grown.sessions_mb:+.2f} MB "
            f"over {grown.sessions:,} more."
        )
    return "\n".join(lines)


def gate_table(results: Results) -> str:
    """The gates as a table; a gate that was missed says so."""
    lines = ["| what | gate | measured | |", "| --- | ---: | ---: | --- |"]
    for gate in gates(results):
        if gate.measured is None:
            lines.append(f"| {gate.what} | {gate.wanted} {gate.unit} | - | not measured |")
            continue
        verdict = "met" if gate.met else "**missed**"
        lines.append(
            f"| {gate.what} | {gate.wanted} {gate.unit} | {gate.measured:,.3g} | {verdict} |"
        )
    return "\n".join(lines)


def conditions(results: Results) -> str:
    """Where and how it was measured, without naming the machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    fsync, commit = statistics.median(results.fsync_ms), statistics.median(results.commit_ms)
    worst = max(results.fsync_ms)
    return "\n".join(
        [
            f"- {proc.machine()}, Python {python_version()}; {packages}.",
            f"- {results.rounds} rounds, {results.spell_s:g} s for each cell after "
            "a short warm-up, the ways taking turns; loopback, everything on the same machine.",
            f"- The disk: 4 KiB made durable in {fsync:.2f} ms (worst round {worst:.2f}), "
            f"one SQLite commit of a call's bytes in {commit:.2f} ms (WAL, synchronous=FULL).",
            f"- Medians over the rounds in which strangers used at most {QUIET_CORES:g} cores, "
            "over all rounds where there was none; smallest and largest in brackets.",
            "- Every reply was checked (id and a text of its own), every call counted at the "
            "upstream, which saw each exactly once.",
        ]
    )


def document(results: Results, written: str) -> str:
    """RESULTS.md."""
    return "\n\n".join(
        [
            "# What a governed call costs",
            f"Written by `make bench ARGS=--write` on {written}. CPU is user and system time of "
            "the way's whole process tree, from /proc. `raw hop` is an ASGI application on uvicorn "
            "that parses the JSON, checks a static token and forwards, and the one the ratio "
            "is taken to; `bare hop` does the same on asyncio protocols alone. `customhouse` "
            "has everything on: authentication, policy, rates, budgets, schema, two durable "
            "commits.",
            "## Conditions",
            conditions(results),
            "## Against the design",
            gate_table(results),
            "## The gateway alone",
            inside(results),
            "## Beside MCP",
            f"A stream has {EVENTS} events with text, of which each comes by itself: CPU per event "
            "is that of the stream through all of them. A message to an agent makes a task. `times "
            "the least` is against the raw hop, and of a call in a run and with a key against one "
            "without, by the same callers.",
            beside(results),
            "## Everything",
            tables(results),
            "",
        ]
    )
