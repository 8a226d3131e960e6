"""The recipe for servers: what is not a fresh token for this very request does not get in."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest

from gateway.app.clock import wall_us
from gateway.upstream.signature import CallSigner
from tests.fakes import make_call
from tests.servers.guarded import RECIPE, only_through, publishing

pytestmark = pytest.mark.anyio

STATE_KEY = b"\x01" * 32
ME, BODY = "http://127.0.0.1:9/mcp", b'{"method":"tools/call"}'
SIGNED = b"POST /mcp"
Message = MutableMapping[str, Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Guarded:
    """The recipe in front of an app that reads its body, and whatever comes after it."""

    border: str
    fetched: list[int]
    signers: list[CallSigner]
    let_in: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = only_through(self.border)(self._inside, ME)

    async def _inside(self, scope: Message, receive: Any, send: Any) -> None:
        message = await receive()
        assert (await receive())["type"] == "http.disconnect"
        self.let_in.append((scope["border"], message["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def signer(self, state_key: bytes = STATE_KEY, late_s: int = 0) -> CallSigner:
        return CallSigner(state_key, self.border, lambda: wall_us() - late_s * 1_000_000)

    def token(self, audience: str = ME, first: bytes = SIGNED, **how: Any) -> bytes:
        line = self.signer(**how).line(make_call(), audience, first, BODY)
        return line.removesuffix(b"\r\n").partition(b": ")[2]

    def claims(self) -> tuple[dict[str, Any], str]:
        """Those of a good token, and the name of its key."""
        token = self.token()
        claims = jwt.decode(token, options={"verify_signature": False})
        return claims, jwt.get_unverified_header(token)["kid"]

    async def status(
        self, *tokens: bytes, body: bytes = BODY, method: str = "POST", target: str = "/mcp"
    ) -> int:
        """What comes of one request: its body in two pieces, then the caller leaves."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"customhouse-call", token) for token in tokens],
        }
        coming: list[Message] = [
            {"type": "http.request", "body": body[:3], "more_body": True},
            {"type": "http.request", "body": body[3:]},
            {"type": "http.disconnect"},
        ]
        said: list[Message] = []

        async def receive() -> Message:
            return coming.pop(0)

        async def send(message: Message) -> None:
            said.append(message)

        await self.app(scope, receive, send)
        status: int = said[0]["status"]
        return status


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    fetched: list[int] = []
    signers: list[CallSigner] = []

    def key_set() -> bytes:
        fetched.append(1)
        return signers[-1].jwks()

    with publishing(key_set) as url:
        made = Guarded(url, fetched, signers)
        signers.append(made.signer())
        yield made


async def test_a_signed_request_comes_in_whole_with_what_was_said_of_it(guarded: Guarded) -> None:
    assert await guarded.status(guarded.token()) == 200
    [(border, body)] = guarded.let_in
    assert body == BODY
    assert (border["sub"], border["tool"]) == ("alice", "echo")


async def test_a_token_is_good_once(guarded: Guarded) -> None:
    token = guarded.token()
    assert [await guarded.status(token) for _ in range(3)] == [200, 403, 403]


async def test_a_used_token_is_remembered_when_the_memory_turns(guarded: Guarded) -> None:
    token = guarded.token()
    assert await guarded.status(token) == 200
    guarded.app.forget_s = 0.0
    assert await guarded.status(token) == 403


ALTERED: dict[str, dict[str, Any]] = {
    "other arguments": {"body": BODY + b" "},
    "no body": {"body": b""},
    "another path": {"target": "/other"},
    "a query": {"target": "/mcp?admin=1"},
    "another method": {"method": "DELETE"},
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
async def test_a_token_is_good_for_its_own_request_only(
    guarded: Guarded, altered: dict[str, Any]
) -> None:
    assert await guarded.status(guarded.token(), **altered) == 403
    assert guarded.let_in == []


TOKENS: dict[str, dict[str, Any]] = {
    "for another server": {"audience": "http://127.0.0.1:9/other"},
    "expired": {"late_s": 75},
    "of tomorrow": {"late_s": -75},
    "of another house": {"state_key": b"\x09" * 32},
}


@pytest.mark.parametrize("how", TOKENS.values(), ids=TOKENS)
async def test_a_token_has_to_be_from_here_for_here_and_for_now(
    guarded: Guarded, how: dict[str, Any]
) -> None:
    assert await guarded.status(guarded.token(**how)) == 403
    assert await guarded.status(guarded.token()) == 200


async def test_a_clock_that_is_a_little_off_refuses_nobody(guarded: Guarded) -> None:
    assert await guarded.status(guarded.token(late_s=65)) == 200
    assert await guarded.status(guarded.token(late_s=-5)) == 200


async def test_nothing_but_one_token_counts(guarded: Guarded) -> None:
    first, second = guarded.token(), guarded.token()
    assert await guarded.status() == 403
    assert await guarded.status(b"") == 403
    assert await guarded.status(b"\xff.\xff.\xff") == 403
    assert await guarded.status(first, second) == 403
    assert await guarded.status(first, first) == 403


async def test_a_signature_of_another_kind_is_none(guarded: Guarded) -> None:
    claims, kid = guarded.claims()
    unsigned = jwt.encode(claims, "", "none", {"kid": kid})
    assert await guarded.status(unsigned.encode()) == 403
    # The public key is known to everybody: it must not do as a secret.
    [public] = json.loads(guarded.signers[0].jwks())["keys"]
    parts = unsigned.split(".")[1]
    head = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).decode()
    for secret in (public["x"].encode(), jwt.utils.base64url_decode(public["x"])):
        mac = hmac.new(secret, f"{head}.{parts}".encode(), hashlib.sha256).digest()
        forged = f"{head}.{parts}.{jwt.utils.base64url_encode(mac).decode()}"
        assert await guarded.status(forged.encode()) == 403
    assert guarded.let_in == []


async def test_strangers_make_the_server_fetch_keys_once_a_second_at_most(guarded: Guarded) -> None:
    for n in range(20):
        assert await guarded.status(guarded.token(state_key=bytes([n + 2]) * 32)) == 403
    assert len(guarded.fetched) <= 2


async def test_a_border_that_cannot_be_asked_lets_nobody_in() -> None:
    with publishing(lambda: b"") as url:
        pass
    alone = Guarded(url, [], [])
    assert await alone.status(alone.token()) == 403


async def test_a_websocket_is_shut_and_the_lifespan_is_the_apps(guarded: Guarded) -> None:
    said: list[Message] = []
    reached: list[str] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def app(scope: Message, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    guarded.app.app = app
    await guarded.app({"type": "websocket", "headers": []}, None, send)
    await guarded.app({"type": "lifespan"}, None, send)
    assert [message["type"] for message in said] == ["websocket.close"]
    assert reached == ["lifespan"]


def test_the_recipe_stays_one_that_is_read_in_a_minute() -> None:
    lines = RECIPE.read_text().partition("class ")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 45
