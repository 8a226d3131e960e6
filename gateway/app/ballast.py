"""Room on the disk: calls are admitted while there is enough, and what was admitted can settle.

Below the floor nothing more is admitted. What is under way still has its outcome to write, and
other programs may take the rest of the disk; so a file of 64 MiB is kept that is given up then. It
is made again when there is room for it above the floor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.store.engine import free_bytes

FLOOR_BYTES = 256 * 1024 * 1024
SIZE_BYTES = 64 * 1024 * 1024
FILE = "ballast"
log = structlog.get_logger("customhouse.disk")


@dataclass(slots=True)
class Ballast:
    """The file in *folder*. Sizes and the reading of the disk are arguments for tests only."""

    folder: Path
    floor_bytes: int = FLOOR_BYTES
    size_bytes: int = SIZE_BYTES
    free: Callable[[Path], int] = free_bytes
    _admitting: bool = True

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def tend(self, *, full: bool) -> bool:
        """Look once; returns whether calls may be admitted. *full*: a commit found no room."""
        free = self.free(self.folder)
        if (full or free < self.size_bytes) and self.path.exists():
            self.path.unlink()
            log.warning("ballast_released", free_bytes=free, why="calls under way have to settle")
        elif not full and free >= self.floor_bytes + self.size_bytes and not self.path.exists():
            self._take()
        admitting = free >= self.floor_bytes
        if admitting is not self._admitting:
            event = "disk_has_room" if admitting else "disk_low"
            log.warning(event, free_bytes=free, needed_bytes=self.floor_bytes)
        self._admitting = admitting
        return admitting

    def _take(self) -> None:
        """Allocated, not only as long as that: a hole would be no room."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            finally:
                os.close(descriptor)
        except OSError as err:  # it got full meanwhile, or the disk has quotas
            log.warning("no_ballast", error=type(err).__name__)
            with suppress(FileNotFoundError):
                self.path.unlink()
