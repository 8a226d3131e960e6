"""What the edge asks of whoever keeps approvals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Bench(Protocol):
    def notice(self, approval_id: str) -> Mapping[str, Any] | None:
        """A row as the API has it, without arguments; None: there is none, or none any more."""
        ...

    def expires_us(self, approval_id: str) -> int:
        """Until when somebody can decide; 0: nobody can any more."""
        ...

    async def decided(self, approval_id: str, within_s: float) -> None:
        """Wait until somebody has decided, or that long."""
        ...
