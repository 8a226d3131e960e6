"""Evidence that an earlier key of a log signed, held against the log that is here.

A key that was handed over says nothing by itself any more: somebody may have it by now. So what it
signed counts only as far as the log, whose newest head the newest key signed, still says the same.
The rotations come from that log, each signed by both keys; no key is believed because of where it lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from gateway.audit import checkpoint, copy, rotation
from gateway.audit.checkpoint import BadCheckpoint, BadSignature, Checkpoint, Vkey
from gateway.audit.copy import NotReadable, Row
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.audit.rotation import BadRotation, Keys


class Succession:
    """Opens checkpoints with the trusted key, or with one whose rotations lead to it."""

    def __init__(self, vkey: Vkey, database: Path | None) -> None:
        """*database*: of the log that is here; None: there is none, and *vkey* stands alone."""
        self.vkey = vkey
        self._database = database
        self._earlier: dict[bytes, Vkey | None] = {}  # of notes that were held against the log

    def open(self, note: bytes) -> Checkpoint:
        """What *note* states. Raises: BadCheckpoint, BadSignature: as `checkpoint.open`."""
        return checkpoint.open(note, self.key_for(note))

    def key_for(self, note: bytes) -> Vkey:
        """The earlier key that vouches for *note*, when the log here bears it out; else the trusted one."""
        with suppress(BadCheckpoint, BadSignature):
            checkpoint.open(note, self.vkey)
            return self.vkey
        # Whether a key of the chain signed it comes first: only then is the whole log read.
        with suppress(BadCheckpoint, BadSignature):
            stated = self._keys.open(note)
            if note not in self._earlier:
                self._earlier[note] = self._borne_out(stated)
        return self._earlier.get(note) or self.vkey

    @cached_property
    def _keys(self) -> Keys:
        """The keys of the log here; the trusted one alone where they do not lead to it."""
        alone = Keys(self.vkey)
        if self._database is None:
            return alone
        try:
            with copy.opened(self._database) as connection:
                return Keys(self.vkey, rotation.among(copy.rotations(connection)))
        except (BadRotation, NotReadable):
            return alone

    def _borne_out(self, stated: Checkpoint) -> Vkey | None:
        if self._database is None:
            return None
        try:
            with copy.opened(self._database) as connection:
                head = copy.head(connection)
                newest = None if head is None else self._keys.open(head.note)
                if newest is None or newest.size < stated.size:
                    return None
                roots = _roots(copy.rows(connection), {stated.size, newest.size})
        except (BadCheckpoint, BadSignature, NotReadable):
            return None
        agree = all(roots.get(one.size) == one.root for one in (stated, newest))
        return self._keys.at(stated.size) if agree else None


def _roots(rows: Iterable[Row], sizes: set[int]) -> dict[int, bytes]:
    tree, roots = Frontier(), dict[int, bytes]()
    for index, _, _, _, body in rows:
        if index != tree.size:
            break
        tree.append(leaf_hash(body))
        if tree.size in sizes:
            roots[tree.size] = tree.root()
    return roots
