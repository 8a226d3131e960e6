"""What an operator is told when something is not done: what, why, how to mend it, and the exit code.

Scripts depend on the codes; they are the same on the socket and on the command line.
"""

from __future__ import annotations

from enum import IntEnum

# True of every request that makes no sense, and no reason beside what is said: left out for people.
AS_IT_IS = "the request cannot be carried out as it is"


class Exit(IntEnum):
    """How a command ends."""

    YES = 0
    NO = 1  # a clean no: denied, tests failed, tampering found
    USAGE = 2
    INVALID = 3  # configuration, policy or log
    NOT_OPERATOR = 4
    UNREACHABLE = 5
    CONFLICT = 6  # somebody changed it first, or it is taken
    BUG = 70


class OperationRefused(Exception):
    """An operation was not done. Nothing changed, unless *what* says otherwise."""

    def __init__(self, what: str, why: str, fix: str, exit_code: Exit) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.exit_code = exit_code

    def as_json(self) -> dict[str, str | int]:
        """The same, as the socket and `--json` carry it."""
        return {
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "exit_code": int(self.exit_code),
        }


def usage(what: str, fix: str) -> OperationRefused:
    """The request itself makes no sense."""
    return OperationRefused(what, AS_IT_IS, fix, Exit.USAGE)
