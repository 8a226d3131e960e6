"""What was measured of the peers, as tables."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from platform import python_version

from tests.bench import proc
from tests.bench.load import Era
from tests.bench.measure import QUIET_CORES, Cell, Results
from tests.bench.peers.started import Way

OURS = "customhouse"
ONE, MANY = 1, 16

_SPEAKS = {
    Era.SESSION: "2025-11-25, in a session (every peer speaks it)",
    Era.MODERN: "2026-07-28 (those that speak it)",
}


def _median(cells: Sequence[Cell], of: Callable[[Cell], float]) -> float | None:
    return statistics.median(of(cell) for cell in cells) if cells else None


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _cpu(cells: Sequence[Cell]) -> str:
    values = sorted(cell.cpu_ms for cell in cells)
    if not values or not values[-1]:
        return "-"  # the upstream itself
    digits = 3 if values[-1] < 1 else 1
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({values[0]:,.{digits}f}-{values[-1]:,.{digits}f})"


def _times(results: Results, way: str, era: Era) -> str:
    """CPU of *way* as a multiple of ours."""
    theirs, ours = (
        _median(results.of(name, era.value, MANY), lambda cell: cell.cpu_ms) for name in (way, OURS)
    )
    return f"{theirs / ours:.1f}" if theirs and ours else "-"


def _row(results: Results, way: str, era: Era) -> str:
    one, many = (results.of(way, era.value, count) for count in (ONE, MANY))
    direct = _median(results.of("direct", era.value, ONE), lambda cell: cell.p50_ms)
    alone = _median(one, lambda cell: cell.p50_ms)
    added = None if alone is None or direct is None or way == "direct" else alone - direct
    cells = [*one, *many]
    quiet = sum(cell.foreign_cores <= QUIET_CORES for cell in cells)
    return (
        f"| {way} | {_number(_median(one, lambda cell: cell.per_s), 0)} "
        f"| {_number(_median(many, lambda cell: cell.per_s), 0)} | {_number(added, 2)} "
        f"| {_cpu(one)} | {_cpu(many)} | {_times(results, way, era)} "
        f"| {_number(_median(many, lambda cell: cell.requests), 2)} | {quiet} of {len(cells)} |"
    )


def table(results: Results, ways: Sequence[str], era: Era) -> Iterator[str]:
    """The ways that answered in *era*, the cheapest first."""
    yield f"### {_SPEAKS[era]}"
    yield ""
    yield (
        "| way | calls/s, 1 caller | calls/s, 16 | p50 ms added, 1 | CPU ms per call, 1 "
        "| CPU ms per call, 16 | times customhouse | upstream requests per call | quiet cells |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    measured = [way for way in ways if results.of(way, era.value, MANY)]

    def cost(way: str) -> float:
        return statistics.median(cell.cpu_ms for cell in results.of(way, era.value, MANY))

    for way in sorted(measured, key=cost):
        yield _row(results, way, era)


def does(ways: Sequence[Way], loaded_mb: Mapping[str, float]) -> Iterator[str]:
    """What each of them is, does for a call, and keeps in memory."""
    yield "| way | version | for each call | MB idle (PSS) | MB after the run |"
    yield "| --- | --- | --- | ---: | ---: |"
    for way in ways:
        after = _number(loaded_mb.get(way.name), 0)
        idle = _number(way.idle_mb or None, 0)
        yield f"| {way.name} | {way.made_of or '-'} | {way.does} | {idle} | {after} |"


def conditions(results: Results) -> str:
    """What it was measured on, and how."""
    return "\n".join(
        [
            f"- {proc.machine()}; customhouse and the hop on Python {python_version()}. Everything on "
            "loopback of one machine, one process for each way (its children counted in).",
            f"- {results.rounds} rounds, {results.spell_s:g} s for each cell after a short warm-up, "
            "the ways taking turns. Medians over the cells in which strangers used at most "
            f"{QUIET_CORES} cores, over all cells where there was none (last column); smallest and "
            "largest in brackets.",
            "- The same upstream and the same load as in `make bench`: every reply checked (id and a "
            "text of its own), every call counted at the upstream, which saw each exactly once.",
            "- CPU is user and system time of the way's process tree, from /proc: the figure to "
            "compare. Calls/s of cheap ways are also bounded by the load, which shares the cores.",
            "- Slow ways make few calls in a cell; trust the class (0.1, 1, 10, 100 ms), not the "
            "order of neighbours.",
        ]
    )


def document(
    results: Results,
    ways: Sequence[Way],
    loaded_mb: Mapping[str, float],
    failed: Mapping[str, str],
    written: str,
) -> str:
    """PEERS.md."""
    names = [way.name for way in ways]
    lines = [
        "# Other gateways, measured the same way",
        "",
        f"Written by `make bench-peers ARGS=--write` on {written}.",
        "",
        conditions(results),
        "",
    ]
    for era in (Era.SESSION, Era.MODERN):
        lines += [*table(results, names, era), ""]
    lines += [
        "### It is not equal work",
        "",
        "No two of these do the same for a call; read the costs beside this table. Each peer is set up "
        "as its documentation says, with authentication on, and once more where a switch is known that "
        "makes it cheaper.",
        "",
        *does(ways, loaded_mb),
        "",
    ]
    if failed:
        lines += ["### Not measured", "", *(f"- {name}: {why}" for name, why in failed.items()), ""]
    return "\n".join(lines)
