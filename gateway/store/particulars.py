"""What an entry says of a call: who and what, in pseudonyms, and what its commitment covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

import msgspec

from gateway.domain.budget import METERS, Limits
from gateway.domain.model import Call, Principal
from gateway.domain.run import grant_account, run_account
from gateway.domain.window import WINDOWS
from gateway.store.pseudonyms import (
    CREDENTIAL,
    OBJECT,
    SERVER,
    SUBJECT,
    TEAM,
    TENANT,
    Pseudonyms,
)


class Particulars:
    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._of = pseudonyms.of

    def of_principal(self, who: Principal) -> dict[str, Any]:
        """The fields that name the caller."""
        of = self._of
        return {
            "who": of(SUBJECT, who.subject),
            "tenant": of(TENANT, who.tenant),
            "team": of(TEAM, f"{who.tenant}/{who.team}") if who.team else "",
            "cred": of(CREDENTIAL, who.credential_named),
        }

    def actors(self, who: Principal) -> tuple[str, ...]:
        """Who acts for the caller, nearest first."""
        return tuple(self._of(SUBJECT, actor) for actor in who.actors)

    def of_call(self, call: Call) -> dict[str, Any]:
        """The fields that every entry about a call shares."""
        # A server that is in no catalogue is the caller's invention: it stays in the payload.
        known = bool(call.server) and (call.definition is not None or call.name == "*")
        return {
            **self.of_principal(call.principal),
            "call": call.id,
            "method": call.method,
            "server": self._of(SERVER, call.server) if known else "",
            "kind": call.kind,
            "act": call.act,
            "run": run_account(call.principal.tenant, call.run) if call.run else "",
            "chain": tuple(grant_account(grant.id) for grant in call.principal.grants),
        }

    def accounts(self, call: Call) -> tuple[str, ...]:
        """Tenant, team, agent, tool; and where there are, the run, and each grant with a budget.

        A tool's account is per tenant, one for what is not listed.
        """
        who, of = call.principal, self._of
        tool = call.definition.object if call.definition else f"{call.kind}/-"
        four = (
            of(TENANT, who.tenant),
            of(TEAM, f"{who.tenant}/{who.team}") if who.team else "",
            of(SUBJECT, who.subject),
            of(OBJECT, f"{who.tenant} {tool}"),
        )
        if not call.run and not who.grants:
            return four
        run = run_account(who.tenant, call.run) if call.run else ""
        return (*four, run, *(grant_account(grant.id) for grant in who.grants if grant.budget))


def limits_held(
    accounts: Sequence[str], limits: Sequence[Limits | None]
) -> tuple[tuple[str, str, str, int], ...]:
    """(account, meter, window, amount) of every limit that a hold was measured against."""
    return tuple(
        (account, METERS[meter], WINDOWS[window], amount)
        for account, limit in zip(accounts, limits, strict=True)
        if limit is not None
        for window, meter, amount in limit.rows
    )


def named(call: Call) -> bytes:
    """What the commitment of an entry covers: the object, and all that is sent on to the server.

    tool/docs/get_page
    token {"roles":["reader"],"scopes":["tools.read"],"sha256":"9f86..."}
    name "get_page"
    arguments {"page":7}
    _meta.progressToken 1
    client {} {"name":"claude-code"}

    The second line is there where a token proved what no registry knows: the decision rests on it.
    """
    lines = [_key(key) + b" " + raw for key, raw in call.params.items()]
    lines += [b"_meta." + _key(key) + b" " + raw for key, raw in call.meta.items()]
    client = b"client " + call.client.capabilities + b" " + call.client.info
    named_object = call.object.encode("utf-8", "backslashreplace").replace(b"\n", b"\\n")
    return b"\n".join((named_object, *_proved(call.principal), *lines, client))


def _proved(who: Principal) -> Iterator[bytes]:
    named, _, mark = who.credential.rpartition("#")
    if named:
        said = {
            "roles": sorted(who.roles),
            "scopes": sorted(who.scopes),
            "sha256": mark.partition(" ")[0],
        }
        yield b"token " + msgspec.json.encode(said)


def _key(key: str) -> bytes:
    """A key as one word of ASCII: one with a line break could pass for two lines."""
    if key.isascii() and key.isidentifier():
        return key.encode()
    return encode_basestring_ascii(key).encode()
