"""API keys: made here, shown once, kept as digests; what is revoked is refused with the next look."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, conflict, enter, unknown
from gateway.domain.model import KEY_OF_API
from gateway.domain.operator import usage
from gateway.store.identity import Key, key_digest, key_effect, new_key

DAY_US = 86_400_000_000
LONGEST_DAYS = 3_650
_OVER_API = "agent:"  # authors on the socket are `uid:`


async def issue(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Make a key for an agent; the answer is the only place where it ever stands in clear.

    `days`: how long it is good; 0 for ever.
    """
    args = Args(given, "agent", "days", "reason")
    name, days = args.text("agent"), args.whole("days", 90)
    agent = house.identity.agents.get(name)
    if agent is None:
        raise unknown("agent", name, f"add it first: customhouse agent add {name}")
    if agent.disabled:
        raise conflict(
            f"agent {name} is disabled",
            "a key of it would open nothing",
            f"customhouse agent enable {name}",
        )
    if days > LONGEST_DAYS:
        raise usage(f"a key of {days} days", f"at most {LONGEST_DAYS} days, or 0 for ever")
    secret, now_us = new_key(), house.ledger.log.stamp()
    key = Key(
        id=f"{KEY_OF_API if author.startswith(_OVER_API) else 'k'}{secrets.token_hex(6)}",
        agent=name,
        digest=key_digest(secret),
        issued_at_us=now_us,
        expires_at_us=now_us + days * DAY_US if days else 0,
    )
    change = Change(
        "key.issue",
        author,
        subject=f"key/{key.id}",
        note=args.text("reason", "") or f"for agent {name}",
        effects=(key_effect(key),),
    )
    await enter(house, change, lambda: house.identity.set_key(key))
    return {"id": key.id, "agent": name, "key": secret, "expires_at_us": key.expires_at_us}


async def revoke(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Make a key worthless, everywhere and from now on. The beginning of its id is enough."""
    args = Args(given, "id", "reason")
    key = _one(house, args.text("id"))
    if key.revoked_at_us:
        return _revoked(key, changed=False)
    dead = replace(key, revoked_at_us=house.ledger.log.stamp())
    change = Change(
        "key.revoke",
        author,
        subject=f"key/{key.id}",
        note=args.text("reason", ""),
        effects=(key_effect(dead),),
    )
    await enter(house, change, lambda: house.identity.set_key(dead))
    return _revoked(dead, changed=True)


def _one(house: House, beginning: str) -> Key:
    keys = house.identity.keys
    if beginning in keys:
        return keys[beginning]
    fitting = sorted(key_id for key_id in keys if beginning and key_id.startswith(beginning))
    if len(fitting) > 1:
        raise conflict(
            f"{len(fitting)} keys begin with {beginning!a:.40}",
            "revoking the wrong one would lock somebody out",
            f"say more of the id: {', '.join(fitting[:5])}",
        )
    if not fitting:
        raise unknown("key", beginning, "see: customhouse key list")
    return keys[fitting[0]]


def _revoked(key: Key, *, changed: bool) -> Any:
    return {
        "id": key.id,
        "agent": key.agent,
        "revoked_at_us": key.revoked_at_us,
        "changed": changed,
    }
