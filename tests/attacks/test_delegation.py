"""Agents that want more than they were handed: wider, longer, as somebody else, or after it was taken back."""

from __future__ import annotations

import base64
import concurrent.futures
import hmac
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from time import monotonic
from typing import Any

import httpx2
import jwt
import pytest

from tests.journey.delegated import ACCESS_TOKEN, KEYS, Delegating, delegating
from tests.journey.issuing import new_key
from tests.journey.process import headers, modern
from tests.servers.issuer import signed

pytestmark = pytest.mark.slow
LOADED_S = 3.0  # what a machine with other work may add


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delegating]:
    with delegating(tmp_path_factory.mktemp("delegation")) as house:
        yield house


def said_by(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def error(answer: httpx2.Response) -> tuple[int, str]:
    """The refusal, of which nothing of the request is repeated."""
    said = answer.json()
    assert "access_token" not in said
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, said["error"]


INVALID_SCOPE, INVALID_REQUEST = (400, "invalid_scope"), (400, "invalid_request")
INVALID_CLIENT, INVALID_TARGET = (401, "invalid_client"), (400, "invalid_target")

PARENT = {"scope": "tool/desk/* resource/desk/a*", "budget": '{"calls": 10, "cost": 0}'}
WIDER = {
    "everything": ({"scope": "*"}, INVALID_SCOPE),
    "all tools": ({"scope": "tool/*"}, INVALID_SCOPE),
    "a name that begins alike": ({"scope": "tool/desk*"}, INVALID_SCOPE),
    "one more object": ({"scope": "tool/desk/add prompt/desk/hello"}, INVALID_SCOPE),
    "a shorter beginning": ({"scope": "resource/desk/*"}, INVALID_SCOPE),
    "a glob in the middle": ({"scope": "tool/*/add"}, INVALID_SCOPE),
    "another kind of name": ({"scope": "openid"}, INVALID_SCOPE),
    "an empty name": ({"scope": "tool/desk/add  tool/desk/shout"}, INVALID_SCOPE),
    "one call more": ({"budget": '{"calls": 11}'}, INVALID_SCOPE),
    "cost where there is none": ({"budget": '{"calls": 1, "cost": 1}'}, INVALID_SCOPE),
    "less than nothing": ({"budget": '{"calls": -1}'}, INVALID_REQUEST),
    "a share of a call": ({"budget": '{"calls": 0.5}'}, INVALID_REQUEST),
    "as many as can be": ({"budget": '{"calls": Infinity}'}, INVALID_REQUEST),
    "the same meter twice": ({"budget": '{"calls": 9, "calls": 3}'}, INVALID_REQUEST),
    "true calls": ({"budget": '{"calls": true}'}, INVALID_REQUEST),
    "another meter": ({"budget": '{"stars": 1}'}, INVALID_REQUEST),
    "no object": ({"budget": "[]"}, INVALID_REQUEST),
    "another gateway": ({"resource": "https://other.example/mcp"}, INVALID_TARGET),
    "a part of our name": ({"resource": "{url}0/mcp"}, INVALID_TARGET),
    "two resources": ({"resource": "{url}/mcp", "audience": "{url}"}, INVALID_TARGET),
    "without OAuth": ({"resource": "{url}/token/mcp"}, INVALID_TARGET),
    "a token to refresh": ({"requested_token_type": "refresh"}, INVALID_REQUEST),
    "a life of no length": ({"expires_in": "0"}, INVALID_REQUEST),
    "a life that ended": ({"expires_in": "-1"}, INVALID_REQUEST),
}


@pytest.mark.parametrize(("form", "refused"), WIDER.values(), ids=WIDER.keys())
def test_nobody_gets_more_than_the_token_it_was_handed(
    house: Delegating, form: dict[str, str], refused: tuple[int, str]
) -> None:
    form = {name: value.replace("{url}", house.url) for name, value in form.items()}
    assert error(house.exchange(house.own(**PARENT), **form)) == refused


def test_a_refused_exchange_is_an_entry_with_who_asked(house: Delegating) -> None:
    answer = house.exchange(house.own(**PARENT), "fourth", scope="tool/*")
    (entry,) = house.said("audit", "show", answer.json()["call_id"])["entries"]
    assert (entry["code"], entry["agent"]) == ("token_too_wide", "fourth")


def test_those_who_were_sent_share_what_their_sender_has(house: Delegating) -> None:
    parent = house.own(budget='{"calls": 3}')
    sent = [house.delegated(parent, agent) for agent in ("worker", "third")]
    answers = [house.call(token).json()["result"] for token in (*sent, *sent)]
    assert [answer["isError"] for answer in answers] == [False, False, False, True]
    refused = answers[-1]["_meta"]["io.customhouse/refusal"]
    assert (refused["code"], refused["scope"]) == ("over_budget", "grant")


def test_a_life_is_never_longer_than_what_is_left_of_the_parent(house: Delegating) -> None:
    parent = house.own(expires_in="60")
    child = said_by(house.delegated(parent, expires_in="86400"))
    assert child["exp"] <= said_by(parent)["exp"]
    day = said_by(house.own(expires_in="999999999"))
    assert day["exp"] - day["iat"] == 86_400


def test_a_chain_has_no_cycle_and_an_end(house: Delegating) -> None:
    parent = house.own()
    assert error(house.exchange(parent, "planner")) == INVALID_REQUEST
    child = house.delegated(parent, "worker")
    for again in ("worker", "planner"):
        answer = house.exchange(child, again)
        assert error(answer) == INVALID_REQUEST
        assert "cycle" in answer.json()["error_description"]
    grandchild = house.delegated(child, "third")
    answer = house.exchange(grandchild, "fourth")  # runs.depth is 2
    assert error(answer) == INVALID_REQUEST
    assert "runs.depth" in answer.json()["error_description"]


def test_an_agent_of_another_tenant_gets_nothing_of_ours(house: Delegating) -> None:
    mine, theirs = house.own(), house.own("outsider")
    assert error(house.exchange(mine, "outsider")) == INVALID_REQUEST
    assert error(house.exchange(theirs, "worker")) == INVALID_REQUEST
    actor = {"actor_token": theirs, "actor_token_type": ACCESS_TOKEN}
    assert error(house.exchange(mine, "planner", **actor)) == INVALID_REQUEST


def test_whose_token_is_bound_to_a_run_stays_in_it(house: Delegating) -> None:
    bound = house.own(run="run-of-today")
    for run in ("run-of-others", "new"):
        assert error(house.exchange(bound, run=run)) == INVALID_REQUEST
    for form in ({}, {"run": "run-of-today"}):
        assert said_by(house.delegated(bound, **form))["run"] == "run-of-today"
    assert error(house.ask("planner", grant_type="client_credentials", run="../../etc")) == (
        INVALID_REQUEST
    )


# -- tokens that nobody gave out ------------------------------------------------------------------


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forged(house: Delegating, token: str, **claims: Any) -> list[str]:
    """The claims of *token* with others, in every way in which somebody without the key can sign."""
    header, said = jwt.get_unverified_header(token), said_by(token) | claims
    (jwk,) = house.client.get(f"{house.url}/oauth/jwks").json()["keys"]
    public = base64.urlsafe_b64decode(jwk["x"] + "=")
    begun = f"{encoded({**header, 'alg': 'HS256'})}.{encoded(said)}"
    mac = hmac.new(public, begun.encode(), sha256).digest()
    key = new_key(header["kid"], "OKP")
    return [
        f"{encoded({**header, 'alg': 'none'})}.{encoded(said)}.",
        f"{encoded({**header, 'alg': 'none'})}.{encoded(said)}.AA",
        f"{begun}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        signed(said, key, kid=header["kid"]),
        signed(said, key, kid=header["kid"], jwk=key.as_dict(private=False)),
        f"{token.split('.')[0]}.{encoded(said)}.{token.split('.')[2]}",
    ]


def test_nobody_signs_but_the_gateway(house: Delegating) -> None:
    token = house.own("worker", scope="tool/desk/shout")
    act = {"act": {"sub": "worker"}, "sub": "planner"}
    for claims in (act, {"scope": "*"}, {"sub": "planner"}, {"exp": 2**40}):
        for raw in forged(house, token, **claims):
            assert house.call(raw).status_code == 401
            assert error(house.exchange(raw, "third")) == INVALID_REQUEST


def test_a_token_is_good_where_it_is_for(house: Delegating) -> None:
    narrow = house.own(resource=f"{house.url}/mcp/s/desk")
    assert house.call(narrow).status_code == 401
    assert house.call(narrow, "add", "/mcp/s/desk").is_success
    assert house.call(narrow, path="/mcp/s/other").status_code == 401
    assert error(house.exchange(narrow, resource=f"{house.url}/mcp")) == INVALID_TARGET


def test_a_key_is_no_token_and_half_a_request_is_none(house: Delegating) -> None:
    assert error(house.exchange(KEYS["planner"])) == INVALID_REQUEST
    assert error(house.ask("worker", grant_type="password", username="a")) == (
        400,
        "unsupported_grant_type",
    )
    token = house.own()
    assert error(house.exchange(token, subject_token_type="urn:x")) == INVALID_REQUEST
    assert error(house.exchange(token, actor_token_type=ACCESS_TOKEN)) == INVALID_REQUEST
    assert error(house.exchange(token, actor_token="a.b.c", actor_token_type=ACCESS_TOKEN)) == (
        INVALID_REQUEST
    )


# -- clients that are somebody else ---------------------------------------------------------------


def test_who_tries_names_and_secrets_learns_nothing(house: Delegating) -> None:
    wrong = "chk_" + "x" * 43
    answers = [
        house.ask(grant_type="client_credentials", client_id=name, client_secret=secret)
        for name, secret in (("planner", wrong), ("nobody", wrong), ("planner", KEYS["worker"]))
    ]
    answers.append(house.ask(grant_type="client_credentials", client_id="planner"))
    said = [{**one.json(), "call_id": ""} for one in answers]
    assert [error(one) for one in answers] == [INVALID_CLIENT] * 4
    assert said[1:] == said[:-1]
    for broken in ("Basic !", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Bearer a.b.c"):
        answer = house.client.post(
            house.url + "/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": broken},
        )
        assert error(answer) == INVALID_CLIENT


def test_a_secret_in_the_url_or_beside_another_is_not_looked_at(house: Delegating) -> None:
    secret = {"client_id": "planner", "client_secret": KEYS["planner"]}
    url = f"/oauth/token?client_secret={KEYS['planner']}&client_id=planner"
    assert error(house.ask(path=url, grant_type="client_credentials")) == INVALID_REQUEST
    assert error(house.ask("planner", grant_type="client_credentials", **secret)) == INVALID_REQUEST
    twice = "grant_type=client_credentials&client_id=planner&client_id=worker"
    said = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = house.client.post(f"{house.url}/oauth/token", content=twice, headers=said)
    assert error(answer) == INVALID_REQUEST
    as_json = house.client.post(f"{house.url}/oauth/token", json=secret)
    assert error(as_json) == INVALID_REQUEST
    large = house.client.post(f"{house.url}/oauth/token", content="a" * 70_000, headers=said)
    assert large.status_code == 413


ASSERTIONS: dict[str, dict[str, Any]] = {
    "for another gateway": {"aud": "https://other.example"},
    "for two": {"aud": ["{url}", "https://other.example"]},
    "for the endpoint that it opens": {"aud": "{url}/mcp"},
    "of another client": {"iss": "planner"},
    "without an id": {"jti": ""},
    "that ended": {"exp": 1_000_000_000},
    "that never ends": {"exp": 2**40},
    "from before the gateway": {"iat": 1_000_000_000},
    "an access token": {"header": {"typ": "at+jwt"}},
    "with a claim to its own key": {"header": {"typ": "JWT", "crit": ["b64"], "b64": False}},
}


@pytest.mark.parametrize("claims", ASSERTIONS.values(), ids=ASSERTIONS.keys())
def test_an_assertion_for_something_else_proves_nobody(
    house: Delegating, claims: dict[str, Any]
) -> None:
    claims = json.loads(json.dumps(claims).replace("{url}", house.url))
    assert error(house.asserted(house.assertion(**claims))) == INVALID_CLIENT


def test_an_assertion_proves_its_client_once(house: Delegating) -> None:
    assertion = house.assertion()
    assert house.asserted(assertion).is_success
    assert error(house.asserted(assertion)) == INVALID_CLIENT
    assert house.asserted(house.assertion(aud=f"{house.url}/oauth/token")).is_success
    assert error(house.asserted(house.assertion(), client_id="planner")) == INVALID_CLIENT
    assert error(house.asserted(house.assertion(key=new_key("s1")))) == INVALID_CLIENT
    assert error(house.asserted(house.assertion("planner"))) == INVALID_CLIENT  # it has no keys
    header, _, _ = house.assertion().split(".")
    said = {**said_by(house.assertion()), "jti": "another"}
    assert error(house.asserted(f"{header}.{encoded(said)}.AA")) == INVALID_CLIENT


# -- what was taken back --------------------------------------------------------------------------


def listen(house: Delegating, token: str, opened: threading.Event) -> float:
    """Hold a subscription open; when it was closed."""
    wanted = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, 7)
    said = headers("subscriptions/listen", key=token)
    with house.client.stream("POST", house.resource, content=wanted, headers=said) as response:
        assert response.status_code == 200
        for _ in response.iter_lines():
            opened.set()
    return monotonic()


