"""Carrying out operations on one house: one change at a time, each with a clear answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from difflib import get_close_matches
from typing import Any

from gateway.app.house import House, open_house
from gateway.app.operations.faults import told
from gateway.app.operations.table import OPERATIONS, UNQUEUED
from gateway.config import Config
from gateway.domain.operator import OperationRefused, usage

First = Callable[[], Awaitable[None]]


class Administration:
    """One for a house. What it decides on must not change under it, so changes queue here."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._one_at_a_time = asyncio.Lock()

    async def operate(
        self, author: str, name: str, args: Mapping[str, Any], first: First | None = None
    ) -> Any:
        """Carry out operation *name*, *first* having been asked when it is its turn.

        Raises: OperationRefused: not done, and why. What *first* raises: not done.
        """
        operation = OPERATIONS.get(name)
        if operation is None:
            close = get_close_matches(name, OPERATIONS, n=1)
            fix = f"did you mean {close[0]}?" if close else f"known are: {', '.join(OPERATIONS)}"
            raise usage(f"there is no operation {name!a:.60}", fix)
        with said():
            if name in UNQUEUED:
                return await operation(self._house, author, args)
            async with self._one_at_a_time:
                if first is not None:
                    await first()
                return await operation(self._house, author, args)


@contextmanager
def said() -> Iterator[None]:
    """What the rooms of the house raise within this, as an operator is told it."""
    try:
        yield
    except OperationRefused:
        raise
    except Exception as err:
        no = told(err)
        if no is None:
            raise
        raise no from err


@asynccontextmanager
async def owned(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Administration]:
    """The house of *config*, owned for as long as this lasts: for commands without a server.

    Raises: as `open_house`.
    """
    async with open_house(config, environ) as house:
        await house.upstreams.start()
        try:
            yield Administration(house)
        finally:
            await house.upstreams.stop()
