"""What calls belong to together: a run of one tenant, and what all of its calls may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

NEW_RUN = "new"  # what a caller says that wants one which nobody used yet
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The most that one run may take, over its whole life."""

    depth: int = 4  # agents that act for one another, and calls that cause one another
    fan_out: int = 16  # calls that are open at once
    wall_s: int = 3600  # from its first call
    repeats: int = 10  # of one object with the same arguments
    calls: int = 1000
    tokens: int = 2_000_000
    cost: int = 0  # integer micro-units; 0: no limit, as in all of these


def is_run_id(text: str) -> bool:
    return _RUN_ID.fullmatch(text) is not None


def run_account(tenant: str, run: str) -> str:
    """What entries call the run: its tenant is in it, so that nobody names the run of another."""
    return "r" + _digest(f"run\n{tenant}\n{run}")


def grant_account(jti: str) -> str:
    """What entries call the grant of the token *jti*."""
    return "j" + _digest(f"token\n{jti}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
