"""What the log's key has signed about the log, held against the entries that are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.audit.checkpoint import BadCheckpoint, BadSignature, Checkpoint
from gateway.audit.findings import Code, Findings
from gateway.audit.merkle import BadFrontier, Frontier, leaf_hash
from gateway.audit.rotation import Keys


@dataclass(frozen=True, slots=True)
class Head:
    """The one row of the table `head`, as stored."""

    size: int
    root: bytes
    frontier: bytes
    note: bytes


@dataclass(frozen=True, slots=True, order=True)
class _Statement:
    """At *size* entries the root was *root*: signed, so true once, or the key was misused."""

    size: int
    root: bytes
    source: str


class Statements:
    """Collects what was signed; then grows the tree and compares on the way; then judges."""

    def __init__(self, keys: Keys, findings: Findings) -> None:
        self._keys = keys
        self._findings = findings
        self._head: Checkpoint | None = None
        self._signed: list[_Statement] = []
        self._met = 0  # how many of them the tree has reached
        self._disagreeing: list[_Statement] = []
        self._agreed_size = 0
        self._wanted = -1  # the size of the next statement
        self.tree = Frontier()

    def add_head(self, head: Head | None) -> None:
        """Take the stored head; it must be what its own note states."""
        if head is None:
            self._findings.add(Code.HEAD_MISMATCH, "there is no signed head")
            return
        self._head = self._add(head.note, "the head")
        stated = (self._head.size, self._head.root) if self._head else (head.size, head.root)
        if stated != (head.size, head.root) or not _fits(head):
            self._findings.add(
                Code.HEAD_MISMATCH,
                f"the head is stored with size {head.size}, and its note, root and frontier "
                "do not all say the same",
            )

    def add_published(self, notes: Iterable[bytes]) -> None:
        """Take the published checkpoints."""
        last = b""
        for note in notes:
            if note != last:  # a quiet minute publishes the same note again
                self._add(note, "a published checkpoint")
            last = note

    def add_remembered(self, note: bytes) -> None:
        """Take a checkpoint that was kept elsewhere, out of reach of whoever has the database."""
        self._add(note, "the remembered checkpoint")

    def begin(self) -> None:
        """Start to grow: nothing is added from here on."""
        self._signed.sort()
        self._meet()

    def grow(self, body: bytes) -> None:
        """Append one entry to the tree, and compare its root with what was signed of it."""
        self.tree.append(leaf_hash(body))
        if self.tree.size == self._wanted:
            self._meet()

    def interrupt(self) -> None:
        """Note that leaves are missing here: no later root can be the signed one."""
        self._wanted = -1

    def judge(self, end: int) -> int:
        """Add what is found in a log of *end* entries; return how many statements were compared."""
        self._judge_roots()
        self._judge_contradictions()
        if self._signed and self._signed[-1].size > end:
            largest = self._signed[-1]
            self._findings.add(
                Code.TRUNCATED,
                f"{largest.source} covers {largest.size} entries, there are {end}: the last "
                f"{largest.size - end} were cut off",
                end,
            )
        if self._head is not None and self._head.size < end:
            self._findings.add(
                Code.UNSIGNED,
                f"the signed head covers {self._head.size} entries, there are {end}: the rest was "
                "added by somebody without the signing key",
                self._head.size,
            )
        return self._met

    def _add(self, note: bytes, source: str) -> Checkpoint | None:
        try:
            signed = self._keys.open(note)
        except (BadCheckpoint, BadSignature) as err:
            self._findings.add(Code.BAD_SIGNATURE, f"{source}: {err}")
            return None
        self._signed.append(_Statement(signed.size, signed.root, source))
        return signed

    def _meet(self) -> None:
        """Compare every statement for the size that the tree has."""
        size, root = self.tree.size, self.tree.root()
        while self._met < len(self._signed) and self._signed[self._met].size == size:
            statement = self._signed[self._met]
            if statement.root == root:
                self._agreed_size = size
            else:
                self._disagreeing.append(statement)
            self._met += 1
        self._wanted = self._signed[self._met].size if self._met < len(self._signed) else -1

    def _judge_roots(self) -> None:
        """Tell forks from alterations: only a fork has later statements that the entries fulfil."""
        forks = [one for one in self._disagreeing if one.size <= self._agreed_size]
        for fork in forks:
            self._findings.add(
                Code.FORKED,
                f"{fork.source} states another root at size {fork.size} than the entries have, "
                f"though the signed root at size {self._agreed_size} is theirs: "
                "the log's key signed two histories",
            )
        if len(forks) < len(self._disagreeing):
            first = self._disagreeing[len(forks)]
            self._findings.add(
                Code.ALTERED,
                f"{_between(self._agreed_size, first.size)} not as it was signed: {first.source} "
                f"states another root at size {first.size} than the entries have",
            )

    def _judge_contradictions(self) -> None:
        """Find two roots signed for one size, which needs no entries at all."""
        reported = {one.size for one in self._disagreeing if one.size <= self._agreed_size}
        for one, other in zip(self._signed, self._signed[1:], strict=False):
            if one.size == other.size and one.root != other.root and one.size not in reported:
                reported.add(one.size)
                self._findings.add(
                    Code.FORKED,
                    f"{one.source} and {other.source} are signed for size {one.size}, "
                    "with different roots",
                )


def _fits(head: Head) -> bool:
    try:
        frontier = Frontier.from_bytes(head.frontier)
    except BadFrontier:
        return False
    return (frontier.size, frontier.root()) == (head.size, head.root)


def _between(agreed_size: int, size: int) -> str:
    if size - agreed_size == 1:
        return f"entry {agreed_size} is"
    return f"at least one of the entries {agreed_size} to {size - 1} is"
