"""Tokens that were made for somebody else, by somebody else, for another time, or to be believed."""

import base64
import concurrent.futures
import hmac
import json
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from time import monotonic
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.store import engine
from tests.journey.guarded import AGENT_KEY, BORDER, Guarded, guarded
from tests.journey.issuing import new_key
from tests.journey.process import headers, modern
from tests.servers.issuer import signed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("tokens")) as house:
        # Every test begins where keys are known: an unknown one is what some of them are about.
        for issuer in (house.corp, house.turning, house.stormy):
            assert house.call(issuer.token(house.resource, scope="tools.read")).is_success
        yield house


def is_refused(response: httpx2.Response) -> bool:
    challenge = response.headers.get("www-authenticate", "")
    return response.status_code == 401 and 'error="invalid_token"' in challenge


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_token_opens_the_door_and_a_key_still_does(house: Guarded) -> None:
    assert house.call(house.corp.token(house.resource, scope="tools.read")).status_code == 200
    assert house.call(house.partner.token(BORDER, realm_access={"roles": ["guest"]})).is_success
    assert house.call(AGENT_KEY).status_code == 200


LOADED_S = 3.0  # what a machine with other work may add; without the bound a call goes on for 8 s
AUDIENCES = {
    "another gateway": "https://other.example/mcp",
    "our address alone": "{url}",
    "a slash too many": "{url}/mcp/",
    "another port": "http://127.0.0.1:1/mcp",
    "nobody": None,
    "a part of the name": "{url}/mc",
    "what another issuer's are for": BORDER,
    "a list without us": ["a", "{url}/mcp2"],
    "an object": {"a": "{url}/mcp"},
    "everybody": "*",
}


@pytest.mark.parametrize("audience", AUDIENCES.values(), ids=AUDIENCES.keys())
def test_a_token_for_somebody_else_is_refused(house: Guarded, audience: Any) -> None:
    said = json.loads(json.dumps(audience).replace("{url}", house.url))
    assert is_refused(house.call(house.corp.token("", aud=said)))


def test_the_audience_of_one_issuer_is_not_that_of_another(house: Guarded) -> None:
    assert is_refused(house.call(house.partner.token(house.resource)))


def test_a_token_that_one_issuer_signed_in_the_name_of_another_is_refused(house: Guarded) -> None:
    claims = house.corp.claims(house.resource)
    forged = signed(claims, house.turning.keys[0])
    assert is_refused(house.call(forged))
    same_id = new_key("c1")
    assert is_refused(house.call(signed(claims, same_id)))
    slash = house.corp.claims(house.resource, iss=f"{house.corp.url}/")
    assert is_refused(house.call(signed(slash, house.corp.keys[0])))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AA"])
def test_what_nobody_signed_is_believed_by_nobody(
    house: Guarded, algorithm: str, signature: str
) -> None:
    head = {"alg": algorithm, "typ": "JWT", "kid": "c1"}
    token = f"{encoded(head)}.{encoded(house.corp.claims(house.resource))}.{signature}"
    assert house.call(token).status_code == 401


def test_a_public_key_is_no_secret_to_sign_with(house: Guarded) -> None:
    for issuer in (house.corp, house.partner):
        key = issuer.keys[0]
        public = key.as_dict(private=False)
        raw = key.public_key
        secrets = [
            raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),  # type: ignore[union-attr]  # not an oct key
            raw.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),  # type: ignore[union-attr]  # not an oct key
            json.dumps(public).encode(),
        ]
        for secret in secrets:
            head = encoded({"alg": "HS256", "typ": "JWT", "kid": key.kid})
            signing = f"{head}.{encoded(issuer.claims(house.resource))}"
            mac = hmac.new(secret, signing.encode(), sha256).digest()
            token = f"{signing}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
            assert is_refused(house.call(token))


def test_a_key_that_the_token_brings_along_proves_nothing(house: Guarded) -> None:
    own = new_key("mine")
    claims = house.corp.claims(house.resource)
    for header in (
        {"jwk": own.as_dict(private=False), "kid": None},
        {"jku": f"{house.corp.url}/jwks", "kid": None},
        {"jwk": own.as_dict(private=False), "kid": "c1"},
        {"x5u": f"{house.corp.url}/jwks", "kid": "../../../dev/null"},
    ):
        assert house.call(signed(claims, own, **header)).status_code == 401


HEADERS: dict[str, dict[str, Any]] = {
    "a proof of possession": {"typ": "dpop+jwt"},
    "a logout": {"typ": "logout+jwt"},
    "an assertion": {"typ": "oauth-id-jag+jwt"},
    "an extension that must be understood": {"crit": ["exp"], "exp": 1},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_jwt_that_is_no_access_token_is_refused(house: Guarded, header: dict[str, Any]) -> None:
    token = signed(house.corp.claims(house.resource), house.corp.keys[0], **header)
    assert is_refused(house.call(token))


def now_s() -> int:
    return int(time.time())  # noqa: TID251 - the attacker's clock


CLAIMS: dict[str, Any] = {
    "expired by a second": lambda: {"exp": now_s() - 1},
    "expired now": lambda: {"exp": now_s()},
    "never ending": lambda: {"exp": None},
    "ending at infinity": lambda: {"exp": 1e308},
    "ending as text": lambda: {"exp": str(now_s() + 60)},
    "ending with true": lambda: {"exp": True},
    "not begun": lambda: {"nbf": now_s() + 60},
    "issued tomorrow": lambda: {"iat": now_s() + 86_400},
    "bound to a key": lambda: {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    "an ID token": lambda: {"token_use": "id", "nonce": "n"},
    "a refresh token": lambda: {"typ": "Refresh"},
    "of nobody": lambda: {"sub": None},
    "of an empty name": lambda: {"sub": ""},
    "of a name that hides something": lambda: {"sub": "alice\u202e"},
    "of a number": lambda: {"sub": 7},
    "of too long a name": lambda: {"sub": "a" * 256},
    "for an actor without a name": lambda: {"act": {}},
    "for actors without end": lambda: {"act": chain(9)},
    "with scopes that are none": lambda: {"scope": 7},
    "with a jti that is none": lambda: {"jti": ["a"]},
    "too long": lambda: {"padding": "x" * 8_000},
}


def chain(links: int) -> dict[str, Any]:
    return {"sub": "a", **({"act": chain(links - 1)} if links > 1 else {})}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_token_that_is_not_whole_and_good_now_is_refused(house: Guarded, claims: Any) -> None:
    assert house.call(house.corp.token(house.resource, **claims())).status_code == 401


def test_the_same_name_twice_in_a_token_is_refused(house: Guarded) -> None:
    claims = json.dumps(house.corp.claims(house.resource))
    twice = claims[:-1] + f', "aud": "{house.resource}"' + "}"
    assert is_refused(house.call(signed(twice, house.corp.keys[0])))


def test_a_token_is_no_credential_in_the_url_or_beside_a_key(house: Guarded) -> None:
    token = house.corp.token(house.resource)
    assert house.call(token, path=f"/mcp?access_token={token}").status_code == 400
    said = [*headers("tools/list", key=AGENT_KEY).items(), ("Authorization", f"Bearer {token}")]
    answer = house.client.post(house.resource, content=modern("tools/list", {}), headers=said)
    assert answer.status_code == 400


# -- profiles -------------------------------------------------------------------------------------


def test_a_token_that_was_believed_at_one_endpoint_is_not_remembered_at_another(
    house: Guarded,
) -> None:
    narrow = house.corp.token(f"{house.resource}/s/desk", scope="tools.read")
    for _ in range(2):
        assert house.call(narrow, "add", "/mcp/s/desk").status_code == 200
        assert house.call(narrow, "add", "/token/mcp/s/desk").status_code == 200
        assert is_refused(house.call(narrow))
        assert is_refused(house.call(narrow, "add", "/mcp/s/other"))
        assert is_refused(house.call(narrow, "add", "/mcp/t/desk"))
        assert house.client.get(
            f"{house.url}/metrics", headers={"Authorization": f"Bearer {narrow}"}
        ).is_client_error


def test_what_a_wide_token_opened_stays_closed_to_a_narrow_one(house: Guarded) -> None:
    wide = house.corp.token(house.resource, scope="tools.read tools.write")
    narrow = house.corp.token(house.resource, scope="tools.read")
    assert house.call(wide, "desk_shout", text="a").status_code == 200
    assert house.call(narrow, "desk_shout", text="a").status_code == 403
    assert house.tools(house.corp.token(house.resource)) == []
    assert "desk_shout" in house.tools(wide)


# -- keys -----------------------------------------------------------------------------------------


def test_a_storm_of_unknown_keys_makes_one_fetch(house: Guarded) -> None:
    before = house.stormy.asked
    claims = house.stormy.claims(house.resource)
    stray = new_key("stray")

    def knock(number: int) -> int:
        return house.call(signed(claims, stray, kid=f"unknown-{number}")).status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(knock, range(200))) == {401}
    assert house.stormy.asked == before + 1


def test_keys_that_are_turned_over_while_calls_are_under_way(house: Guarded) -> None:
    """No call fails for it, and none is believed that is signed with a key that is gone."""
    turning, old = house.turning, house.turning.token(house.resource)
    said: list[tuple[str, float, int]] = []  # key, when it was answered, status
    begun, done = threading.Event(), threading.Event()

    def work() -> None:
        while not done.is_set():
            key = turning.keys[0]
            status = house.call(signed(turning.claims(house.resource), key)).status_code
            said.append((key.kid or "", monotonic(), status))
            begun.set()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert house.call(old).is_success
    assert begun.wait(30)
    turned_s = monotonic()
    turning.rotate(new_key("t2", "OKP"))
    assert house.call(turning.token(house.resource)).is_success
    done.set()
    for worker in workers:
        worker.join(30)
    assert {status for kid, _, status in said if kid == "t2"} <= {200}
    assert {status for _, at_s, status in said if at_s < turned_s} == {200}
    assert is_refused(house.call(old))
    assert is_refused(house.call(turning.token(house.resource, iss=house.corp.url)))


# -- revocation and the end -----------------------------------------------------------------------


def test_a_revoked_token_is_refused_though_it_was_just_remembered(house: Guarded) -> None:
    one = house.corp.token(house.resource, scope="tools.read", jti="only-this", sub="bob")
    other = house.corp.token(house.resource, scope="tools.read", jti="and-this", sub="bob")
    assert house.call(one).is_success
    assert house.call(other).is_success
    code, _, complaint = house.customhouse("token", "revoke", "--jti", "corp/only-this")
    assert code == 0, complaint
    assert is_refused(house.call(one))
    assert house.call(other).is_success
    code, _, complaint = house.customhouse("token", "revoke", "corp/bob")
    assert code == 0, complaint
    assert is_refused(house.call(other))
    for_bob = house.corp.token(
        house.resource, scope="tools.read", sub="bob", act={"sub": "helper"}, iat=None
    )
    assert is_refused(house.call(for_bob))
    later = house.corp.token(house.resource, scope="tools.read", sub="bob", iat=now_s() + 4)
    assert is_refused(house.call(later))  # a clock that is ahead does not bring it back


def test_a_revocation_is_in_the_log_and_names_nobody_there(house: Guarded) -> None:
    assert house.customhouse("token", "revoke", "corp/carol", "--reason", "she left")[0] == 0
    code, said, _ = house.customhouse("audit", "query", "what:token.revoke", "--json")
    assert code == 0
    assert "token.revoke" in said
    database = house.folder / "data" / engine.DATABASE
    with engine.reading(database) as connection:
        bodies = [row[0] for row in connection.execute("SELECT body FROM entries")]
    assert not any(b"carol" in body for body in bodies)
    assert b"carol" not in database.read_bytes()


@pytest.mark.parametrize("what", ["nobody/alice", "alice", "corp/"])
def test_a_revocation_that_fits_no_issuer_is_not_made(house: Guarded, what: str) -> None:
    assert house.customhouse("token", "revoke", what)[0] in (1, 2)


def test_a_call_under_way_ends_within_a_second_when_its_token_does(house: Guarded) -> None:
    short = house.corp.token(house.resource, scope="tools.read", exp=now_s() + 2)
    ends_s = monotonic() + 2
    ended = house.call(short, "desk_block", seconds=8)
    assert monotonic() - ends_s < 1 + LOADED_S
    assert is_refused(ended)


def test_a_call_under_way_ends_within_a_second_when_its_token_is_revoked(house: Guarded) -> None:
    token = house.corp.token(house.resource, scope="tools.read", sub="dora")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(house.call, token, "desk_block", seconds=8)
        while "dora" not in house.customhouse("audit", "query", "kind:call", "agent:corp/dora")[1]:
            assert not answer.done()
        assert house.customhouse("token", "revoke", "corp/dora")[0] == 0
        revoked_s = monotonic()
        assert is_refused(answer.result(timeout=5))
        assert monotonic() - revoked_s < 1 + LOADED_S


def listen(house: Guarded, token: str, opened: threading.Event) -> float:
    """Hold a subscription of the newest era open; when it was closed."""
    wanted = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, 7)
    said = headers("subscriptions/listen", key=token)
    with house.client.stream("POST", house.resource, content=wanted, headers=said) as response:
        return until_closed(response, opened)


def attend(house: Guarded, token: str, opened: threading.Event) -> float:
    """The same in a session of the handshake era."""
    client = {"name": "attacker", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    said = headers("", key=token) | {"MCP-Protocol-Version": "2025-11-25"}
    said["Mcp-Session-Id"] = house.client.post(
        house.resource, content=json.dumps(hello), headers=said
    ).headers["mcp-session-id"]
    with house.client.stream("GET", house.resource, headers=said) as response:
        return until_closed(response, opened)


def until_closed(response: httpx2.Response, opened: threading.Event) -> float:
    assert response.status_code == 200
    for _ in response.iter_lines():
        opened.set()
    return monotonic()


def test_subscriptions_are_closed_within_a_second_when_their_token_ends(house: Guarded) -> None:
    exp = now_s() + 2
    ends_s = monotonic() + exp - time.time()  # noqa: TID251 - the attacker's clock
    token = house.corp.token(house.resource, scope="tools.read", exp=exp)
    opened = [threading.Event(), threading.Event()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        closed = pool.map(lambda way, heard: way(house, token, heard), (listen, attend), opened)
        assert all(0 <= closed_s - ends_s < 1 + LOADED_S for closed_s in closed)
    assert all(heard.is_set() for heard in opened)
    assert is_refused(house.call(token))


@pytest.mark.parametrize("subscribe", [listen, attend])
@pytest.mark.parametrize("named", ["by its id", "by its subject"])
def test_a_subscription_is_closed_within_a_second_when_its_token_is_revoked(
    house: Guarded, subscribe: Any, named: str
) -> None:
    who, opened = f"{subscribe.__name__}-{named[-2:]}", threading.Event()
    token = house.corp.token(house.resource, scope="tools.read", sub=who, jti=who)
    what = ("--jti", f"corp/{who}") if named == "by its id" else (f"corp/{who}",)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        subscription = pool.submit(subscribe, house, token, opened)
        assert opened.wait(10)
        asked_s = monotonic()
        assert not subscription.done()
        assert house.customhouse("token", "revoke", *what)[0] == 0
        revoked_s = monotonic()
        closed_s = subscription.result(timeout=5)
    assert asked_s < closed_s < revoked_s + 1 + LOADED_S
    assert is_refused(house.call(token))


def test_nothing_of_a_token_is_in_the_logs(house: Guarded) -> None:
    token = house.corp.token(house.resource, sub="seen-by-nobody", aud="elsewhere")
    house.call(token)
    said = repr(house.process.lines)
    assert "token_refused" in said
    assert token not in said
    assert token.rpartition(".")[2] not in said
    assert "seen-by-nobody" not in said
    assert token.encode() not in (house.folder / "data" / engine.DATABASE).read_bytes()
