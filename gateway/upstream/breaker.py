"""Circuit breaker: after several failures in a row, calls fail at once until one probe succeeds.

    closed --N failures--> open --open_s--> half-open --probe ok--> closed
                            ^------------------ probe failed ---'

Pure: no clock and no I/O; *now_s* is any monotonic number of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Breaker:
    """One per upstream. Every `admit` that said yes is followed by exactly one verdict on it."""

    max_failures: int
    open_s: float
    failures: int = field(default=0, init=False)
    open_until_s: float = field(default=0.0, init=False)
    probing: bool = field(default=False, init=False)

    def admit(self, now_s: float) -> bool:
        """Whether a call may go through now; the first one after the pause is the only probe."""
        if self.failures < self.max_failures:
            return True
        if self.probing or now_s < self.open_until_s:
            return False
        self.probing = True
        return True

    def succeeded(self) -> None:
        self.failures = 0
        self.probing = False

    def failed(self, now_s: float) -> None:
        self.failures += 1
        self.probing = False
        if self.failures >= self.max_failures:
            self.open_until_s = now_s + self.open_s

    def abandoned(self) -> None:
        """The call ended without a verdict on the upstream, e.g. its caller left."""
        self.probing = False

    def state(self, now_s: float) -> BreakerState:
        if self.failures < self.max_failures:
            return BreakerState.CLOSED
        if self.probing or now_s >= self.open_until_s:
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN
