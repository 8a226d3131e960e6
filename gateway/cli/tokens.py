"""customhouse token: tokens that the gateway gives out to agents, and those of issuers."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.invocation import Invocation, changing, common, end, now_us
from gateway.domain.operator import Exit, usage


@click.group()
def token() -> None:
    """Tokens: whom the gateway gave which, what came from them, and revoking them."""


@token.command("list")
@click.option("--agent", help="Only those in whose chain this agent is.")
@common
def list_tokens(on: Invocation, agent: str | None) -> None:
    """Every token of the gateway that has not ended. Exit 1: there is none."""
    rows = [row for row in _rows(on) if agent is None or agent in _people(row)]
    if on.screen.as_json:
        on.screen.value(rows)
    else:
        _table(on, rows)
    end(Exit.YES if rows else Exit.NO)


@token.command("show")
@click.argument("jti")
@common
def show(on: Invocation, jti: str) -> None:
    """One token, those it came from and those that came from it; the beginning of its jti is enough."""
    from gateway.app.operations.chains import chain_of, one_of

    rows = _rows(on)
    chain = chain_of(rows, one_of(rows, jti))
    on.screen.whole(chain)
    for name, value in chain["token"].items():
        on.screen.line(f"{name:<10} {_said(name, value)}")
    for row in chain["came_from"]:
        on.screen.line(f"came from  {row['jti']} {row.get('client', '')} {row['state']}")
    for row in chain["gave"]:
        on.screen.line(f"gave       {row['jti']} {row['client']} {row['state']}")


@token.command("revoke")
@click.argument("what", metavar="[JTI|ISSUER/SUBJECT]", required=False)
@click.option("--agent", help="Every token so far in whose chain this agent is.")
@click.option("--jti", is_flag=True, help="It is ISSUER/JTI: revoke that one token only.")
@changing
@common
def revoke(on: Invocation, what: str | None, agent: str | None, jti: bool, reason: str) -> None:
    """Refuse a token and all that came from it; open streams end within a second.

    \b
    customhouse token revoke 9c4f0e21      a token of the gateway, and every token below it
    customhouse token revoke --agent planner
    customhouse token revoke corp/alice    what the issuer corp gave alice so far: stop it there, too
    """
    if (what is None) is (agent is None):
        raise usage("either a token, a subject or an agent is revoked", "say one of them")
    of = {"agent": agent} if what is None else _of(on, what, jti=jti)
    done = on.change("token.revoke", **of, reason=reason)
    on.screen.whole(done)
    ((way, whose),) = of.items()
    said = f"the token {whose}" if way == "jti" else f"every token so far of {whose}"
    on.screen.line(f"revoked: {said}")


def _of(on: Invocation, what: str, *, jti: bool) -> dict[str, str]:
    if jti or "/" in what:
        return {"jti" if jti else "subject": what}
    from gateway.app.operations.chains import one_of

    return {"jti": one_of(_rows(on), what)["jti"]}


def _rows(on: Invocation) -> list[dict[str, Any]]:
    from gateway.app.operations.chains import given_out
    from gateway.app.operations.opening import payload_key

    identity, ring = on.reading().identity, payload_key(on.config.keys_dir)
    with on.trail() as trail:
        return given_out(trail, ring, identity, now_us())


def _people(row: dict[str, Any]) -> tuple[str, ...]:
    return (row["subject"], *row.get("actors", ()), row["client"])


def _table(on: Invocation, rows: list[dict[str, Any]]) -> None:
    from gateway.domain.window import when

    on.screen.table(
        ("TOKEN", "CLIENT", "FOR", "SCOPE", "UNTIL", "STATE"),
        [
            (
                row["jti"],
                row["client"],
                " ".join((*row.get("actors", ())[1:], row["subject"])) if "actors" in row else "",
                _said("scope", row.get("scope", ["*"])),
                when(row["ends_us"])[:19].replace("T", " "),
                row["state"],
            )
            for row in rows
        ],
    )


def _said(name: str, value: Any) -> str:
    if name.endswith("_us"):
        from gateway.domain.window import when

        return when(value)
    if isinstance(value, dict):
        return " ".join(f"{meter}={amount}" for meter, amount in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)
