"""One pass over the rows of a log, which says of each row alone whether it is in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.audit import grammar
from gateway.audit.copy import Row
from gateway.audit.findings import Code, Findings
from gateway.audit.grammar import Line
from gateway.audit.statements import Statements

MAX_GAP = 1_000_000  # nothing behind a larger hole is read: something is kept for each leaf


class Reader(Protocol):
    """Judges what lines mean together. Hears of every leaf once, in order."""

    def take(self, leaf: int, line: Line, at_us: int) -> None:
        """Take the next leaf; *at_us* is its time, or that of an earlier one if that is later."""
        ...

    def leave_out(self, count: int) -> None:
        """Pass over the next *count* leaves, which are missing or cannot be read."""
        ...


class Walk:
    """Goes over the rows once: grows the tree, counts the kinds, tells the readers."""

    def __init__(
        self, findings: Findings, statements: Statements, readers: Sequence[Reader]
    ) -> None:
        self._findings = findings
        self._statements = statements
        self._readers = readers
        self._lost = False  # behind a hole that is too large
        self.kinds: Counter[str] = Counter()
        self.end = 0  # index after the last entry
        self.last_us = 0

    def over(self, rows: Iterable[Row]) -> None:
        """Read every row. The usual one, of which nothing is to be said, takes the short way."""
        read, grow, kinds = grammar.read, self._statements.grow, self.kinds
        takes = [reader.take for reader in self._readers]
        for row in rows:
            index, at_us, kind, call, body = row
            if index != self.end and not self._jump(index):
                continue
            grow(body)
            self.end = index + 1
            line = read(kind, body)
            if line is None or line[1:4] != (index, at_us, call) or at_us < self.last_us:
                line = self._doubtful(row, line)
            else:
                self.last_us = at_us
            if line is None:
                self._leave_out(1)
                continue
            kinds[line.kind] += 1
            for take in takes:
                take(index, line, self.last_us)

    def _leave_out(self, count: int) -> None:
        for reader in self._readers:
            reader.leave_out(count)

    def _jump(self, index: int) -> bool:
        """Note that *index* is not the next one; return whether its row can be read at all."""
        self._statements.interrupt()
        missing = index - self.end
        if missing < 0:
            self._findings.add(
                Code.REORDERED, f"entry {index} comes where {self.end} belongs", index
            )
            return False
        if self._lost:
            return False
        one = missing == 1
        what = f"entry {self.end} is" if one else f"entries {self.end} to {index - 1} are"
        self._findings.add(Code.REMOVED, f"{what} missing", self.end)
        self._lost = missing > MAX_GAP
        if not self._lost:
            self._leave_out(missing)
        return not self._lost

    def _doubtful(self, row: Row, line: Line | None) -> Line | None:
        """Say what is wrong with a row; return its line, if there is one to go on with."""
        index, at_us, kind, call, body = row
        if line is None:
            line = self._misread(index, kind, body)
        elif (at_us, call) != (line.at_us, line.call):
            self._misfiled(index, "time or call")
        if line is None:
            return None
        if line.leaf != index:
            self._findings.add(
                Code.REORDERED, f"entry {index} says that it was written as {line.leaf}", index
            )
        if line.at_us < self.last_us:
            back_us = self.last_us - line.at_us
            self._findings.add(
                Code.REORDERED, f"entry {index} is {back_us} us older than one before it", index
            )
        self.last_us = max(self.last_us, line.at_us)
        return line

    def _misread(self, index: int, kind: bytes, body: bytes) -> Line | None:
        """Find out why *body* is no entry of *kind*; return its line where it is one of another."""
        claimed = grammar.kind_of(body)
        line = grammar.read(claimed, body) if claimed != kind else None
        if line is not None:
            self._misfiled(index, "kind")
        elif claimed in grammar.KINDS:
            name = claimed.decode()
            self._findings.add(
                Code.NOT_CANONICAL, f"entry {index} is not in the form of its kind, {name}", index
            )
        else:
            name = ascii(claimed[:40].decode("latin-1"))
            self._findings.add(Code.UNKNOWN_KIND, f"entry {index} is of unknown kind {name}", index)
        return line

    def _misfiled(self, index: int, what: str) -> None:
        self._findings.add(
            Code.MISFILED, f"entry {index} is filed under another {what} than it states", index
        )
