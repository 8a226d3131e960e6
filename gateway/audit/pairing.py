"""Which entries belong together: opens and closes of the log, intents and their outcomes."""

from __future__ import annotations

from gateway.audit.findings import Code, Findings
from gateway.audit.grammar import Line
from gateway.audit.rotation import Keys

ORIGIN_PREFIX = "customhouse/"  # then the id of the log
# Why a recovery was: after a failed commit the process went on, and its calls stayed in flight.
WENT_ON = b"commit"

# What is known of each leaf.
_NO_INTENT, _IN_FLIGHT, _CLOSED, _UNREAD = range(4)


class Pairing:
    """Takes the lines of one log in order, and judges each by those before it."""

    def __init__(self, keys: Keys, findings: Findings) -> None:
        self._keys = keys
        self._findings = findings
        self._leaves = bytearray()
        self._in_flight: dict[int, bytes] = {}  # intent -> its call
        self._last_kind = ""
        self._resumed_at = 0  # what is in flight was begun after this leaf

    def take(self, leaf: int, line: Line, at_us: int) -> None:
        """Judge the line at *leaf*, the next one."""
        kind = line.kind
        self._leaves.append(_NO_INTENT)
        if self._last_kind in ("", "close"):
            self._begin(leaf, kind)
        self._last_kind = kind
        if kind == "intent":
            self._leaves[leaf] = _IN_FLIGHT
            self._in_flight[leaf] = line.call
        elif kind == "outcome":
            self._outcome(leaf, line)
        elif kind == "open":
            self._open(leaf, line)
        elif kind == "recovery" and line.taken[0] != WENT_ON:
            self._resumed_at = leaf

    def leave_out(self, count: int) -> None:
        """Pass over *count* leaves that are missing or cannot be read."""
        self._leaves.extend(bytes((_UNREAD,)) * count)
        self._last_kind = self._last_kind or "unread"

    def finish(self) -> int:
        """Judge what is still open at the end; return how many intents are in flight."""
        until = len(self._leaves) if self._last_kind == "close" else self._resumed_at
        unpaired = [leaf for leaf in self._in_flight if leaf < until]
        for leaf in unpaired:
            self._findings.add(
                Code.UNPAIRED_INTENT,
                f"intent {leaf} was never closed, though the log was taken up again or closed since",
                leaf,
            )
        return len(self._in_flight) - len(unpaired)

    def _begin(self, leaf: int, kind: str) -> None:
        if self._last_kind == "" and kind != "open":
            self._findings.add(
                Code.NOT_OPENED, f"the log begins with a {kind} entry instead of an open", leaf
            )
        elif self._last_kind == "close" and kind not in ("open", "recovery"):
            self._findings.add(
                Code.AFTER_CLOSE, f"entry {leaf} follows a close, and is no open", leaf
            )

    def _open(self, leaf: int, line: Line) -> None:
        self._resumed_at = leaf
        key, log = (text.decode() for text in line.taken)
        vkey = self._keys.at(leaf)
        if ORIGIN_PREFIX + log != vkey.name or key != vkey.id:
            self._findings.add(
                Code.ANOTHER_LOG,
                f"open entry {leaf} is of log {log}, signed by {key}; the key to verify with "
                f"is {vkey.id}",
                leaf,
            )

    def _outcome(self, leaf: int, line: Line) -> None:
        intent = int(line.taken[0])
        if self._in_flight.get(intent) == line.call:
            del self._in_flight[intent]
            self._leaves[intent] = _CLOSED
            return
        known = self._leaves[intent] if intent < leaf else _NO_INTENT
        if known == _CLOSED:
            self._findings.add(
                Code.SECOND_OUTCOME, f"outcome {leaf} closes intent {intent} a second time", leaf
            )
        elif known != _UNREAD:
            self._findings.add(
                Code.OUTCOME_WITHOUT_INTENT,
                f"outcome {leaf} names entry {intent}, which is no intent of its call",
                leaf,
            )
