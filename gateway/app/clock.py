"""The wall clock of the house."""

from __future__ import annotations

import time


def wall_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000
