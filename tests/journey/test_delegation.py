"""Agents come for tokens of the gateway itself, and hand their rights on: real HTTP, official clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import httpx2
import jwt
import pytest
from joserfc.jwk import ECKey
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from tests.journey.delegated import ACCESS_TOKEN, KEYS, Delegating, delegating
from tests.journey.process import GatewayProcess

Way = Literal["client_secret_basic", "client_secret_post"]
pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delegating]:
    with delegating(tmp_path_factory.mktemp("delegation")) as house:
        yield house


class Kept:
    """Where a client keeps its tokens."""

    def __init__(self) -> None:
        self.tokens: list[OAuthToken] = []

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens[-1] if self.tokens else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("nobody registers here")


@asynccontextmanager
async def connected(
    url: str, auth: OAuthClientProvider, mode: str = "auto"
) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, cache=None) as client:
            yield client


def by_secret(
    house: Delegating, kept: Kept, method: Way, path: str = "/mcp"
) -> OAuthClientProvider:
    return ClientCredentialsOAuthProvider(
        house.url + path, kept, "planner", KEYS["planner"], method, issuer=house.url
    )


def by_key(house: Delegating, kept: Kept) -> OAuthClientProvider:
    assert isinstance(house.signer, ECKey)
    private = house.signer.as_pem(private=True).decode()
    said = SignedJWTParameters(
        issuer="signer", subject="signer", signing_key=private, signing_algorithm="ES256"
    )
    return PrivateKeyJWTOAuthProvider(
        house.resource, kept, "signer", said.create_assertion_provider(), issuer=house.url
    )


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
async def test_the_official_client_comes_for_its_token_by_itself(
    house: Delegating, mode: str, way: str
) -> None:
    kept = Kept()
    auth = (
        by_key(house, kept) if way == "private_key_jwt" else by_secret(house, kept, cast(Way, way))
    )
    with anyio.fail_after(20):
        async with connected(house.resource, auth, mode) as client:
            result = await client.call_tool("desk_add", {"a": 2})
            assert result.structured_content == {"result": 3}
    assert [token.scope for token in kept.tokens] == ["*"]


async def test_where_nobody_is_told_of_tokens_a_client_that_asks_finds_them_all_the_same(
    tmp_path: Path,
) -> None:
    with delegating(tmp_path, "") as quiet, anyio.fail_after(20):
        answer = quiet.call("wrong")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="customhouse"'
        metadata = quiet.client.get(f"{quiet.url}/.well-known/oauth-protected-resource/mcp")
        assert metadata.status_code == 404
        assert quiet.call(KEYS["planner"]).is_success
        auth = by_secret(quiet, Kept(), "client_secret_basic")
        async with connected(quiet.resource, auth) as client:
            result = await client.call_tool("desk_add", {"a": 2})
            assert result.structured_content == {"result": 3}
        tried = [quiet.ask(grant_type="client_credentials") for _ in range(62)]
        assert [one.status_code for one in tried[:60]] == [401] * 60
        assert (tried[-1].status_code, tried[-1].headers["retry-after"]) == (429, "1")
        assert quiet.own()  # who has a key is not made to wait for those at the same address


async def test_a_token_for_one_endpoint_is_asked_for_where_one_connects(house: Delegating) -> None:
    kept, path = Kept(), "/mcp/s/desk"
    with anyio.fail_after(20):
        auth = by_secret(house, kept, "client_secret_basic", path)
        async with connected(house.url + path, auth) as client:
            assert (await client.call_tool("add", {"a": 2})).structured_content == {"result": 3}
    narrow = kept.tokens[0].access_token
    assert house.call(narrow, "add", path).is_success
    assert house.call(narrow).status_code == 401
    code, said = house.exchange(narrow, resource=house.resource).status_code, "invalid_target"
    assert (code, house.exchange(narrow, resource=house.resource).json()["error"]) == (400, said)
    assert house.call(house.delegated(narrow), "add", path).is_success


def test_what_programs_are_told_is_what_there_is(house: Delegating) -> None:
    def get(path: str) -> Any:
        return house.client.get(house.url + path).raise_for_status().json()

    told = get("/.well-known/oauth-authorization-server")
    assert told["issuer"] == house.url
    assert told["token_endpoint"] == f"{house.url}/oauth/token"
    assert get("/.well-known/oauth-protected-resource/mcp")["authorization_servers"] == [house.url]
    (key,) = get(told["jwks_uri"].removeprefix(house.url))["keys"]
    token = house.own(scope="tool/desk/add", budget='{"calls": 5}', run="new", expires_in="120")
    # Others verify it with what is published, and a library of their own.
    claims = jwt.decode(
        token,
        jwt.PyJWK(key).key,
        algorithms=["EdDSA"],
        audience=house.resource,
        issuer=house.url,
        options={"require": ["exp", "iat", "jti", "sub", "client_id"]},
    )
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims["exp"] - claims["iat"] == 120
    assert (claims["sub"], claims["scope"]) == ("planner", "tool/desk/add")
    assert claims["budget"] == {"calls": 5}
    assert claims["run"].startswith("run-")
    answer = house.client.get(told["authorization_endpoint"])
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_response_type")


def test_rights_are_handed_on_narrower_and_the_log_knows_by_whom(house: Delegating) -> None:
    parent = house.own(scope="tool/desk/*", budget='{"calls": 50}')
    answer = house.exchange(parent, scope="tool/desk/add", budget='{"calls": 3}').json()
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert (answer["scope"], answer["expires_in"]) == ("tool/desk/add", 600)
    child = str(answer["access_token"])
    said = jwt.decode(child, options={"verify_signature": False})
    assert (said["sub"], said["act"], said["client_id"]) == ("planner", {"sub": "worker"}, "worker")
    assert [link["scope"] for link in said["chain"]] == ["tool/desk/*"]
    assert house.call(child).json()["result"]["structuredContent"] == {"result": 2}
    assert not house.call(child, "desk_shout", text="a").is_success
    grandchild = house.delegated(child, "third")
    said = jwt.decode(grandchild, options={"verify_signature": False})
    assert said["act"] == {"sub": "third", "act": {"sub": "worker"}}
    assert said["budget"] == {"calls": 3}  # what it does not ask for is what the parents have
    assert house.call(grandchild).is_success

    shown = house.said("token", "show", said["jti"])
    assert [row["client"] for row in shown["came_from"]] == ["worker", "planner"]
    assert shown["token"]["actors"] == ["third", "worker"]
    (given, *_) = house.said("audit", "query", "what:token.exchange", "author:agent:third")
    assert given["subject"] == "agent/planner"
    called = house.said("audit", "query", "kind:call", "object:tool/desk/add", "--limit", "1")
    assert called[0]["agent"] == "planner"
    (denied, *_) = house.said("audit", "query", "actor:worker", "kind:refused")
    assert (denied["agent"], denied["actors"]) == ("planner", ["worker"])


def test_the_delegator_itself_may_ask_with_a_token_of_whom_it_sends(house: Delegating) -> None:
    parent, worker = house.own(), house.own("worker", scope="tool/desk/add", budget='{"calls": 9}')
    actor = {"actor_token": worker, "actor_token_type": ACCESS_TOKEN}
    refused = house.exchange(parent, "planner", scope="tool/desk/*", **actor)
    assert refused.json()["error"] == "invalid_scope"  # the worker's own token covers less
    child = house.delegated(parent, "planner", **actor)
    said = jwt.decode(child, options={"verify_signature": False})
    assert (said["sub"], said["act"]) == ("planner", {"sub": "worker"})
    assert (said["scope"], said["budget"]) == ("tool/desk/add", {"calls": 9})
    assert house.call(child).is_success
    stranger = house.exchange(parent, "third", **actor)
    assert stranger.json()["error"] == "invalid_request"


def test_tokens_outlive_a_restart_and_a_rotation_of_their_key(tmp_path: Path) -> None:
    with delegating(tmp_path, "") as house:
        before = house.own(resource=house.url)
        assert house.said("key", "rotate", "token")["id"]
        after = house.own(resource=house.url)
        kinds = [jwt.get_unverified_header(token)["kid"] for token in (before, after)]
        assert len(set(kinds)) == 2
        keys = house.client.get(f"{house.url}/oauth/jwks").json()["keys"]
        assert {key["kid"] for key in keys} == set(kinds)
        assert house.call(before).is_success
        assert house.call(after).is_success
        port = house.url.rpartition(":")[2]
        config = house.folder / "customhouse.toml"
        config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert house.process.stop() == 0
        house.process = GatewayProcess(config, house.process.environ).start()
        assert house.call(before).is_success
        assert house.call(after).is_success
        assert house.process.stop() == 0
        (house.folder / "keys" / "token.ed25519").unlink()
        code, _, complaint = house.customhouse("serve")
        assert (code, "token.ed25519 missing" in complaint) == (3, True)


@pytest.mark.parametrize(
    ("body", "status", "error", "words"),
    [
        (b"grant_type=password", 400, "unsupported_grant_type", "client_credentials or urn:ietf"),
        (b"grant_type=", 400, "unsupported_grant_type", "client_credentials or urn:ietf"),
        (b"scope=x", 400, "unsupported_grant_type", "client_credentials or urn:ietf"),
        (b"x" * 65_537, 413, "invalid_request", "65536 bytes"),
    ],
    ids=["another grant", "an empty grant", "no grant", "too much"],
)
def test_who_asks_in_a_wrong_way_is_told_the_right_one_in_the_words_of_oauth(
    house: Delegating, body: bytes, status: int, error: str, words: str
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = httpx2.post(f"{house.url}/oauth/token", content=body, headers=form)
    said = response.json()
    assert (response.status_code, said["error"]) == (status, error)
    assert words in said["error_description"]
    assert said.keys() == {"error", "error_description", "call_id"}
