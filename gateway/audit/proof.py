"""Proof of one entry, to hand to somebody who has nothing but the verifier key (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra eyJhY3QiOiJjYWxsIi4uLn0=
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=

    customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e
    109482
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e hI2DJw...

`extra` is the entry itself. Unlike other extra data it is authenticated: its hash is the leaf.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.audit import checkpoint
from gateway.audit.checkpoint import BadCheckpoint, BadSignature, Checkpoint, Opener, unbase64
from gateway.audit.copy import Row
from gateway.audit.merkle import (
    HASH_BYTES,
    Frontier,
    inclusion_ranges,
    leaf_hash,
    verify_inclusion,
)

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")
_MAX_NODES = 64


class NotProvable(ValueError):
    """The entries do not lead to the checkpoint, so nothing can be proved with it."""


class BadProof(ValueError):
    """A text is not a proof, or proves nothing."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a verified proof shows: that *body* is entry *index* of the log of this checkpoint."""

    index: int
    body: bytes
    checkpoint: Checkpoint


def prove(rows: Iterable[Row], index: int, note: bytes) -> str:
    """Return the proof that entry *index* is covered by the checkpoint *note*.

    *rows* are those of all entries, the first one first; they are read once, as far as the
    checkpoint covers them.
    Raises: NotProvable: it does not cover that entry, or the entries are not those it covers.
    BadCheckpoint: *note* is none.
    """
    stated = checkpoint.parse(note)
    if not 0 <= index < stated.size:
        raise NotProvable(f"the checkpoint covers {stated.size} entries, not entry {index}")
    body, nodes = _nodes(rows, index, stated.size)
    if not verify_inclusion(leaf_hash(body), index, stated.size, nodes, stated.root):
        raise NotProvable(f"the {stated.size} entries have another root than the checkpoint states")
    return written(index, body, nodes, note)


def written(index: int, body: bytes, nodes: Iterable[bytes], note: bytes) -> str:
    """Return a proof as text."""
    lines = [_FIRST_LINE, f"extra {_base64(body)}", f"index {index}", *map(_base64, nodes)]
    return "\n".join(lines) + "\n\n" + note.decode()


def verify_proof(text: str, keys: Opener) -> Proof:
    """Return what *text* proves.

    Raises: BadProof: it proves nothing; the sentence says why.
    """
    head, _, note = text.partition("\n\n")
    try:
        signed = keys.open(note.encode())
    except (BadCheckpoint, BadSignature, UnicodeEncodeError) as err:
        raise BadProof(f"its checkpoint does not hold: {err}") from err
    index, body, nodes = _parsed(head.split("\n"))
    if not verify_inclusion(leaf_hash(body), index, signed.size, nodes, signed.root):
        raise BadProof(f"the entry is not at index {index} under the root of its checkpoint")
    return Proof(index, body, signed)


def _nodes(rows: Iterable[Row], index: int, size: int) -> tuple[bytes, list[bytes]]:
    """Return the body at *index*, and the proof's nodes, hashing only the ranges they span."""
    found = b""
    subtrees = {span: Frontier() for span in inclusion_ranges(index, size)}
    spans = iter([*sorted(subtrees), (size, size)])
    low, high = next(spans)
    end = 0
    for end, (at, _, _, _, body) in enumerate(rows, start=1):
        if at != end - 1:
            raise NotProvable(f"entry {end - 1} is missing")
        if at == high:
            low, high = next(spans)
        if at == index:
            found = body
        elif low <= at:
            subtrees[low, high].append(leaf_hash(body))
        if end == size:
            break
    if end < size:
        raise NotProvable(f"the checkpoint covers {size} entries, there are {end}")
    return found, [subtree.root() for subtree in subtrees.values()]


def _parsed(lines: list[str]) -> tuple[int, bytes, list[bytes]]:
    if len(lines) < 3 or lines[0] != _FIRST_LINE:
        raise BadProof(f"the first line of a proof is {_FIRST_LINE}")
    word, _, extra = lines[1].partition(" ")
    body = unbase64(extra) if word == "extra" else None
    if body is None:
        raise BadProof("the second line of this proof is the entry: extra, then base64")
    index = _INDEX.fullmatch(lines[2])
    if index is None:
        raise BadProof("the third line of a proof is its index, in decimal")
    nodes = [unbase64(line) for line in lines[3:]]
    hashes = [node for node in nodes if node is not None and len(node) == HASH_BYTES]
    if len(hashes) < len(nodes) or len(nodes) > _MAX_NODES:
        raise BadProof("after the index come hashes, of 32 bytes in base64")
    return int(index[1]), body, hashes


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()
