"""This gateway as a protected resource: what it says of its issuers, and what it asks of tokens.

/.well-known/oauth-protected-resource           for /mcp (RFC 9728)
/.well-known/oauth-protected-resource/mcp...    for each endpoint, but for those of /token

Names of servers and toolsets are not looked up: what exists is for those to know who may see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.domain.model import Call, Decision, Principal, Verdict
from gateway.domain.names import is_name
from gateway.edge.authn import CHALLENGE
from gateway.edge.endpoint import ALL, Endpoint, Span, endpoint_of
from gateway.edge.house import Identity
from gateway.edge.oauth.issuer import Issuer

if TYPE_CHECKING:  # imported with the first token: see gateway.app.issuers
    from gateway.edge.oauth.tokens import Tokens

WELL_KNOWN = "/.well-known/oauth-protected-resource"
FETCH_WAIT_S = 5.0
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class OAuth:
    """Made where the gateway can say its own URL: there it is an issuer itself.

    *is_told*: clients hear of it. Some ignore the key they were given once they do, so that only a
    gateway speaks of tokens which has somebody for them: issuers, or agents with public keys.
    """

    public_url: str
    issuers: tuple[Issuer, ...]
    tokens: Callable[[], Tokens]
    keys: Identity  # of agents: they go on opening the door
    decide: Callable[[Call], Decision]
    fetch: Callable[[str], Awaitable[None]]  # the keys of an issuer, if that may be now
    is_told: bool = True
    _everywhere: Identity = field(init=False, repr=False)

    def __post_init__(self) -> None:
        everywhere = _Credentials(self.keys, self.tokens, self._resource(ALL))
        object.__setattr__(self, "_everywhere", everywhere)

    def identity(self, endpoint: Endpoint | None = None) -> Identity:
        """Who may come in at *endpoint*, with a key or with a token."""
        if endpoint is None or endpoint == ALL:
            return self._everywhere
        return _Credentials(self.keys, self.tokens, self._resource(endpoint))

    async def renewed(self, issuer: str) -> None:
        """Wait until the keys of *issuer* were fetched, or cannot be for now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_WAIT_S):
                await self.fetch(issuer)

    def metadata(self, path: str) -> bytes | None:
        """The metadata of the endpoint whose well-known place *path* is; None when it is none."""
        if not self.is_told or not path.startswith(WELL_KNOWN):
            return None
        endpoint = endpoint_of(path[len(WELL_KNOWN) :] or ALL.path)
        if endpoint is None or endpoint.bare or not _is_plain(endpoint):
            return None
        said: dict[str, Any] = {
            "resource": self._resource(endpoint),
            "authorization_servers": [*(issuer.url for issuer in self.issuers), self.public_url],
            "bearer_methods_supported": ["header"],
            "resource_name": "Customhouse",
        }
        scopes = [scope for issuer in self.issuers for scope in issuer.role_of_scope]
        if scopes:
            said["scopes_supported"] = list(dict.fromkeys(scopes))
        return msgspec.json.encode(said)

    def challenge(self, endpoint: Endpoint | None, *, presented: bool) -> Header:
        """What a 401 says; *presented*: there was a credential, and it is not good."""
        if endpoint is None or endpoint.bare or not self.is_told:
            return CHALLENGE
        first = {next(iter(i.role_of_scope)) for i in self.issuers if i.role_of_scope}
        # Which issuer the client will ask is not known: where they differ, its metadata has to do.
        scope = first.pop() if len(first) == 1 else ""
        return self._header(endpoint, scope, "invalid_token" if presented else "")

    def step_up(self, call: Call, endpoint: Endpoint) -> Header | None:
        """What a 403 says to a caller that a wider token would help; None when none would.

        Ask it only of what the caller may see: of anything else it would tell that it exists.
        """
        scopes = () if endpoint.bare else self._wider(call)
        return self._header(endpoint, " ".join(scopes), "insufficient_scope") if scopes else None

    def _wider(self, call: Call) -> tuple[str, ...]:
        """The scopes that the token lacks and with which *call* would be allowed, no more of them."""
        who = call.principal
        issuer = next((i for i in self.issuers if who.subject.startswith(f"{i.name}/")), None)
        if issuer is None:
            return ()
        missing = tuple(scope for scope in issuer.role_of_scope if scope not in who.scopes)
        for scope in missing:
            if self._allows(call, (scope,), issuer):
                return (scope,)
        if not self._allows(call, missing, issuer):
            return ()
        needed = missing
        for scope in missing:
            fewer = tuple(one for one in needed if one != scope)
            needed = fewer if self._allows(call, fewer, issuer) else needed
        return needed

    def _allows(self, call: Call, scopes: Sequence[str], issuer: Issuer) -> bool:
        who = call.principal
        roles = {issuer.role_of_scope[scope] for scope in scopes}
        wider = replace(who, scopes=who.scopes.union(scopes), roles=who.roles | roles)
        return self.decide(replace(call, principal=wider)).verdict is Verdict.ALLOW

    def _resource(self, endpoint: Endpoint | None) -> str:
        known = endpoint is not None and _is_plain(endpoint)
        path = endpoint._replace(bare=False).path if endpoint and known else ALL.path
        return self.public_url + path

    def _header(self, endpoint: Endpoint, scope: str, error: str) -> Header:
        place = self._resource(endpoint).removeprefix(self.public_url)
        parts = [
            f'Bearer realm="customhouse", resource_metadata="{self.public_url}{WELL_KNOWN}{place}"'
        ]
        parts += [f'error="{error}"'] if error else []
        parts += [f'scope="{scope}"'] if scope else []
        return b"www-authenticate", ", ".join(parts).encode("ascii")


@dataclass(frozen=True, slots=True)
class _Credentials:
    """Keys of agents and tokens, at one endpoint."""

    keys: Identity
    tokens: Callable[[], Tokens]
    resource: str

    def authenticate(self, token: str, now_us: int) -> Principal | None:
        principal = self.keys.authenticate(token, now_us)
        if principal is None and token.count(".") == 2:
            return self.tokens().authenticate(token, self.resource, now_us)
        return principal

    def is_live(self, principal: Principal, now_us: int) -> bool:
        if principal.token is not None:
            return self.tokens().is_live(principal.token, now_us)
        return self.keys.is_live(principal, now_us)


def _is_plain(endpoint: Endpoint) -> bool:
    """It could be the name of something; whatever else a path may hold is not repeated."""
    return endpoint.span is Span.ALL or is_name(endpoint.name)
