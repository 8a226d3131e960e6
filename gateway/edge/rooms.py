"""How many of one thing each principal has open: whoever acts for many, or at many endpoints, is one."""

from __future__ import annotations

from collections import Counter

from gateway.domain.model import Principal
from gateway.domain.refusal import TOO_MANY_STREAMS, Refused

Who = tuple[str, str]  # tenant and subject


def who_of(principal: Principal) -> Who:
    return principal.tenant, principal.subject


class Rooms:
    def __init__(self, most: int) -> None:
        self._most = most  # of one principal
        self._taken: Counter[Who] = Counter()

    def left(self, who: Who) -> int:
        return self._most - self._taken[who]

    def take(self, who: Who) -> None:
        """Raises: Refused: TOO_MANY_STREAMS, which is not in the log yet."""
        if self.left(who) <= 0:
            raise Refused(TOO_MANY_STREAMS, detail={"limit": self._most})
        self._taken[who] += 1

    def give_back(self, who: Who) -> None:
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]
