"""The tokens that the gateway gave out, as the log has them: who has them, from whom, and how it stands.

    planner 52ab...                good
      worker 9c4f...  for planner  revoked

Only the holder of the payload key can read what they allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.app.operations.entering import conflict, unknown
from gateway.app.operations.opening import Ring, open_payload
from gateway.audit import entry as entries
from gateway.domain.revocation import (
    EVERYBODYS,
    LONGEST_TOKEN_S,
    OURS,
    agent_of,
    all_tokens,
    one_token,
)
from gateway.store.identity import Identity
from gateway.store.keyring import SIGNING
from gateway.store.trail import Slice, Trail

Row = dict[str, Any]
GIVEN_OUT = tuple(f'"what":"{what}"' for what in SIGNING)


def given_out(trail: Trail, ring: Ring, identity: Identity, now_us: int) -> list[Row]:
    """Every token that can be good still, the newest last."""
    since_us = now_us - LONGEST_TOKEN_S * 1_000_000
    wanted = Slice(since_us=since_us, kinds=("change",), containing=(GIVEN_OUT,))
    rows = [
        {**said, "state": _state(said, identity, now_us)}
        for said in _opened(trail, ring, wanted)
        if said["ends_us"] > now_us
    ]
    rows.reverse()
    return rows


def one_of(rows: list[Row], beginning: str) -> Row:
    """The token whose jti begins so. Raises: OperationRefused: none does, or several."""
    found = [row for row in rows if beginning and row["jti"].startswith(beginning)]
    if len(found) > 1:
        raise conflict(
            f"{len(found)} tokens begin with {beginning!a:.40}",
            "revoking the wrong one would stop somebody else's work",
            f"say more of it: {', '.join(row['jti'] for row in found[:5])}",
        )
    if not found:
        raise unknown("token", beginning, "see those that are good: customhouse token list")
    return found[0]


def chain_of(rows: list[Row], row: Row) -> Row:
    """The token with those it came from, nearest first, and those that came from it."""
    known = {one["jti"]: one for one in rows}
    came_from = [known.get(jti, {"jti": jti, "state": "ended"}) for jti in row.get("chain", ())]
    return {
        "token": row,
        "came_from": came_from,
        "gave": [one for one in rows if row["jti"] in one.get("chain", ())],
    }


def _opened(trail: Trail, ring: Ring, wanted: Slice) -> Iterator[Row]:
    for entry in trail.newest_first(wanted):
        opened = open_payload(trail, ring, entry) if isinstance(entry, entries.Change) else None
        if opened is not None and not opened.problem:
            yield {**json.loads(opened.content), "leaf": entry.i}


def _state(said: Mapping[str, Any], identity: Identity, now_us: int) -> str:
    if now_us >= said["ends_us"]:
        return "ended"
    people = (said["subject"], *said.get("actors", ()))
    chain = (said["jti"], *said.get("chain", ()))
    once = (one_token(OURS, jti) for jti in chain)
    if any(identity.revoked_us(name) for name in (*once, *said.get("of", ()))):
        return "revoked"
    since_us = (identity.revoked_us(name) for name in (EVERYBODYS, *map(all_tokens, people)))
    if max(since_us) >= said["issued_us"]:
        return "revoked"
    return _state_of_agents(said, identity)


def _state_of_agents(said: Mapping[str, Any], identity: Identity) -> str:
    tenant = said["tenant"]
    for name in (*said.get("actors", ()), said["subject"], said["client"]):
        if "/" not in name and identity.withdrawn_us(agent_of(tenant, name)):
            return "agent disabled"
    # Of keys that the file declares a reader knows no secret: what is not revoked counts as good.
    withdrawn = (identity.revoked_us(key) for key in said["keys"])
    return "key revoked" if any(withdrawn) else "good"
