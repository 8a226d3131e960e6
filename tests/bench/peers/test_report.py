"""What PEERS.md says is what was measured: of whom there is no figure, it says so."""

from pathlib import Path

import pytest

from tests.bench.load import Era, Target
from tests.bench.measure import Cell, Results
from tests.bench.peers import report
from tests.bench.peers.sites import PEERS
from tests.bench.peers.started import Way
from tests.bench.targets import Running

HERE = Path(__file__).parent


def cell(way: str, concurrent: int, cpu_ms: float, p50_ms: float, era: Era = Era.SESSION) -> Cell:
    return Cell(way, era.value, concurrent, 0, 100, 500.0, p50_ms, 9.0, cpu_ms, 3.0, 0.0)


def way(name: str) -> Way:
    return Way(Running(Target(name, 1, "/mcp"), 1, 0.1), tuple(Era), "something", "1.2", 50.0)


def rows(results: Results, era: Era, *names: str) -> dict[str, list[str]]:
    lines = list(report.table(results, names, era))[4:]
    cells = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_each_way_is_compared_with_the_direct_one_and_with_ours() -> None:
    cells = [cell("direct", 1, 0.0, 0.1), cell("direct", 16, 0.0, 0.2)]
    cells += [cell("customhouse", 1, 0.9, 1.0), cell("customhouse", 16, 0.25, 4.0)]
    cells += [cell("slow", 1, 30.0, 40.1), cell("slow", 16, 25.0, 500.0)]
    found = rows(Results(1, 1.0, cells=cells), Era.SESSION, "slow", "customhouse", "direct")
    assert list(found) == ["direct", "customhouse", "slow"]
    added_ms, times = 2, 5
    assert [row[added_ms] for row in found.values()] == ["-", "0.90", "40.00"]
    assert [row[times] for row in found.values()] == ["-", "1.0", "100.0"]


def test_who_does_not_speak_an_era_has_no_line_there() -> None:
    cells = [cell("customhouse", 16, 0.25, 4.0, Era.MODERN), cell("slow", 16, 25.0, 500.0)]
    results = Results(1, 1.0, cells=cells)
    assert list(rows(results, Era.MODERN, "customhouse", "slow")) == ["customhouse"]


def test_who_could_not_be_measured_is_named_with_the_reason() -> None:
    failed = {"broken": "it does not answer"}
    ways = [way("customhouse")]
    text = report.document(Results(1, 1.0), ways, {"customhouse": 70.4}, failed, "2026-01-01")
    assert "- broken: it does not answer" in text
    assert "| customhouse | 1.2 | something | 50 | 70 |" in text


@pytest.mark.parametrize("name", sorted({peer.environment for peer in PEERS}))
def test_every_package_of_a_peer_is_pinned(name: str) -> None:
    lines = (HERE / f"{name}.txt").read_text().split("\n")[:-1]
    assert {peer.package for peer in PEERS if peer.environment == name} <= {
        line.partition("==")[0].partition("[")[0] for line in lines
    }
    assert [line for line in lines if "==" not in line or line.startswith("-")] == []
