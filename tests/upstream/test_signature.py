"""What a signed request says, and that every request to a server that asks for it is signed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.app.clock import wall_us
from gateway.domain.model import Principal, Status
from gateway.upstream.own import own_call
from gateway.upstream.signature import (
    CACHE_S,
    DISCOVER,
    HEADER,
    LIFE_S,
    SKEW_S,
    CallKey,
    CallSigner,
)
from gateway.upstream.spec import HttpTransport, OpenApiTransport, ServerSpec
from tests.fakes import (
    Asked,
    FakeUpstream,
    border,
    echo,
    eventually,
    http_spec,
    make_call,
    make_definition,
)
from tests.servers.guarded import only_through, publishing
from tests.servers.pets import KEY, Pets, serving
from tests.upstream.older_servers import (
    Guard,
    Running,
    newest_server,
    sse_server,
    streamable_server,
)

STATE_KEY, NEXT_KEY = b"\x01" * 32, b"\x02" * 32
NOW_S = 1_795_000_000
ISSUER, AUDIENCE = "https://tools.example.com", "https://docs.example.com/mcp"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop is enough: the connections are those of other tests, which run on both."""
    return "asyncio", {"use_uvloop": True}


@dataclass
class Clock:
    now_s: int = NOW_S

    def __call__(self) -> int:
        return self.now_s * 1_000_000


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def token_in(line: bytes) -> str:
    name, value = line.decode("ascii").removesuffix("\r\n").split(": ")
    assert name == HEADER
    return value