TAKEN_BACK = {
    "its parent": ("token", "revoke", "{parent}"),
    "all of the delegator's": ("token", "revoke", "--agent", "planner"),
    "all of the delegatee's": ("token", "revoke", "--agent", "fourth"),
    "the delegatee itself": ("agent", "disable", "fourth"),
    "the delegator itself": ("agent", "disable", "planner"),
    "the key of the delegatee": ("key", "revoke", "config:third:"),
}


@pytest.mark.parametrize(("way", "words"), TAKEN_BACK.items(), ids=TAKEN_BACK.keys())
def test_what_was_taken_back_ends_below_it_within_a_second_also_where_a_stream_is_open(
    house: Delegating, way: str, words: tuple[str, ...]
) -> None:
    delegatee, opened = "third" if "key" in way else "fourth", threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        parent, child = fresh(house, delegatee)
        subscription = pool.submit(listen, house, child, opened)
        assert opened.wait(10)
        words = tuple(word.replace("{parent}", said_by(parent)["jti"][:12]) for word in words)
        code, _, complaint = house.customhouse(*words)
        taken_s = monotonic()
        assert code == 0, complaint
        closed_s = subscription.result(timeout=5)
    assert closed_s < taken_s + 1 + LOADED_S
    assert house.call(child).status_code == 401
    assert error(house.exchange(child, "worker")) == INVALID_REQUEST
    states = {row["jti"]: row["state"] for row in house.said("token", "list")}
    assert states[said_by(child)["jti"]] != "good"
    if words[0] == "agent":
        assert house.customhouse("agent", "enable", words[2])[0] == 0
        assert house.call(child).is_success


def fresh(house: Delegating, delegatee: str) -> tuple[str, str]:
    """Two tokens that no earlier revocation reaches: times in tokens are whole seconds."""
    for _ in range(40):
        parent = house.own()
        answer = house.exchange(parent, delegatee)
        if answer.is_success and house.call(child := answer.json()["access_token"]).is_success:
            return parent, child
        threading.Event().wait(0.05)
    raise AssertionError("what is given out stays revoked")


def test_nothing_of_a_token_or_a_secret_is_in_the_log(house: Delegating) -> None:
    token = house.own()
    house.delegated(token)
    house.exchange(token, scope="tool/*", subject_token="a.b.c")
    lines = json.dumps(house.process.lines)
    database = b"".join(path.read_bytes() for path in (house.folder / "data").glob("*.db*"))
    assert len(database) > 10_000
    for secret in (*KEYS.values(), token.split(".")[2], token.split(".")[1]):
        assert secret not in lines
        assert secret.encode() not in database
