"""Places for requests that are being carried out: few, and nobody takes all of them.

Each queue has its own: whoever has an emergency to end waits for nobody who searches the log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Final

from gateway.domain.model import Principal
from gateway.domain.operator import Exit, OperationRefused
from gateway.edge.api.routes import Queue

# Searches and proofs keep a thread for seconds; asyncio has 5 or more, and some are for the others.
AT_ONCE: Final[Mapping[Queue, int]] = MappingProxyType(
    {Queue.CHANGES: 4, Queue.LOOKS: 4, Queue.SEARCHES: 3, Queue.PROOFS: 1}
)
WAIT_S = 10.0


class Places:
    """Those of one queue."""

    def __init__(self, queue: Queue) -> None:
        self.at_once = AT_ONCE[queue]
        self.of_tenant = max(1, self.at_once - 1)
        self.of_one = max(1, self.at_once - 2)  # of one principal
        self._shares: dict[tuple[str, ...], asyncio.Semaphore] = {}
        self._using: Counter[tuple[str, ...]] = Counter()  # who has or waits for a place of it

    @asynccontextmanager
    async def taken(self, who: Principal) -> AsyncIterator[None]:
        """With a place for *who*, or: Raises: OperationRefused: there was none for a while."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_S):
                    # The narrowest first: whoever waits for it keeps nobody else's place.
                    await held.enter_async_context(self._of(self.of_one, who.tenant, who.subject))
                    await held.enter_async_context(self._of(self.of_tenant, who.tenant))
                    await held.enter_async_context(self._of(self.at_once))
            except TimeoutError:
                raise OperationRefused(
                    "too many requests at once",
                    f"of this kind the gateway carries out {self.at_once}, {self.of_tenant} of one"
                    f" tenant and {self.of_one} of one principal",
                    "repeat the request in a moment",
                    Exit.UNREACHABLE,
                ) from None
            yield

    @asynccontextmanager
    async def _of(self, most: int, *share: str) -> AsyncIterator[None]:
        """A place of *share*, which is kept in mind while anybody asks for one."""
        places = self._shares.setdefault(share, asyncio.Semaphore(most))
        self._using[share] += 1
        try:
            async with places:
                yield
        finally:
            self._using[share] -= 1
            if not self._using[share]:
                del self._using[share], self._shares[share]