def said_by(signer: CallSigner, *what: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head and the claims of one token."""
    call, body = what or (make_call(), b"{}")
    head, claims, _ = token_in(signer.line(call, AUDIENCE, b"POST /mcp", body)).split(".")
    return json.loads(decoded(head)), json.loads(decoded(claims))


def kids(signer: CallSigner) -> list[str]:
    return [key["kid"] for key in json.loads(signer.jwks())["keys"]]


def test_keys_and_signatures_are_those_of_the_published_example() -> None:
    """RFC 8037, appendix A.1 to A.4."""
    private = decoded("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = CallKey(Ed25519PrivateKey.from_private_bytes(private))
    assert key.jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.jws(b'{"alg":"EdDSA"}', b"Example of Ed25519 signing") == (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_a_token_says_who_calls_what_with_which_bytes_and_for_how_long() -> None:
    who = Principal("acme", "corp/alice", actors=("planner", "pool"))
    call = replace(make_call(name="get_page", arguments={"page": 7}), principal=who)
    signer = CallSigner(STATE_KEY, ISSUER, Clock())
    head, claims = said_by(signer, call, b'{"id":1}')
    assert head == {"alg": "EdDSA", "kid": kids(signer)[0], "typ": "customhouse-call+jwt"}
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": NOW_S,
        "exp": NOW_S + 60,
        "sub": "corp/alice",
        "tenant": "acme",
        "act": {"sub": "planner", "act": {"sub": "pool"}},
        "call": call.id,
        "method": "tools/call",
        "tool": "get_page",
        "args": digest(b'{"page": 7}'),
        "request": digest(b'POST /mcp\n{"id":1}'),
    }


@pytest.mark.parametrize("call", [None, own_call("docs", "tools/list", {})], ids=["none", "own"])
def test_what_belongs_to_no_call_is_the_gateways_own_and_names_no_tool(call: Any) -> None:
    _, claims = said_by(CallSigner(STATE_KEY, ISSUER, Clock()), call, b"")
    assert claims.keys() == {"iss", "aud", "iat", "exp", "jti", "request", "sub"}
    assert claims["sub"] == DISCOVER == own_call("docs", "ping", {}).principal.subject


def test_no_two_tokens_have_one_id_not_even_after_a_restart() -> None:
    signers = [CallSigner(STATE_KEY, ISSUER, Clock()) for _ in range(2)]
    ids = [said_by(signer)[1]["jti"] for signer in signers for _ in range(3)]
    assert len(set(ids)) == 6
    assert kids(signers[0]) == kids(signers[1])


@pytest.mark.parametrize("name", ["a\r\nHost: evil", "a: b", "\u0436\U0001f600", "x" * 128])
def test_no_name_adds_a_line_to_the_head(name: str) -> None:
    line = CallSigner(STATE_KEY, ISSUER, Clock()).line(
        make_call(name=name), AUDIENCE, b"POST /mcp", b""
    )
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert json.loads(decoded(token_in(line).split(".")[1]))["tool"] == name


def test_a_new_key_is_published_before_it_signs_and_an_old_one_until_its_tokens_are_over() -> None:
    clock = Clock()
    signer = CallSigner(STATE_KEY, ISSUER, clock)
    [old] = kids(signer)
    signer.rekey(NEXT_KEY)
    both = kids(signer)
    assert both[0] == old
    assert said_by(signer)[0]["kid"] == old
    clock.now_s += CACHE_S - 1
    assert said_by(signer)[0]["kid"] == old
    clock.now_s += 1
    assert said_by(signer)[0]["kid"] == both[1]
    clock.now_s += LIFE_S + SKEW_S - 1
    assert kids(signer) == both
    clock.now_s += 1
    assert kids(signer) == both[1:]
    clock.now_s = NOW_S  # however the clock goes, there is a key
    assert said_by(signer)[0]["kid"] == both[1]


def test_keys_that_are_rotated_in_a_hurry_follow_each_other() -> None:
    clock = Clock()
    signer = CallSigner(STATE_KEY, ISSUER, clock)
    signer.rekey(NEXT_KEY)
    clock.now_s += 5
    signer.rekey(b"\x03" * 32)
    all_three = kids(signer)
    assert len(set(all_three)) == 3
    clock.now_s += CACHE_S
    assert said_by(signer)[0]["kid"] == all_three[2]
    clock.now_s += LIFE_S + SKEW_S
    assert kids(signer) == all_three[2:]


# -- on the wire ----------------------------------------------------------------------------------


@pytest.fixture
def signing() -> Iterator[tuple[CallSigner, str]]:
    """A signer with the URL that it signs as, and publishes its keys at."""
    made: list[CallSigner] = []
    with publishing(lambda: made[0].jwks()) as url:
        made.append(CallSigner(STATE_KEY, url, wall_us))
        yield made[0], url


def signed_spec(url: str, signer: CallSigner) -> ServerSpec:
    return ServerSpec("fake", HttpTransport(url, allow_private=True, signer=signer), timeout_s=5.0)


def noting(refused: list[str], guard: Guard) -> Guard:
    """*guard*, and what it refused."""

    def guarded(app: ASGIApp, here: str) -> ASGIApp:
        behind = guard(app, here)

        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            async def note(message: Message) -> None:
                if message.get("status") == 403:
                    refused.append(f"{scope['method']} {scope['path']}")
                await send(message)

            await behind(scope, receive, note)

        return noted

    return guarded


Opening = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.parametrize("opened", [newest_server, streamable_server, sse_server])
async def test_a_guarded_server_of_any_kind_is_listed_called_heard_and_left(
    opened: Opening, signing: tuple[CallSigner, str]
) -> None:
    signer, url = signing
    refused: list[str] = []
    async with opened(guard=noting(refused, only_through(url))) as server:
        async with border(signed_spec(server.url, signer)) as house:
            listing = await house.upstreams.list_definitions("fake")
            assert "echo" in [one.name for one in listing.definitions]
            outcome = await house.call(make_call(arguments={"n": 1}))
            assert outcome.status is Status.OK
            if opened is not newest_server:
                health = house.upstreams.health
                await eventually(lambda: health()["fake"].connector["listening"] == 1)
        if opened is streamable_server:
            await eventually(lambda: bool(server.requests("DELETE")))
    assert refused == []
    if opened is not newest_server:
        assert server.posts("notifications/initialized")
        assert server.requests("GET")
    subjects = {one.method: one.border["sub"] for one in server.seen}
    assert subjects.pop("tools/call") == "alice"
    assert set(subjects.values()) == {DISCOVER}
    [called] = server.posts("tools/call")
    assert called.border["tool"] == "echo"
    assert called.border["args"] == digest(b'{"n": 1}')


@pytest.mark.anyio
async def test_a_guarded_api_gives_its_document_and_answers_calls(
    signing: tuple[CallSigner, str],
) -> None:
    signer, url = signing
    with serving(Pets(), lambda app, here: only_through(url)(app, f"{here}/v1")) as pets:
        api = HttpTransport(f"{pets.url}/v1", KEY, allow_private=True, signer=signer)
        document = HttpTransport(f"{pets.url}/openapi.json", allow_private=True)
        async with border(ServerSpec("fake", OpenApiTransport(api, document))) as house:
            listing = await house.upstreams.list_definitions("fake")
            body = next(one.body for one in listing.definitions if one.name == "getPet")
            definition = make_definition(body, "getPet")
            call = make_call(name="getPet", arguments={"petId": "rex & co"}, definition=definition)
            assert (await house.call(call)).status is Status.OK
    (asked,) = pets.asked
    assert asked.target == "/v1/pets/rex%20%26%20co"
    _, claims, _ = asked.headers["customhouse-call"].split(".")
    assert json.loads(decoded(claims))["request"] == digest(f"GET {asked.target}\n".encode())


@pytest.mark.anyio
async def test_a_document_that_lies_elsewhere_is_not_asked_for_with_a_token(
    signing: tuple[CallSigner, str],
) -> None:
    heads: list[str] = []

    async def take(asked: Asked) -> None:
        heads.append(asked.head)
        assert HEADER.lower() not in asked.headers
        await asked.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with FakeUpstream(take, introduces=True) as other:
        api = HttpTransport("http://127.0.0.1:9/v1", allow_private=True, signer=signing[0])
        document = HttpTransport(other.url, allow_private=True)
        async with border(ServerSpec("fake", OpenApiTransport(api, document))) as house:
            with pytest.raises(Exception, match="HTTP 404"):
                await house.upstreams.list_definitions("fake")
    assert heads == ["GET /mcp HTTP/1.1"]


@pytest.mark.anyio
async def test_who_is_redirected_takes_the_token_nowhere(signing: tuple[CallSigner, str]) -> None:
    async with FakeUpstream() as other:

        async def redirect(asked: Asked) -> None:
            assert HEADER.lower() in asked.headers
            lines = f"HTTP/1.1 307 X\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
            await asked.send(lines.encode())

        async with (
            FakeUpstream(redirect) as server,
            border(signed_spec(server.url, signing[0])) as house,
        ):
            assert (await house.call()).status is Status.FAILED
        assert other.connections == 0


@pytest.mark.anyio
async def test_who_waits_for_a_connection_is_signed_when_there_is_one() -> None:
    clock, release = Clock(), asyncio.Event()

    async def slowly(asked: Asked) -> None:
        await release.wait()
        await echo(asked)

    signer = CallSigner(STATE_KEY, ISSUER, clock)
    async with FakeUpstream(slowly) as server:
        transport = HttpTransport(server.url, allow_private=True, max_connections=1, signer=signer)
        async with (
            border(ServerSpec("fake", transport, timeout_s=5.0)) as house,
            anyio.create_task_group() as group,
        ):
            for _ in range(2):
                group.start_soon(house.call)
            await eventually(lambda: house.upstreams.health()["fake"].in_flight == 2)
            await eventually(lambda: len(server.asked) == 1)
            clock.now_s += 2 * LIFE_S
            release.set()
    tokens = [asked.headers[HEADER.lower()] for asked in server.asked]
    issued = [json.loads(decoded(token.split(".")[1]))["iat"] for token in tokens]
    assert issued == [NOW_S, NOW_S + 2 * LIFE_S]


@pytest.mark.anyio
async def test_a_server_that_does_not_ask_for_it_gets_no_token() -> None:
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        assert (await house.call()).status is Status.OK
        assert HEADER.lower() not in server.asked[0].headers
