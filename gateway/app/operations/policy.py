"""Putting the policy folder in force: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args


async def apply(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Read, check, test and swap. Calls that were admitted finish as they were decided."""
    Args(given)
    prior = house.policies.current.version
    version = await house.apply_policy(author)
    loaded = house.loaded_policy
    return {
        "version": version,
        "prior": prior,
        "changed": version != prior,
        "rules": len(house.policies.current.rules),
        "cases": len(loaded.cases) if loaded else 0,
        "warnings": [finding.say() for finding in loaded.findings] if loaded else [],
    }
