"""What the gateway says to those whose token is missing, bad or too narrow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from gateway.domain.model import Principal
from gateway.edge.authn import CHALLENGE
from gateway.edge.endpoint import ALL, Endpoint, Span
from gateway.edge.oauth import resource
from gateway.edge.oauth.issuer import Issuer, Worth
from gateway.edge.oauth.resource import OAuth
from gateway.edge.oauth.tokens import Tokens
from tests.edge.people import NOW_US, FakeIdentity
from tests.policy.made import call_of, snapshot_of

BASE = "https://tools.example.com"
POLICY = """
p, base, default, tool/*, list, -, allow
p, reader, default, tool/s/read, call, -, allow
p, writer, default, tool/s/write, call, -, allow
p, mover, default, tool/s/move, call, -, allow
p, *, default, tool/s/move, call, unless_both, deny
p, auditor, default, tool/s/read, call, -, deny
p, engineer, default, tool/s/build, call, -, allow
p, scoped, default, tool/s/scoped, call, has_write, allow
"""
CONDITIONS = """
[unless_both]
scopes = { has_none = ["write"] }
[has_write]
scopes = { has_any = ["write"] }
"""
ROLES = (
    Worth("scope", "read", "reader"),
    Worth("scope", "write", "writer"),
    Worth("scope", "move", "mover"),
    Worth("scope", "audit", "auditor"),
    Worth("groups", "eng", "engineer"),
)


def issuer(name: str, *roles: Worth) -> Issuer:
    url = f"https://{name}.example.com"
    return Issuer(name, url, "", frozenset({"ES256"}), roles, "default")


async def _never(name: str) -> None:
    await asyncio.sleep(3600)


def oauth(*issuers: Issuer, fetch: Callable[[str], Awaitable[None]] = _never) -> OAuth:
    policy = snapshot_of(POLICY, CONDITIONS)
    tokens = Tokens(issuers, f"{BASE}/mcp", lambda key_id: 0)
    keys = FakeIdentity()
    return OAuth(
        BASE, issuers, lambda: tokens, keys, lambda call: policy.decide(call, NOW_US), fetch
    )


CORP = issuer("corp", *ROLES)
NEEDED: dict[str, tuple[str, set[str], set[str], str]] = {
    "one scope": ("read", set(), {"base"}, "read"),
    "another scope": ("write", {"read"}, {"base", "reader"}, "write"),
    "two scopes, and no third": ("move", {"read"}, {"base", "reader"}, "write move"),
    "the one of two that is missing": ("move", {"move"}, {"base", "mover"}, "write"),
    "a role that no scope gives": ("build", set(), {"base"}, ""),
    "a tool that nobody may use": ("none", set(), {"base"}, ""),
    "a scope that would change nothing": ("read", {"read", "audit"}, {"base", "auditor"}, ""),
    "a condition on a scope that is mapped": ("scoped", set(), {"base", "scoped"}, "write"),
}


@pytest.mark.parametrize(("tool", "scopes", "roles", "said"), NEEDED.values(), ids=NEEDED.keys())
def test_a_token_is_sent_for_the_scopes_it_lacks_and_no_more(
    tool: str, scopes: set[str], roles: set[str], said: str
) -> None:
    who = Principal("default", "corp/alice", roles=frozenset(roles), scopes=frozenset(scopes))
    header = oauth(CORP).step_up(call_of(who, f"tool/s/{tool}"), ALL)
    place = f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp"'
    expected = (
        f'Bearer realm="customhouse", {place}, error="insufficient_scope", scope="{said}"'
        if said
        else None
    )
    assert (header[1].decode() if header else None) == expected


def test_a_key_is_sent_nowhere_even_if_its_agent_is_called_like_an_issuer() -> None:
    who = Principal("default", "corp", roles=frozenset({"base"}))
    assert oauth(CORP).step_up(call_of(who, "tool/s/read"), ALL) is None


def test_issuers_that_begin_with_different_scopes_leave_it_to_their_metadata() -> None:
    other = issuer("other", Worth("scope", "mcp", "reader"))
    scopeless = issuer("third", Worth("groups", "eng", "engineer"))
    for issuers, scope in (
        ((CORP,), ', scope="read"'),
        ((CORP, scopeless), ', scope="read"'),
        ((CORP, other), ""),
        ((scopeless,), ""),
    ):
        _, said = oauth(*issuers).challenge(ALL, presented=False)
        assert said.decode().endswith(f'/oauth-protected-resource/mcp"{scope}')


def test_where_oauth_is_not_to_be_heard_of_it_is_not() -> None:
    door = oauth(CORP)
    for endpoint in (None, Endpoint(bare=True), Endpoint(Span.SERVER, "docs", bare=True)):
        assert door.challenge(endpoint, presented=True) == CHALLENGE


def test_a_name_that_none_has_is_not_repeated_in_a_header() -> None:
    endpoint = Endpoint(Span.SERVER, 'a"\r\nSet-Cookie: x')
    name, said = oauth(CORP).challenge(endpoint, presented=True)
    assert name == b"www-authenticate"
    assert b"Cookie" not in said
    assert said.count(b'"') == 8


@pytest.mark.anyio
async def test_nobody_waits_longer_for_keys_than_it_is_worth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "FETCH_WAIT_S", 0.01)
    began_s = anyio.current_time()
    with anyio.fail_after(5):
        await oauth(CORP).renewed("corp")
    assert anyio.current_time() - began_s >= 0.01
