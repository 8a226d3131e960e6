"""What a look at one thing in the house finds, and what there is to look at it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.config import Config


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # worth a person's look
    PROBLEM = "problem"  # something does not work, or is not safe


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    id: str
    level: Level
    what: str
    why: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        said = {"id": self.id, "level": str(self.level), "what": self.what}
        return said | {"why": self.why, "fix": self.fix}


def ok(check_id: str, what: str) -> Check:
    return Check(check_id, Level.OK, what)


def warning(check_id: str, what: str, why: str, fix: str) -> Check:
    return Check(check_id, Level.WARNING, what, why, fix)


def problem(check_id: str, what: str, why: str, fix: str) -> Check:
    return Check(check_id, Level.PROBLEM, what, why, fix)


@dataclass(frozen=True, slots=True)
class Patient:
    config: Config
    environ: Mapping[str, str]
    now_us: int
    health: Mapping[str, Any] | None  # as the gateway that runs says of itself; None: none runs

    @property
    def is_served(self) -> bool:
        return self.health is not None

    @property
    def failures(self) -> Mapping[str, str]:
        """Of servers."""
        found: Mapping[str, str] = (self.health or {}).get("failures", {})
        return found
