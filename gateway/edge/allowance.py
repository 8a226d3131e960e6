"""How much one principal may have read in a while: large bodies, and messages that were none.

Rates and budgets are judged on calls. What costs time before there is a call is charged here.
"""

from __future__ import annotations

from gateway.domain.model import Principal
from gateway.domain.refusal import RATE_LIMITED, Refused

BURST_BYTES = 32 * 1024 * 1024
BYTES_PER_S = 4 * 1024 * 1024
FREE_BYTES = 16_384  # a body of so much costs no more than any request
REFUSED_BYTES = 65_536  # what a refusal at the door is charged as
MAX_PRINCIPALS = 10_000

_BURST_S = BURST_BYTES / BYTES_PER_S


class Allowances:
    """One bucket for each principal that has used any of it; in memory, full again after a start."""

    def __init__(self) -> None:
        self._full_s: dict[tuple[str, str], float] = {}  # when each would be full again

    def check(self, principal: Principal, now_s: float) -> None:
        """Raises: Refused: RATE_LIMITED: the allowance of *principal* is used up."""
        if not self._full_s:
            return
        wait_s = self._full_s.get((principal.tenant, principal.subject), 0.0) - now_s - _BURST_S
        if wait_s > 0:
            wait_ms = int(wait_s * 1000) + 1
            raise Refused(
                RATE_LIMITED, detail={"scope": "request bodies", "retry_after_ms": wait_ms}
            )

    def charge(self, principal: Principal, used_bytes: int, now_s: float) -> None:
        """Take *used_bytes*; what is used beyond the allowance is waited for before the next."""
        of = principal.tenant, principal.subject
        if len(self._full_s) >= MAX_PRINCIPALS and of not in self._full_s:
            self._forget(now_s)
        self._full_s[of] = max(self._full_s.get(of, 0.0), now_s) + used_bytes / BYTES_PER_S

    def _forget(self, now_s: float) -> None:
        """Those that are full again, and if there are none, the one that soon will be."""
        self._full_s = {of: full_s for of, full_s in self._full_s.items() if full_s > now_s}
        if len(self._full_s) >= MAX_PRINCIPALS:
            del self._full_s[min(self._full_s, key=self._full_s.__getitem__)]
