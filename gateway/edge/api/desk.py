"""What the API asks of the house: to look, and to carry out, each within the asker's reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.domain.model import Call, Principal

EVERY_TENANT = ""
FROM_THE_START = ""


class Stale(Exception):
    """The resource is not what the asker saw; nothing was changed."""


class Withdrawn(Exception):
    """The asker lost the right, or the credential, since the request came in."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Errand:
    """Who wants what, and how far that one sees: one tenant, or EVERY_TENANT."""

    principal: Principal
    tenant: str
    operation: str
    args: Mapping[str, Any] = field(default_factory=dict)
    after: str = FROM_THE_START  # of a list: the place of the last row that was seen
    most: int = 100
    holds: Callable[[], bool] = _never  # whether the asker still may, at this moment

    def reaches(self, tenant: str) -> bool:
        return self.tenant in (EVERY_TENANT, tenant)

    @property
    def author(self) -> str:
        """How the log knows who changed something, apart from an operator on the socket (`uid:`)."""
        return f"agent:{self.principal.subject}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found; of a list, the rows and the place of the last one if there are more."""

    value: Any
    after: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """A change is for one state only: the ETags that the asker gave, and the look that has one."""

    look: Errand
    etags: frozenset[str]


class Desk(Protocol):
    """Each method may raise OperationRefused: not done, and why."""

    def spans_tenants(self, call: Call) -> bool:
        """Whether the right to make *call* is one of every tenant, not of the caller's own."""
        ...

    async def look(self, errand: Errand) -> Found:
        """Read; nothing changes, but that a look at payloads is an entry.

        Raises: Withdrawn: before anything sealed was opened.
        """
        ...

    async def carry_out(
        self, errand: Errand, guard: Guard | None, holds: Callable[[], bool]
    ) -> Any:
        """Have one operation done, as one change at a time; *holds*: whether it still may be.

        Raises: Stale, Withdrawn.
        """
        ...
