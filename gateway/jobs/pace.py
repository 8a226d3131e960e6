"""How soon to look at a server that says it has changed: at once, but not at every word of it."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 60.0  # who listens to a list hears of a change at once


@dataclass(slots=True)
class _Looked:
    at_s: float
    pause_s: float


@dataclass(slots=True)
class Pace:
    """One for all servers. Times are those of one monotonic clock, in seconds.

    After a look a server has to wait; twice as long each time, for as long as it goes on. One
    that was quiet for twice its pause, and for a minute, begins anew: however a server spreads its
    changes, it is looked at less than five times a minute on average.
    """

    _looked: dict[str, _Looked] = field(default_factory=dict)

    def due_s(self, server: str) -> float:
        """When the next announced look at *server* may be."""
        looked = self._looked.get(server)
        return looked.at_s + looked.pause_s if looked else 0.0

    def looked(self, server: str, now_s: float) -> None:
        """Note that *server* is looked at now, because it announced a change."""
        before = self._looked.get(server)
        pause_s = FIRST_PAUSE_S
        if before is not None:
            quiet_s = max(2 * before.pause_s, LONGEST_PAUSE_S)
            if now_s < before.at_s + quiet_s:
                pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S)
        self._looked[server] = _Looked(now_s, pause_s)
