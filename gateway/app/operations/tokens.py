"""Tokens of issuers and of the gateway itself: revoked here, with all that came from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, enter, unknown
from gateway.domain.operator import usage
from gateway.domain.revocation import OURS, all_tokens, one_token
from gateway.store.identity import key_effect, revoked_tokens

_JTI = re.compile(r"[0-9a-f]{32}")
_WAYS = ("subject", "agent", "jti")


async def revoke(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Refuse every token that *subject* or *agent* has until now, or the one token with this *jti*,
    and every token that came from them.

    Those of an issuer begin with its name: corp/alice, corp/3f2a9c; a jti without one is of a token
    that the gateway gave out. Nothing takes it back; a token from now on is another one.
    """
    args = Args(given, *_WAYS, "reason")
    said = [way for way in _WAYS if args.has(way)]
    if len(said) != 1:
        raise usage("either a subject, an agent or a jti is revoked", "say one of them")
    what = args.text(said[0])
    key_id = _of_agent(house, what) if said == ["agent"] else _of_issuer(house, said[0], what)
    row = revoked_tokens(key_id, house.ledger.log.stamp())
    change = Change(
        "token.revoke",
        author,
        subject=f"key/{key_id}",
        note=f"{what}: {args.text('reason', '')}",  # sealed: the leaf does not say whose they are
        effects=(key_effect(row),),
    )
    await enter(house, change, lambda: house.identity.set_key(row))
    return {"id": key_id, "revoked_at_us": row.revoked_at_us}


def _of_agent(house: House, name: str) -> str:
    if name not in house.identity.agents:
        raise unknown("agent", name, "see: customhouse agent list")
    return all_tokens(name)


def _of_issuer(house: House, way: str, what: str) -> str:
    if way == "jti" and _JTI.fullmatch(what):
        return one_token(OURS, what)
    issuer, slash, name = what.partition("/")
    if not slash or not name:
        fix = "say ISSUER/SUBJECT, ISSUER/JTI, or the 32 digits of a token of the gateway"
        raise usage(f"{what!a:.80} does not name an issuer", fix)
    if issuer not in house.config.issuers:
        known = ", ".join(house.config.issuers) or "none"
        raise unknown("issuer", issuer, f"those of the configuration are: {known}")
    return all_tokens(what) if way == "subject" else one_token(issuer, name)
