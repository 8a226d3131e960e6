"""A change: durable first, in force after, and never one without the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.app.house import House
from gateway.domain.operator import Exit, OperationRefused
from gateway.store.writer import Effect


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of administration, and the rows that commit with it."""

    what: str
    author: str
    subject: str = ""
    about: str = ""  # an account, where what it is about has no name in the table of names
    digest: str = ""
    prior: str = ""
    note: str = ""  # why, in the operator's words: sealed, the leaf holds a commitment
    effects: Sequence[Effect] = ()


async def enter(house: House, change: Change, apply: Callable[[], object]) -> None:
    """Make *change* durable, then call *apply*, whatever becomes of the one who asked.

    Raises: LogUnavailable: nothing changed.
    """

    async def entered() -> None:
        await _durable(house, change)
        apply()

    await to_the_end(entered())


async def enter_all(
    house: House, changes: Sequence[Change], apply: Callable[[Sequence[int]], object]
) -> None:
    """Make all *changes* durable, in order, and call *apply* with the indexes of those that are.

    Raises: LogUnavailable: not all of them are; those that are, are in force.
    """

    async def entered() -> None:
        ends = await asyncio.gather(*(_durable(house, c) for c in changes), return_exceptions=True)
        apply([index for index, end in enumerate(ends) if end is None])
        for end in ends:
            if end is not None:
                raise end

    await to_the_end(entered())


async def to_the_end(entering: Coroutine[Any, Any, None]) -> None:
    """A task of its own, because cancelling the asker's must not come between entry and effect."""
    task = asyncio.get_running_loop().create_task(entering)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _durable(house: House, change: Change) -> None:
    await house.ledger.change(
        change.what,
        change.author,
        subject=change.subject,
        about=change.about,
        digest=change.digest,
        prior=change.prior,
        note=change.note,
        effects=change.effects,
    )


def nothing() -> None:
    """What an entry that only records has to apply."""


def conflict(what: str, why: str, fix: str) -> OperationRefused:
    """Somebody was there first."""
    return OperationRefused(what, why, fix, Exit.CONFLICT)


def refuse_frozen(house: House, what: str) -> None:
    """Raises: OperationRefused (conflict): the gateway runs frozen."""
    if house.registry.only is not None:
        raise conflict(
            f"{what} while the gateway runs frozen",
            "it was started with --frozen: it serves what stands in its lock file, and nothing else",
            "start it without --frozen, approve, and write the lock anew: customhouse tool lock",
        )


def unknown(kind: str, name: str, fix: str) -> OperationRefused:
    """There is nothing of this name."""
    return OperationRefused(
        f"there is no {kind} {name!a:.80}", f"no {kind} of this name is known here", fix, Exit.NO
    )
