"""The same suite against two targets: what differs, and which differences are agreed upon.

differences.toml holds two lists of the same shape. A `[[difference]]` stays (at most five checks
in all); a `[[later]]` waits for a later issue. Each names checks of one scenario and says why:

    [[difference]]
    revision = "2025-11-25"
    scenario = "server-sse-polling"
    checks = ["server-sse-retry-field"]
    reason = "..."
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.suite import Checks

MAX_DIFFERENCES = 5


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """Where two runs can differ: one check of one scenario at one revision."""

    revision: str
    scenario: str
    check: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What each of the two targets got at one spot."""

    spot: Spot
    direct: Mapping[str, int]
    governed: Mapping[str, int]

    def say(self) -> str:
        """One line for the person who reads the run."""
        spot = self.spot
        both = f"directly {_say(self.direct)}, through the gateway {_say(self.governed)}"
        return f"{spot.revision} {spot.scenario} / {spot.check}: {both}"


@dataclass(frozen=True, slots=True)
class Agreed:
    """differences.toml: spot -> reason, for those that stay and those that wait."""

    stay: Mapping[Spot, str]
    wait: Mapping[Spot, str]


class BadDifferences(Exception):
    """differences.toml is not what it has to be."""


def _say(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "nothing"


def compare(revision: str, direct: Checks, governed: Checks) -> tuple[Difference, ...]:
    """Every spot where status or number of checks is not the same, in order."""
    none: Counter[str] = Counter()
    found = []
    for scenario in sorted({*direct, *governed}):
        left, right = direct.get(scenario, {}), governed.get(scenario, {})
        for check in sorted({*left, *right}):
            one, other = left.get(check, none), right.get(check, none)
            if one != other:
                found.append(Difference(Spot(revision, scenario, check), one, other))
    return tuple(found)


def read(path: Path) -> Agreed:
    """The agreed differences.

    Raises: BadDifferences, when an entry lacks its reason, is doubled, or there are too many.
    """
    document = tomllib.loads(path.read_text())
    if unknown := set(document) - {"difference", "later"}:
        raise BadDifferences(f"{path.name}: unknown section {min(unknown)}")
    stay = _entries(document.get("difference", []))
    if len(stay) > MAX_DIFFERENCES:
        raise BadDifferences(f"{path.name}: {len(stay)} differences, {MAX_DIFFERENCES} may stay")
    wait = _entries(document.get("later", []))
    if doubled := stay.keys() & wait.keys():
        raise BadDifferences(f"{path.name}: {min(doubled)} is in both sections")
    return Agreed(stay, wait)


def _entries(listed: Iterable[Mapping[str, Any]]) -> dict[Spot, str]:
    found: dict[Spot, str] = {}
    for entry in listed:
        if set(entry) != {"revision", "scenario", "checks", "reason"} or not entry["reason"]:
            raise BadDifferences(f"needs revision, scenario, checks and reason: {dict(entry)}")
        for check in entry["checks"]:
            spot = Spot(entry["revision"], entry["scenario"], check)
            if spot in found:
                raise BadDifferences(f"listed twice: {spot}")
            found[spot] = entry["reason"]
    return found


def judge(found: Iterable[Difference], agreed: Agreed) -> tuple[str, ...]:
    """What is wrong, one sentence each: a difference nobody agreed to, or one that is gone."""
    spots = {difference.spot: difference for difference in found}
    known = {**agreed.stay, **agreed.wait}
    new = [f"not agreed: {spots[spot].say()}" for spot in sorted(spots.keys() - known.keys())]
    gone = [
        f"no longer differs, remove it from differences.toml: "
        f"{spot.revision} {spot.scenario} / {spot.check}"
        for spot in sorted(known.keys() - spots.keys())
    ]
    return (*new, *gone)
