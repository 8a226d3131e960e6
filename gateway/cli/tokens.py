"""customhouse token: tokens that issuers give out."""

from __future__ import annotations

import click

from gateway.cli.invocation import Invocation, changing, common


@click.group()
def token() -> None:
    """Tokens of the configured issuers: they are made there, and can be revoked here."""


@token.command("revoke")
@click.argument("what", metavar="ISSUER/SUBJECT")
@click.option("--jti", is_flag=True, help="It is ISSUER/JTI: revoke that one token only.")
@changing
@common
def revoke(on: Invocation, what: str, jti: bool, reason: str) -> None:
    """Refuse every token the subject has so far; open streams end within a second.

    Tokens that the issuer gives out from now on are good: stop it there, too.
    """
    of = {"jti" if jti else "subject": what}
    done = on.change("token.revoke", **of, reason=reason)
    on.screen.whole(done)
    on.screen.line(f"revoked: {'the token' if jti else 'every token so far of'} {what}")
