"""Wrong credentials at the page of an approval: a few a minute, from one address, at one page.

What is tried there has 256 random bits or a signature; this keeps the trying cheap for us.
"""

from __future__ import annotations

MOST = 10
MINUTE_US = 60 * 1_000_000
MAX_KEPT = 10_000


class Attempts:
    def __init__(self) -> None:
        self._failed: dict[tuple[str, str], tuple[int, int]] = {}  # since when, how often

    def wait_s(self, page: str, address: str, now_us: int) -> int:
        """How long nobody from there is heard at that page; 0: they are."""
        since_us, times = self._failed.get((page, address), (0, 0))
        left_us = since_us + MINUTE_US - now_us
        return -(-left_us // 1_000_000) if times >= MOST and left_us > 0 else 0

    def failed(self, page: str, address: str, now_us: int) -> None:
        lately_us = now_us - MINUTE_US
        if len(self._failed) >= MAX_KEPT:
            self._failed = {k: kept for k, kept in self._failed.items() if kept[0] > lately_us}
            if len(self._failed) >= MAX_KEPT:
                self._failed.clear()
        since_us, times = self._failed.get((page, address), (0, 0))
        self._failed[page, address] = (since_us, times + 1) if since_us > lately_us else (now_us, 1)
