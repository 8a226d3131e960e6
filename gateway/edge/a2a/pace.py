"""How often a peer may tell: a rate of its own, so that nobody's calls are used up by what is told.

Each word has its bucket, and so has each peer: whoever holds many words tells no more by that.
"""

from __future__ import annotations

from gateway.domain.refusal import RATE_LIMITED, Refused

PER_WORD_S, BURST = 10, 20
PER_PEER_S, PEER_BURST = 100, 200
MAX_BUCKETS = 10_000
_ROUNDING_S = 1e-6
_MARK_CHARS = 40  # of a word: its seal comes first, and no two are alike


class Pace:
    """In memory; full again after a start."""

    def __init__(self) -> None:
        self._full_s: dict[tuple[str, str], float] = {}  # when each bucket would be full again

    def take(self, peer: str, word: str, now_s: float) -> None:
        """One event. Raises: Refused: RATE_LIMITED: it comes too soon; it may be told later."""
        buckets = (
            ((peer, word[:_MARK_CHARS]), PER_WORD_S, BURST),
            ((peer, ""), PER_PEER_S, PEER_BURST),
        )
        for key, per_s, burst in buckets:
            wait_s = self._full_s.get(key, 0.0) + 1 / per_s - now_s - burst / per_s
            if wait_s > _ROUNDING_S:
                wait_ms = int(wait_s * 1000) + 1
                raise Refused(
                    RATE_LIMITED, detail={"scope": "what a peer tells", "retry_after_ms": wait_ms}
                )
        for key, per_s, _ in buckets:
            if len(self._full_s) >= MAX_BUCKETS and key not in self._full_s:
                self._forget(now_s)
            self._full_s[key] = max(self._full_s.get(key, 0.0), now_s) + 1 / per_s

    def _forget(self, now_s: float) -> None:
        """Those that are full again, and if there are none, the one that soon will be."""
        self._full_s = {key: full_s for key, full_s in self._full_s.items() if full_s > now_s}
        if len(self._full_s) >= MAX_BUCKETS:
            del self._full_s[min(self._full_s, key=self._full_s.__getitem__)]
