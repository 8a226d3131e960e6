"""Proofs of many entries under one checkpoint: the log is hashed once, not once for each of them.

Kept are the roots of blocks of 256 entries, and of what stands above them: 16 MB for a hundred
million entries. Leaves are read again, a block at a time, where a proof goes down to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.audit import checkpoint
from gateway.audit.merkle import (
    EMPTY_ROOT,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    split,
    tree_hash,
)
from gateway.audit.proof import NotProvable, written

BLOCK = 256
Bodies = Callable[[int, int], list[bytes]]
"""The bodies of the entries from one index up to another."""


class Prover:
    def __init__(self, bodies: Bodies, note: bytes) -> None:
        """Read all that the checkpoint *note* covers.

        Raises: NotProvable: the entries are not those that it covers. BadCheckpoint: it is none.
        """
        stated = checkpoint.parse(note)
        self.size = stated.size
        self.note = note
        self._bodies = bodies
        self._blocks = [tree_hash(leaves) for leaves in self._read()]
        self._above: dict[tuple[int, int], bytes] = {}
        self._leaves: list[bytes] = []  # of the block that was looked at last
        self._block = -1
        root = self._root(0, self.size) if self.size else EMPTY_ROOT
        if root != stated.root:
            raise NotProvable(
                f"the {self.size} entries have another root than the checkpoint states"
            )

    def prove(self, index: int, body: bytes) -> str:
        """Return the proof that *body* is entry *index*, as `gateway.audit.proof` writes it.

        Raises: NotProvable: the checkpoint does not cover it, or another entry is there.
        """
        if not 0 <= index < self.size:
            raise NotProvable(f"the checkpoint covers {self.size} entries, not entry {index}")
        self._look_at(index // BLOCK)
        if self._leaves[index % BLOCK] != leaf_hash(body):
            raise NotProvable(f"entry {index} is another one than was given")
        nodes = [self._root(low, high) for low, high in inclusion_ranges(index, self.size)]
        return written(index, body, nodes, self.note)

    def prove_leaf(self, index: int) -> str:
        """Return the proof of the entry at *index*, whatever it is. Raises: NotProvable."""
        body, *_ = (*self._bodies(index, index + 1), b"")
        return self.prove(index, body)

    def _read(self) -> Iterator[list[bytes]]:
        for low in range(0, self.size, BLOCK):
            high = min(low + BLOCK, self.size)
            leaves = [leaf_hash(body) for body in self._bodies(low, high)]
            if len(leaves) < high - low:
                raise NotProvable(f"entries between {low} and {high} are missing")
            yield leaves

    def _root(self, low: int, high: int) -> bytes:
        if high - low < BLOCK and (low % BLOCK or high < self.size):
            self._look_at(low // BLOCK)
            start = low - self._block * BLOCK
            return tree_hash(self._leaves[start : start + high - low])
        if high - low <= BLOCK:
            return self._blocks[low // BLOCK]
        known = self._above.get((low, high))
        if known is None:
            middle = low + split(high - low)
            known = node_hash(self._root(low, middle), self._root(middle, high))
            self._above[low, high] = known
        return known

    def _look_at(self, block: int) -> None:
        if block != self._block:
            low = block * BLOCK
            bodies = self._bodies(low, min(low + BLOCK, self.size))
            self._leaves, self._block = [leaf_hash(body) for body in bodies], block
