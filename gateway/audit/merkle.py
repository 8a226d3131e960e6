"""RFC 6962 Merkle tree arithmetic: leaf and node hashes, the growing edge of a tree, and proofs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

_SIZE_BYTES = 8


class BadFrontier(ValueError):
    """Stored bytes are not a frontier that `Frontier.to_bytes` could have written."""


class Frontier:
    """The right edge of a tree: enough to append leaves and to tell the root, nothing more.

    Holds one hash for each complete subtree, the largest first: as many as `size` has one-bits.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf (`leaf_hash` of its bytes)."""
        index = self._size
        self._size = index + 1
        while index & 1:
            leaf = sha256(b"\x01" + self._peaks.pop() + leaf).digest()
            index >>= 1
        self._peaks.append(leaf)

    def root(self) -> bytes:
        """Return the Merkle tree hash of everything appended so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = sha256(b"\x01" + peak + root).digest()
        return root

    def copy(self) -> Frontier:
        """Return an independent frontier: append to one, the other stays."""
        twin = Frontier()
        twin._size = self._size
        twin._peaks = self._peaks.copy()
        return twin

    def to_bytes(self) -> bytes:
        """Return the size (8 bytes, big endian) and the peaks (32 bytes each, largest first)."""
        return self._size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Frontier:
        """Return the frontier that `to_bytes` wrote.

        Raises: BadFrontier: the length is not the one that the size demands.
        """
        size = int.from_bytes(stored[:_SIZE_BYTES], "big")
        expected_bytes = _SIZE_BYTES + HASH_BYTES * size.bit_count()
        if len(stored) != expected_bytes:
            raise BadFrontier(
                f"a frontier of {size} leaves takes {expected_bytes} bytes, {len(stored)} are stored"
            )
        frontier = cls()
        frontier._size = size
        frontier._peaks = [
            stored[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, len(stored), HASH_BYTES)
        ]
        return frontier


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of one entry's bytes (RFC 6962 s2.1: the 0x00 keeps leaves from being nodes)."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def tree_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over *leaf_hashes*."""
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf)
    return frontier.root()


# Proofs are lists of subtree roots. Which subtrees, as ranges of leaves, depends on indexes alone;
# whoever streams a log can therefore hash just those ranges without holding the leaves.
Ranges = list[tuple[int, int]]


def inclusion_ranges(index: int, size: int) -> Ranges:
    """Return the leaf ranges whose roots prove leaf *index* in a tree of *size* (RFC 9162 s2.1.3.1).

    Raises: ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    ranges: Ranges = []
    low, high = 0, size
    while high - low > 1:
        middle = low + split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    ranges.reverse()
    return ranges


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Return whether *proof* shows that *leaf* is at *index* under *root* (RFC 9162 s2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and computed == root


def split(size: int) -> int:
    """Return the largest power of two below *size* (for sizes above 1)."""
    return 1 << ((size - 1).bit_length() - 1)
