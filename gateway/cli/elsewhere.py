"""Whether a command is about the gateway of this machine, or about one elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.domain.operator import usage

if TYPE_CHECKING:
    from gateway.cli.remote import Remote

URL_VARIABLE, KEY_VARIABLE = "CUSTOMHOUSE_URL", "CUSTOMHOUSE_KEY"
# They are about this machine whatever the environment says, or reach a gateway by themselves.
_HERE = frozenset({"init", "serve", "demo", "config schema", "connect", "bridge"})

_KNOCKING = frozenset({"connect", "bridge"})  # as clients, with a --url of their own
# What the API of a gateway elsewhere is asked for; a test runs every command there is.
FROM_ELSEWHERE = frozenset(
    {
        "agent list",
        "approval approve",
        "approval deny",
        "approval list",
        "approval show",
        "approval watch",
        "audit query",
        "audit show",
        "budget show",
        "key issue",
        "key list",
        "key revoke",
        "model list",
        "model resume",
        "model suspend",
        "peer list",
        "peer resume",
        "peer suspend",
        "policy apply",
        "policy approve",
        "policy can-i",
        "policy explain",
        "policy pending",
        "server approve",
        "server list",
        "server resume",
        "server show",
        "server suspend",
        "tool approve",
        "tool diff",
        "tool list",
        "tool show",
    }
)


def where(command: str) -> str:
    """Whether *command*, all its words, works from elsewhere, as its help says it."""
    if command in FROM_ELSEWHERE:
        return f"Works from elsewhere, too: customhouse --url URL {command} ..."
    if command in _KNOCKING:
        return "Works from elsewhere, too, with --url as above."
    return "Works on this machine only, not from elsewhere."


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What stood before the command: where, and the reference to a key."""

    url: str | None = None
    key: str | None = None

    def remote(self, command: str, file: object) -> Remote | None:
        """The gateway that *command* is about; None: the one of this machine.

        Raises: OperationRefused (usage): it cannot be about that one.
        """
        url = self.url or ("" if command in _HERE else os.environ.get(URL_VARIABLE))
        if not url:
            if self.key is not None:
                raise usage("--key goes with --url", "say which gateway the key is for")
            return None
        from gateway.cli.reaching import key_behind
        from gateway.cli.remote import Remote, not_remote

        if command in _HERE:
            raise not_remote()
        if file is not None and self.url:
            raise usage("--config and --url are two gateways", "say one of them")
        return Remote(url, key_behind(self.key or f"env:{KEY_VARIABLE}"))
