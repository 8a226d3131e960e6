"""What the verifier finds: a stable code and a sentence for each, gathered in a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

KEPT_PER_CODE = 20  # a ruined log has a finding for each entry; the count tells the rest


class Code(StrEnum):
    """Names of findings. They are public: scripts and alerts depend on them."""

    ALTERED = "altered"
    NOT_CANONICAL = "not_canonical"
    UNKNOWN_KIND = "unknown_kind"
    MISFILED = "misfiled"
    REMOVED = "removed"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    UNSIGNED = "unsigned"
    FORKED = "forked"
    BAD_SIGNATURE = "bad_signature"
    HEAD_MISMATCH = "head_mismatch"
    OUTCOME_WITHOUT_INTENT = "outcome_without_intent"
    SECOND_OUTCOME = "second_outcome"
    UNPAIRED_INTENT = "unpaired_intent"
    OVERCHARGED = "overcharged"
    OVER_LIMIT = "over_limit"
    COUNTERS_DIFFER = "counters_differ"
    NOT_OPENED = "not_opened"
    AFTER_CLOSE = "after_close"
    ANOTHER_LOG = "another_log"
    RENAMED = "renamed"
    UNBACKED = "unbacked"
    BAD_ROTATION = "bad_rotation"
    NOT_ERASED = "not_erased"


MEANING: Mapping[Code, str] = {
    Code.ALTERED: "the entries are not those whose root was signed",
    Code.NOT_CANONICAL: "an entry is not in the one form in which entries are written",
    Code.UNKNOWN_KIND: "an entry is of a kind that no version up to this one writes",
    Code.MISFILED: "the columns beside an entry say something else than the entry",
    Code.REMOVED: "an index is missing between two entries",
    Code.REORDERED: "an entry is not where, or not when, it says it was written",
    Code.TRUNCATED: "a signed checkpoint covers more entries than there are",
    Code.UNSIGNED: "entries follow that the signed head does not cover",
    Code.FORKED: "the log's key signed two histories that exclude one another",
    Code.BAD_SIGNATURE: "a checkpoint is not signed by the log's key",
    Code.HEAD_MISMATCH: "the stored head is not what its own signature states",
    Code.OUTCOME_WITHOUT_INTENT: "an outcome names no intent of its call",
    Code.SECOND_OUTCOME: "an intent was closed twice",
    Code.UNPAIRED_INTENT: "an intent was never closed, though the log was recovered or closed",
    Code.OVERCHARGED: "more was charged than had been held",
    Code.OVER_LIMIT: "a hold exceeds the limit that its own intent states",
    Code.COUNTERS_DIFFER: "stored counters are not the sum of the entries before them",
    Code.NOT_OPENED: "the log does not begin with an open entry",
    Code.AFTER_CLOSE: "entries follow a close without an open or a recovery between",
    Code.ANOTHER_LOG: "an open entry names another log or another signing key",
    Code.RENAMED: "a pseudonym stands beside a name that it was not made for",
    Code.UNBACKED: "what is stored of agents, keys, servers and definitions is not what was entered",
    Code.BAD_ROTATION: "a change of the log's signing key is not one that both keys signed",
    Code.NOT_ERASED: "what an entry says was erased is there",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and at which leaf, where it is at one."""

    code: Code
    sentence: str
    leaf: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What verification saw. It is only as good as the key: see `gateway.audit.verify`."""

    entries: int
    root: bytes
    kinds: Mapping[str, int]  # entries of each kind
    findings: tuple[Finding, ...]  # at most KEPT_PER_CODE of each code
    counts: Mapping[Code, int]  # all of them
    in_flight: int  # intents after the last open or recovery that are not closed yet
    checkpoints_checked: int  # verified signatures whose size lies within the log
    charged: Mapping[str, int]  # by meter, over the whole log
    last_us: int  # time of the newest entry
    erasures: int = 0  # entries by which something beside the log was destroyed
    erased_payloads: int = 0  # by all of them
    erased_names: int = 0
    rotations: int = 0  # of the signing key

    @property
    def clean(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values for a JSON encoder."""
        return {
            "clean": self.clean,
            "entries": self.entries,
            "root": self.root.hex(),
            "kinds": dict(self.kinds),
            "in_flight": self.in_flight,
            "checkpoints_checked": self.checkpoints_checked,
            "charged": dict(self.charged),
            "last_us": self.last_us,
            "erasures": self.erasures,
            "erased_payloads": self.erased_payloads,
            "erased_names": self.erased_names,
            "rotations": self.rotations,
            "counts": {str(code): count for code, count in self.counts.items()},
            "findings": [
                {"code": str(one.code), "leaf": one.leaf, "sentence": one.sentence}
                for one in self.findings
            ],
        }


class Findings:
    """Gathers findings while a log is read."""

    def __init__(self) -> None:
        self._counts: Counter[Code] = Counter()
        self._kept: list[Finding] = []

    def add(self, code: Code, sentence: str, leaf: int | None = None) -> None:
        self._counts[code] += 1
        if self._counts[code] <= KEPT_PER_CODE:
            self._kept.append(Finding(code, sentence, leaf))

    def kept(self) -> tuple[Finding, ...]:
        """Return what was kept, by code in the order of `Code`, then in that of the log."""
        order = list(Code)
        return tuple(sorted(self._kept, key=lambda one: order.index(one.code)))

    def counted(self) -> Mapping[Code, int]:
        """Return how many there were of each code, in the order of `Code`."""
        return {code: self._counts[code] for code in Code if code in self._counts}
