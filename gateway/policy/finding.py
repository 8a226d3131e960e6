"""What the linter says of a policy, for people: where, what, why and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SHOWN_FINDINGS = 20


class Level(StrEnum):
    """An error keeps the policy from being loaded; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One remark. `line` is 0 when it concerns a whole file."""

    file: str
    line: int
    level: Level
    what: str
    why: str
    fix: str

    def say(self) -> str:
        """Three lines: what and where, why it matters, what to do."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.level}: {place}: {self.what}\n  why: {self.why}\n  fix: {self.fix}"


class PolicyInvalid(Exception):
    """This policy must not be loaded; `findings` says why, errors and warnings alike."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        errors = [finding for finding in self.findings if finding.level is Level.ERROR]
        shown = [finding.say() for finding in errors[:SHOWN_FINDINGS]]
        if len(errors) > SHOWN_FINDINGS:
            shown.append(f"and {len(errors) - SHOWN_FINDINGS} more errors")
        super().__init__("the policy is invalid and was not loaded\n" + "\n".join(shown))


def error(file: str, line: int, what: str, why: str, fix: str) -> Finding:
    """A finding that keeps the policy from being loaded."""
    return Finding(file, line, Level.ERROR, what, why, fix)


def warning(file: str, line: int, what: str, why: str, fix: str) -> Finding:
    """A finding that is worth a look, but stops nothing."""
    return Finding(file, line, Level.WARNING, what, why, fix)
