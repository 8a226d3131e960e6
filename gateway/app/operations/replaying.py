"""Deciding recorded calls once more, each under the policy version that it was decided under.

What the log does not hold cannot be replayed, and is counted by its reason instead of being guessed:
arguments that were too large or are erased, tags that have changed since.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.app.operations.query import Query
from gateway.app.operations.reading import Reading
from gateway.app.operations.recalling import (
    TAGGED,
    TIMED,
    Decided,
    Missing,
    Open,
    Recall,
    agrees,
    looks_at,
    verdict_of,
)
from gateway.app.operations.search import matching
from gateway.audit import entry as entries
from gateway.domain.model import Decision
from gateway.policy.files import unbundle
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import compile as compile_policy
from gateway.policy.snapshot import Snapshot, builtin_deny_all
from gateway.store.log import CLOCK_TOLERANCE_US
from gateway.store.trail import Trail

MAX_SHOWN = 100
_SHOWN = ("leaf", "at", "call", "agent", "object")
_VERSIONS = 16  # kept compiled: calls come in the order of time


@dataclass(slots=True)
class Replay:
    """What came of it."""

    agree: int = 0
    differ: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)  # at most MAX_SHOWN
    not_replayed: Counter[str] = field(default_factory=Counter)  # why -> how many

    def as_json(self) -> dict[str, Any]:
        return {
            "agree": self.agree,
            "differ": self.differ,
            "not_replayed": dict(sorted(self.not_replayed.items())),
            "differences": self.differences,
        }


def replay(trail: Trail, reading: Reading, query: Query, open_payload: Open) -> Replay:
    """Decide every call that fits *query* again. *open_payload* is asked only where it matters."""
    replayed = Replay()
    judge = _Judge(trail, Recall(trail, reading, open_payload))
    for entry, row in matching(trail, query, trail.oldest_first):
        if not isinstance(entry, entries.Intent | entries.Refused) or not entry.policy:
            continue  # refused before policy was asked, or no call
        try:
            difference = judge.difference(entry)
        except Missing as missing:
            replayed.not_replayed[str(missing)] += 1
            continue
        if not difference:
            replayed.agree += 1
            continue
        replayed.differ += 1
        if len(replayed.differences) < MAX_SHOWN:
            known: dict[str, Any] = {key: row[key] for key in _SHOWN if key in row}
            replayed.differences.append({**known, "policy": entry.policy, **difference})
    return replayed


class _Judge:
    def __init__(self, trail: Trail, recall: Recall) -> None:
        self._trail = trail
        self._recall = recall
        self._compiled = lru_cache(_VERSIONS)(self._compile)

    def difference(self, entry: Decided) -> dict[str, Any]:
        """What is decided otherwise now; nothing when all is as the log has it.

        Raises: Missing.
        """
        snapshot, recalled = self._snapshot(entry.policy), self._recall.recalled(entry)
        decision = self._recall.decide(snapshot, recalled)
        found = _differing(entry, decision)
        if found and looks_at(snapshot, decision, TIMED):
            # It was decided a moment before it was entered, at most by what the clock may be off.
            early = snapshot.decide(recalled.call, entry.t - CLOCK_TOLERANCE_US)
            found = found if _differing(entry, early) else {}
        if found and looks_at(snapshot, decision, TAGGED):
            raise Missing("it depended on tags of the tool, which are not in the log")
        return found

    def _snapshot(self, version: str) -> Snapshot:
        compiled = self._compiled(version)
        if isinstance(compiled, str):
            raise Missing(compiled)
        return compiled

    def _compile(self, version: str) -> Snapshot | str:
        """The policy of that version, or why there is none."""
        bundle = self._trail.policy_bundle(version)
        if bundle is None:
            built_in = builtin_deny_all()
            return built_in if built_in.version == version else "its policy version is not stored"
        try:
            snapshot = compile_policy(*unbundle(bundle))
        except (PolicyInvalid, ValueError):
            return "its policy version cannot be read by this program"
        is_it = snapshot.version == version
        return snapshot if is_it else "what is stored of its policy version is not that version"


def _differing(entry: Decided, decision: Decision) -> dict[str, Any]:
    """What of the decision is not as the entry has it, as pairs of then and now."""
    pairs: dict[str, tuple[Any, Any]] = {
        "rule": (entry.rule, decision.rule),
        "conditions": (dict(entry.conds), dict(decision.conditions)),
    }
    if not agrees(entry, decision.verdict):
        pairs["verdict"] = (str(verdict_of(entry)), str(decision.verdict))
    return {key: {"then": a, "now": b} for key, (a, b) in pairs.items() if a != b}
