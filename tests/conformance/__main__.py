"""`make conformance`: the official suite against the fixture, directly and through the gateway.

Green when the fixture passes everything that is scored, and the gateway got the same result at
every check, but for the differences in differences.toml.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance import compare, suite, targets
from tests.conformance.suite import REVISIONS, Checks, Suite

DIFFERENCES = Path(__file__).with_name("differences.toml")
Runs = Mapping[str, Checks]


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _say_run(where: str, revision: str, checks: Checks, scored: bool, took_s: float) -> None:
    totals: Counter[str] = Counter()
    failed = 0
    for counts in checks.values():
        for count in counts.values():
            totals += count
        failed += any(count["FAILURE"] for count in counts.values())
    _say(
        f"{where:8} {revision}: scenarios {len(checks) - failed} passed, {failed} failed; "
        f"checks {totals['SUCCESS']} passed, {totals['FAILURE']} failed, "
        f"{totals['WARNING']} warnings, {totals['SKIPPED']} skipped; "
        f"all that is scored passes: {'yes' if scored else 'NO'} ({took_s:.0f} s)"
    )


async def _run_all(made: Suite, where: str, url: str) -> tuple[Runs, bool]:
    runs: dict[str, Checks] = {}
    clean = True
    for revision in REVISIONS:
        began = time.monotonic()
        runs[revision], scored = await suite.run(made, url, revision)
        _say_run(where, revision, runs[revision], scored, time.monotonic() - began)
        clean &= scored
    return runs, clean


def _judge(direct: Runs, governed: Runs) -> tuple[str, ...]:
    """Every complaint; says on the way which agreed differences were seen."""
    agreed = compare.read(DIFFERENCES)
    found = [
        difference
        for revision in REVISIONS
        for difference in compare.compare(revision, direct[revision], governed[revision])
    ]
    for title, known in (("agreed", agreed.stay), ("later", agreed.wait)):
        seen = Counter(
            (difference.spot.revision, difference.spot.scenario, known[difference.spot])
            for difference in found
            if difference.spot in known
        )
        for (revision, scenario, reason), checks in sorted(seen.items()):
            _say(f"{title}: {revision} {scenario} ({checks}): {reason}")
    return compare.judge(found, agreed)


async def run(command: Sequence[str]) -> int:
    """The whole of it, without *command* the direct half; 0 when green, 1 when not."""
    made = await suite.install()
    async with targets.fixture() as port:
        url = f"http://127.0.0.1:{port}/mcp"
        direct, clean = await _run_all(made, "direct", url)
    if not clean:
        _say("the fixture itself fails a scored scenario: nothing can be compared with it")
        return 1
    if not command:
        return 0
    async with targets.gateway(command) as url:
        governed, _ = await _run_all(made, "gateway", url)
    _keep(direct=direct, gateway=governed)
    complaints = _judge(direct, governed)
    for complaint in complaints:
        _say(complaint)
    _say(f"conformance: {'not equal' if complaints else 'equal, but for what is agreed'}")
    return 1 if complaints else 0


def _keep(**runs: Runs) -> None:
    """Leave both results in the work folder, to be looked at."""
    for where, run_ in runs.items():
        (suite.WORK / f"{where}.json").write_text(json.dumps(run_, indent=1, sort_keys=True))


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--direct", action="store_true", help="the fixture only, no gateway")
    parser.add_argument("--command", nargs="+", default=targets.CUSTOMHOUSE, help="the gateway's")
    asked = parser.parse_args()
    try:
        return asyncio.run(run(() if asked.direct else asked.command))
    except (suite.SuiteFailed, targets.NotStarted, compare.BadDifferences) as err:
        print(f"conformance: {err}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
