"""Tokens of issuers: revoked here when the issuer cannot wait to be asked, or does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, enter, unknown
from gateway.domain.operator import usage
from gateway.domain.revocation import all_tokens, one_token
from gateway.store.identity import key_effect, revoked_tokens


async def revoke(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Refuse every token that *subject* has until now, or the one token with this *jti*.

    Both begin with the name of the issuer: corp/alice, corp/3f2a9c. Nothing takes it back; a token
    that the issuer gives the subject from now on is another one.
    """
    args = Args(given, "subject", "jti", "reason")
    if args.has("subject") == args.has("jti"):
        raise usage("either a subject or a jti is revoked", "say one of the two")
    what = args.text("subject" if args.has("subject") else "jti")
    issuer, slash, name = what.partition("/")
    if not slash or not name:
        raise usage(f"{what!a:.80} does not name an issuer", "say ISSUER/SUBJECT, or ISSUER/JTI")
    if issuer not in house.config.issuers:
        known = ", ".join(house.config.issuers) or "none"
        raise unknown("issuer", issuer, f"those of the configuration are: {known}")
    key_id = all_tokens(what) if args.has("subject") else one_token(issuer, name)
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
