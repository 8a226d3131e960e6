"""What calls belong to together: a run of one tenant, and what all of its calls may use."""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from hashlib import sha256

from gateway.domain.model import Principal

KEY_DAY_US = 86_400 * 1_000_000  # how long an idempotency key is kept
NEW_RUN = "new"  # what a caller says that wants one which nobody used yet
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_ACCOUNT = re.compile(r"r[0-9a-f]{16}")
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


def is_run_account(text: str) -> bool:
    return _ACCOUNT.fullmatch(text) is not None


def run_of_key(secret: bytes, who: Principal, key: str, now_us: int) -> str:
    """The run that *who* begins as new under an idempotency key: the same all day, so that whoever
    repeats the call is told of the run that it began, and begins no other.

    *secret*: of the gateway, so that nobody who guesses the key can add to the run.
    """
    named = [who.tenant, who.subject, list(who.actors), key, now_us // KEY_DAY_US]
    said = f"customhouse run of a key\n{json.dumps(named)}".encode()
    return "run-" + hmac.digest(secret, said, "sha256").hex()[:32]


def run_account(tenant: str, run: str) -> str:
    """What entries call the run: its tenant is in it, so that nobody names the run of another."""
    return "r" + _digest(f"run\n{tenant}\n{run}")


def grant_account(jti: str) -> str:
    """What entries call the grant of the token *jti*."""
    return "j" + _digest(f"token\n{jti}")


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]
