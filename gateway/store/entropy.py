"""Random bytes, drawn in gulps: a system call for each salt cost more than all of its hashing."""

from __future__ import annotations

import os

GULP_BYTES = 8_192


class Entropy:
    """Unpredictable bytes, each handed out once. One instance per thread."""

    def __init__(self) -> None:
        self._gulp = b""
        self._at = 0

    def take(self, n_bytes: int) -> bytes:
        end = self._at + n_bytes
        if end > len(self._gulp):
            self._gulp, self._at, end = os.urandom(GULP_BYTES), 0, n_bytes
        taken = self._gulp[self._at : end]
        self._at = end
        return taken
