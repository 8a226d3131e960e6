"""How often somebody may come to the token endpoint: one bucket each, in memory, bounded."""

from __future__ import annotations

from gateway.domain.rate import Rate, take

MAX_KNOWN = 10_000


class Pace:
    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tat_us: dict[str, int] = {}

    def wait_us(self, who: str, now_us: int) -> int:
        """How long *who* has to wait; 0: not at all. Nothing is counted."""
        return take(self._tat_us.get(who, 0), self._rate, now_us)[1]

    def count(self, who: str, now_us: int) -> int:
        """Count one more of *who*; how long it has to wait instead, 0: not at all."""
        if len(self._tat_us) >= MAX_KNOWN and who not in self._tat_us:
            self._forget(now_us)
        self._tat_us[who], wait_us = take(self._tat_us.get(who, 0), self._rate, now_us)
        return wait_us

    def _forget(self, now_us: int) -> None:
        """Those whose bucket is empty again, and if there are none, the one that soon will be."""
        self._tat_us = {who: tat_us for who, tat_us in self._tat_us.items() if tat_us > now_us}
        if len(self._tat_us) >= MAX_KNOWN:
            del self._tat_us[min(self._tat_us, key=self._tat_us.__getitem__)]
