"""The SDK's own OAuth clients, unchanged: they learn from the gateway whom to ask, and come back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from gateway.edge.oauth.resource import WELL_KNOWN
from tests.journey.delegated import ACCESS_TOKEN, EXCHANGE
from tests.journey.guarded import AGENT_KEY, Guarded, guarded
from tests.journey.process import headers, modern

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("oauth")) as house:
        yield house


class Kept:
    """Where a client keeps its tokens."""

    def __init__(self) -> None:
        self.tokens: list[OAuthToken] = []
        self._client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens[-1] if self.tokens else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


def machine(house: Guarded, kept: Kept, path: str = "/mcp") -> OAuthClientProvider:
    """A program with an identity of its own: client credentials."""
    return ClientCredentialsOAuthProvider(
        house.url + path, kept, "robot", "r0b0t", issuer=house.corp.url
    )


def person(house: Guarded, kept: Kept) -> OAuthClientProvider:
    """A program that somebody signs in with: registration, authorization code, PKCE."""
    redirected: list[dict[str, list[str]]] = []

    async def visit(url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            answer = await browser.get(url)
        assert answer.status_code == 302, answer.text
        redirected.append(parse_qs(urlsplit(answer.headers["location"]).query))

    async def came_back() -> AuthorizationCodeResult:
        said = redirected.pop()
        return AuthorizationCodeResult(
            code=said["code"][0], state=said["state"][0], iss=said["iss"][0]
        )

    about = OAuthClientMetadata(
        redirect_uris=[AnyUrl("http://127.0.0.1:1/back")], client_name="tests"
    )
    return OAuthClientProvider(house.resource, about, kept, visit, came_back)


@asynccontextmanager
async def connected(
    url: str, auth: OAuthClientProvider, mode: str = "auto"
) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, cache=None) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_a_machine_finds_its_issuer_and_steps_up_when_it_must(
    house: Guarded, mode: str
) -> None:
    kept = Kept()
    with anyio.fail_after(20):
        async with connected(house.resource, machine(house, kept), mode) as client:
            result = await client.call_tool("desk_add", {"a": 2})
            assert result.structured_content == {"result": 3}
            assert [token.scope for token in kept.tokens] == ["tools.read"]
            louder = await client.call_tool("desk_shout", {"text": "up"})
            assert louder.structured_content == {"result": "UP"}
            assert [token.scope for token in kept.tokens] == [
                "tools.read",
                "tools.read tools.write",
            ]


async def test_what_no_scope_would_allow_sends_nobody_for_a_token(house: Guarded) -> None:
    kept = Kept()
    with anyio.fail_after(20):
        async with connected(house.resource, machine(house, kept)) as client:
            refused = await client.call_tool("desk_where", {})
            assert refused.is_error
            assert refused.meta is not None
            assert refused.meta["io.customhouse/refusal"]["code"] == "denied"
            named = await client.call_tool("desk_fail", {})  # by the subject's own name
            assert "executing tool fail" in str(named.content)
    assert len(kept.tokens) == 1


async def test_an_agent_comes_to_the_gateway_itself_though_others_issue_tokens_too(
    house: Guarded,
) -> None:
    kept = Kept()
    auth = ClientCredentialsOAuthProvider(
        house.resource, kept, "clerk", AGENT_KEY, issuer=house.url
    )
    with anyio.fail_after(20):
        async with connected(house.resource, auth) as client:
            result = await client.call_tool("desk_add", {"a": 2})
            assert result.structured_content == {"result": 3}
    # It was told to ask for a scope of the others, which says nothing here.
    assert [token.scope for token in kept.tokens] == ["*"]


def test_an_agent_acts_for_somebody_of_an_issuer_with_what_both_may(house: Guarded) -> None:
    def exchanged(token: str) -> httpx2.Response:
        form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
        secret = ("clerk", AGENT_KEY)
        return house.client.post(house.url + "/oauth/token", data=form, auth=secret)

    whole = house.corp.token(house.resource, scope="tools.read tools.write", sub="zoe", jti="zoe-1")
    given = exchanged(whole)
    assert given.is_success, given.text
    token = given.json()["access_token"]
    assert house.call(token).json()["result"]["structuredContent"] == {"result": 2}
    refused = house.call(token, "desk_shout", text="a").json()["result"]  # the clerk may not
    assert refused["isError"] is True
    actor = {"act": {"sub": "a-program"}}
    assert exchanged(house.corp.token(house.resource, **actor)).status_code == 400
    assert house.customhouse("token", "revoke", "--jti", "corp/zoe-1")[0] == 0
    assert house.call(token).status_code == 401
    assert exchanged(whole).json()["error"] == "invalid_request"


async def test_a_person_signs_in(house: Guarded) -> None:
    kept = Kept()
    with anyio.fail_after(20):
        async with connected(house.resource, person(house, kept)) as client:
            assert (await client.call_tool("desk_add", {"a": 1})).structured_content == {
                "result": 2
            }
    assert len(kept.tokens) == 1
    code, said, _ = house.customhouse("audit", "query", "agent:corp/alice", "--json")
    assert code == 0
    assert "tool/desk/add" in said


@pytest.mark.parametrize("path", ["/mcp/s/desk"])
async def test_a_token_for_one_endpoint_is_asked_for_where_one_connects(
    house: Guarded, path: str
) -> None:
    kept = Kept()
    with anyio.fail_after(20):
        async with connected(house.url + path, machine(house, kept, path)) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] != []
        narrow = kept.tokens[0].access_token
        assert house.call(narrow, "add", path).is_success
        assert house.call(narrow).status_code == 401


def test_the_metadata_says_the_same_of_every_name_that_could_be_one(house: Guarded) -> None:
    def metadata(path: str) -> httpx2.Response:
        return house.client.get(house.url + WELL_KNOWN + path)

    for path in ("/mcp", "/mcp/s/desk", "/mcp/s/nothing", "/mcp/t/nothing"):
        said = metadata(path).json()
        assert said.pop("resource") == house.url + path
        assert said == {
            "authorization_servers": [
                *(one.url for one in (house.corp, house.partner, house.turning, house.stormy)),
                house.url,
            ],
            "bearer_methods_supported": ["header"],
            "resource_name": "Customhouse",
            "scopes_supported": ["tools.read", "tools.write"],
        }
    assert metadata("").json()["resource"] == house.resource
    for path in (
        "/token/mcp",
        "/mcp/s/",
        "/mcp/s/A%0d%0aB",
        "/mcp/s/a/b",
        "/metrics",
        "x",
        "/mcp/",
    ):
        assert metadata(path).status_code == 404, path
    assert house.client.post(house.url + WELL_KNOWN).status_code == 405


def test_who_comes_without_a_token_is_told_where_to_get_one(house: Guarded) -> None:
    def challenge(path: str, key: str = "") -> str:
        said = headers("tools/list", key=key)
        if not key:
            del said["Authorization"]
        answer = house.client.post(house.url + path, content=modern("tools/list", {}), headers=said)
        assert answer.status_code == 401
        return str(answer.headers["www-authenticate"])

    place = f'resource_metadata="{house.url}{WELL_KNOWN}'
    bare = 'Bearer realm="customhouse"'
    assert challenge("/mcp") == f'{bare}, {place}/mcp", scope="tools.read"'
    assert challenge("/mcp", "wrong") == (
        f'{bare}, {place}/mcp", error="invalid_token", scope="tools.read"'
    )
    assert f'{place}/mcp/s/nothing"' in challenge("/mcp/s/nothing")
    assert f'{place}/mcp"' in challenge("/mcp/s/a%22%0d%0ab")
    assert challenge("/token/mcp") == challenge("/token/mcp", "wrong") == bare
    assert house.call(AGENT_KEY, path="/token/mcp").is_success


def test_a_step_up_is_not_told_under_token_nor_to_keys(house: Guarded) -> None:
    token = house.corp.token(house.resource, scope="tools.read")
    for key, path in ((token, "/token/mcp"), (AGENT_KEY, "/mcp")):
        answer = house.call(key, "desk_shout", path, text="a")
        assert answer.status_code == 200
        assert "www-authenticate" not in answer.headers
        assert answer.json()["result"]["isError"] is True


def test_what_a_token_may_not_see_is_not_there_whatever_scope_would_show_it(
    house: Guarded,
) -> None:
    blind = house.corp.token(house.resource)
    answers = [house.call(blind, tool) for tool in ("desk_shout", "desk_nothing")]
    for answer in answers:
        assert answer.status_code == 400
        assert "www-authenticate" not in answer.headers
    errors: list[dict[str, Any]] = [answer.json()["error"] for answer in answers]
    for error in errors:
        del error["data"]["io.customhouse/refusal"]["call_id"]
    assert errors[0] == errors[1]


def test_what_a_token_proved_is_in_the_log_so_that_its_calls_can_be_decided_again(
    house: Guarded,
) -> None:
    reading = house.corp.token(house.resource, scope="tools.read", sub="recorded")
    assert house.call(reading).is_success
    assert house.call(reading, "desk_shout", text="a").status_code == 403
    assert house.call(house.corp.token(house.resource, sub="recorded")).status_code == 400
    code, said, complaint = house.customhouse("audit", "replay", "agent:corp/recorded", "--json")
    assert code == 0, complaint
    replayed = json.loads(said)
    assert (replayed["agree"], replayed["differ"], replayed["not_replayed"]) == (3, 0, {})
