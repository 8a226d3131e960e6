"""Tokens: what is believed of them, for how long, and what they are worth."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc.jwk import Key

from gateway.domain.algorithms import SORT_OF
from gateway.domain.model import Principal
from gateway.domain.revocation import EVERYBODYS, all_tokens, one_token
from gateway.edge.authn import KeyUnknown
from gateway.edge.oauth import jwt, proved
from gateway.edge.oauth.issuer import NotGood, Worth
from gateway.edge.oauth.keyset import read_key_set
from gateway.edge.oauth.proved import TRUSTED_US
from gateway.edge.oauth.tokens import MAX_KEYS_AGE_US
from tests.edge.issued import (
    CORP,
    ES,
    NOW_S,
    RESOURCE,
    SECOND_US,
    URL,
    House,
    claims,
    made,
    published,
    token,
)
from tests.edge.people import NOW_US
from tests.servers.issuer import signed


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token whose signature was looked at."""
    seen: list[str] = []
    check = jwt.check_signature

    def counted(token: str, said: jwt.Said, key: Key) -> None:
        seen.append(token)
        check(token, said, key)

    monkeypatch.setattr(jwt, "check_signature", counted)
    return seen


# -- how long -------------------------------------------------------------------------------------


def test_a_token_is_proved_once_a_minute_and_looked_at_every_time(proofs: list[str]) -> None:
    house, one = House(), token(exp=NOW_S + 90)
    for now_us in (NOW_US, NOW_US + 1, NOW_US + TRUSTED_US - 1):
        assert house.subject(one, now_us) == "corp/alice"
    assert len(proofs) == 1
    assert house.subject(one, NOW_US + TRUSTED_US) == "corp/alice"
    assert len(proofs) == 2
    assert house.subject(one, NOW_US + 90 * SECOND_US - 1) == "corp/alice"
    assert house.subject(one, NOW_US + 90 * SECOND_US) == ""
    assert len(proofs) == 2


def test_a_clock_that_is_set_back_trusts_nothing_from_its_future(proofs: list[str]) -> None:
    house, one = House(), token()
    house.ask(one)
    house.ask(one, NOW_US - SECOND_US)
    assert len(proofs) == 2


def test_keys_that_changed_are_asked_again_for_tokens_that_were_believed(
    proofs: list[str],
) -> None:
    house, one = House(), token()
    assert house.subject(one)
    assert not house.tokens.take_keys("corp", published(ES), NOW_US)  # the same again
    assert house.subject(one)
    assert len(proofs) == 1
    other = made("EC", "P-256", kid="e2")
    assert house.tokens.take_keys("corp", published(ES, other), NOW_US)
    assert house.subject(one)
    assert len(proofs) == 2
    assert house.tokens.take_keys("corp", published(other), NOW_US)
    with pytest.raises(KeyUnknown):
        house.ask(one)


def test_keys_serve_an_hour_while_they_cannot_be_fetched_and_then_nothing_is_believed() -> None:
    house = House()
    late = token(exp=NOW_S + 100_000)
    assert house.subject(late, NOW_US + MAX_KEYS_AGE_US)
    with pytest.raises(KeyUnknown):
        house.ask(late, NOW_US + MAX_KEYS_AGE_US + TRUSTED_US)
    with pytest.raises(ValueError, match="key set"):
        house.tokens.take_keys("corp", b"nonsense", NOW_US + MAX_KEYS_AGE_US)
    assert not house.tokens.take_keys("corp", published(ES), NOW_US + MAX_KEYS_AGE_US)
    assert house.subject(late, NOW_US + MAX_KEYS_AGE_US + TRUSTED_US)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proved, "MAX_TOKENS", 3)
    house = House()
    made_once = [token(sub=f"s{number}") for number in range(6)]
    for one in made_once:
        assert house.subject(one)
    assert len(house.tokens._proved) == 3
    assert house.subject(made_once[0])


def test_one_who_comes_with_many_tokens_makes_nobody_elses_forgotten(
    monkeypatch: pytest.MonkeyPatch, proofs: list[str]
) -> None:
    monkeypatch.setattr(proved, "MAX_TOKENS", 10)
    monkeypatch.setattr(proved, "MAX_TOKENS_OF_ONE", 3)
    house, of_alice = House(), token()
    assert house.subject(of_alice)
    for number in range(20):
        assert house.subject(token(sub="mallory", jti=f"j{number}"))
    assert len(house.tokens._proved) == 1 + 3
    del proofs[:]
    assert house.subject(of_alice)
    assert not proofs


def test_tokens_that_are_trusted_no_more_are_not_kept() -> None:
    house = House()
    for number in range(20):
        assert house.subject(token(sub=f"s{number}"))
    assert house.subject(token(exp=NOW_S + 900), NOW_US + TRUSTED_US)
    assert len(house.tokens._proved) == len(house.tokens._proved._marks) == 1


def test_only_what_was_proved_is_remembered(proofs: list[str]) -> None:
    house = House()
    forged = signed(claims(), made("EC", "P-256", kid="e1"))
    assert house.subject(forged) == house.subject(forged) == ""
    assert len(proofs) == 2
    assert not house.tokens._proved


def test_revocation_is_looked_at_every_time_and_holds_for_what_was_issued_before() -> None:
    house = House()
    old, new = token(iat=NOW_S - 10, jti="j1"), token(iat=NOW_S + 4)
    assert house.subject(old)
    house.revoked[one_token("corp", "j1")] = NOW_US
    assert house.subject(old) == ""
    house.revoked.clear()
    house.revoked[all_tokens("corp/alice")] = NOW_US - 5 * SECOND_US
    assert house.subject(old) == ""
    assert house.subject(token(iat=None)) == ""
    assert house.subject(new)
    house.revoked = {one_token("partner", "j1"): NOW_US, all_tokens("corp/bob"): NOW_US}
    assert house.subject(old)


def test_the_end_of_a_token_has_no_leeway_and_clocks_may_be_five_seconds_ahead() -> None:
    house = House()
    assert house.subject(token(exp=NOW_S + 0.5))
    assert house.subject(token(exp=NOW_S)) == ""
    assert house.subject(token(nbf=NOW_S + 5, iat=NOW_S + 5))
    assert house.subject(token(nbf=NOW_S + 6)) == ""
    assert house.subject(token(iat=NOW_S + 6)) == ""


# -- profiles -------------------------------------------------------------------------------------


def test_a_token_is_remembered_for_the_endpoint_it_is_for() -> None:
    house, docs = House(), f"{RESOURCE}/s/docs"
    narrow, wide = token(aud=docs), token()
    assert house.ask(narrow, resource=docs)
    assert house.ask(narrow) is None
    assert house.ask(narrow, resource=f"{RESOURCE}/s/other") is None
    assert house.ask(wide, resource=docs) == house.ask(wide)
    both = token(aud=["x", f"{RESOURCE}/s/other", docs])
    for endpoint in (docs, f"{RESOURCE}/s/other"):
        found = house.ask(both, resource=endpoint)
        assert found is not None
        assert house.is_live(found)
    assert house.ask(both) is None


def test_where_an_audience_is_configured_no_other_is_good() -> None:
    house = House(replace(CORP, audience="api://border"))
    assert house.ask(token()) is None
    assert house.ask(token(aud=f"{RESOURCE}/s/docs"), resource=f"{RESOURCE}/s/docs") is None
    assert house.ask(token(aud=["api://border"]))


# -- keys -----------------------------------------------------------------------------------------

KEYS = {
    "RS256": made("RSA", 2048, kid="r"),
    "ES256": ES,
    "ES384": made("EC", "P-384", kid="e3"),
    "ES512": made("EC", "P-521", kid="e5"),
    "EdDSA": made("OKP", "Ed25519", kid="o"),
}
KEYS |= dict.fromkeys(("RS384", "RS512", "PS256", "PS384", "PS512"), KEYS["RS256"])
KEYS |= {"Ed25519": KEYS["EdDSA"]}


@pytest.mark.parametrize("algorithm", SORT_OF)
def test_every_algorithm_is_proved_by_its_own_sort_of_key(algorithm: str) -> None:
    key = KEYS[algorithm]
    one = token(key, {"alg": algorithm})
    assert House(CORP, key).subject(one)
    narrowed = replace(CORP, algorithms=CORP.algorithms - {algorithm})
    assert House(narrowed, key).subject(one) == ""
    tampered = (
        f"{one.rpartition('.')[0]}.{token(key, {'alg': algorithm}, sub='b').rpartition('.')[2]}"
    )
    assert House(CORP, key).subject(tampered) == ""


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("ES256", KEYS["ES384"]), ("PS256", ES), ("ES256", KEYS["RS256"]), ("RS256", KEYS["EdDSA"])],
)
def test_a_key_proves_nothing_in_an_algorithm_of_another_sort(algorithm: str, key: Key) -> None:
    own = token(key, {"alg": next(a for a, k in KEYS.items() if k is key)})
    head = jwt.read(own).header
    forged = signed(claims(), KEYS[algorithm], alg=algorithm, kid=head["kid"])
    with pytest.raises(KeyUnknown):
        House(CORP, key).ask(forged)


def test_a_key_that_names_its_algorithm_proves_in_no_other() -> None:
    raw = KEYS["RS256"].as_dict(False)
    house = House()
    house.tokens.take_keys("corp", published({**raw, "alg": "PS256"}), NOW_US)
    assert house.subject(token(KEYS["RS256"], {"alg": "PS256"}))
    with pytest.raises(KeyUnknown):
        house.ask(token(KEYS["RS256"], {"alg": "RS256"}))


def test_without_a_key_id_there_must_be_one_key_that_fits() -> None:
    nameless = token(header={"kid": None})
    assert House(CORP, ES).subject(nameless)
    assert House(CORP, ES, KEYS["RS256"]).subject(nameless)
    with pytest.raises(KeyUnknown):
        House(CORP, ES, made("EC", "P-256", kid="e2")).ask(nameless)
    with pytest.raises(KeyUnknown):
        House(CORP, ES, made("EC", "P-256", kid="e1")).ask(token())


PUBLIC = ES.as_dict(False)
SHORT, LONG = (
    base64.urlsafe_b64encode(((1 << bits) - 1).to_bytes(bits // 8)).rstrip(b"=").decode()
    for bits in (1_024, 16_384)
)
USELESS: dict[str, Any] = {
    "a secret": {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "alg": "HS256"},
    "a key with its private half": ES.as_dict(private=True),
    "a key for encryption": {**PUBLIC, "use": "enc"},
    "a key that signs only": {**PUBLIC, "key_ops": ["sign"]},
    "operations that are none": {**PUBLIC, "key_ops": 5},
    "a key of another sort": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
    "a curve nobody has": {**PUBLIC, "crv": "P-257"},
    "a curve of bitcoin": {**PUBLIC, "crv": "secp256k1"},
    "a point off its curve": {**PUBLIC, "x": PUBLIC["y"]},
    "an algorithm of another sort": {**PUBLIC, "alg": "RS256"},
    "an algorithm that is none": {**PUBLIC, "alg": ["ES256"]},
    "a name that is none": {**PUBLIC, "kid": 5},
    "half a key": {"kty": "EC", "crv": "P-256", "x": PUBLIC["x"]},
    "a key that can be factored": {"kty": "RSA", "e": "AQAB", "n": SHORT},
    "a key that takes long": {"kty": "RSA", "e": "AQAB", "n": LONG},
    "a number": 5,
}


@pytest.mark.parametrize("useless", USELESS.values(), ids=USELESS.keys())
def test_a_key_of_no_use_is_left_out_and_alone_refused(useless: Any) -> None:
    assert len(read_key_set(json.dumps({"keys": [useless, PUBLIC]}).encode()).keys) == 1
    with pytest.raises(ValueError, match="no key"):
        read_key_set(json.dumps({"keys": [useless]}).encode())


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b'{"keys":{}}', b"<html>", b"[" * 100_000, b'{"keys":[%s1]}' % (b"1," * 100)]
)  # fmt: skip
def test_what_is_no_key_set_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="expected a key set"):
        read_key_set(raw)


# -- worth ----------------------------------------------------------------------------------------

ROLES = (
    Worth("scope", "tools.read", "reader"),
    Worth("groups", "eng", "engineer"),
    Worth("realm_access.roles", "ops", "operator"),
    Worth("https://example.com/level", "gold", "golden"),
    Worth("iss", URL, "guest"),
)
WORTH: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing but who signed": ({}, set()),
    "a scope": ({"scope": "other tools.read"}, {"reader"}),
    "a scope in a list": ({"scope": ["tools.read"]}, {"reader"}),
    "a scope as others write it": ({"scp": "tools.read"}, {"reader"}),
    "a scope as yet others do": ({"scp": ["a", "tools.read"]}, {"reader"}),
    "almost a scope": ({"scope": "tools.reader xtools.read"}, set()),
    "a group": ({"groups": ["eng", "all"]}, {"engineer"}),
    "one group": ({"groups": "eng"}, {"engineer"}),
    "a group in one text": ({"groups": "eng all"}, set()),
    "a group in a group": ({"groups": [["eng"]]}, set()),
    "a table of groups": ({"groups": {"eng": True}}, set()),
    "a role below a claim": ({"realm_access": {"roles": ["ops"]}}, {"operator"}),
    "a claim with a dot in its name": ({"realm_access.roles": "ops"}, {"operator"}),
    "a path that ends early": ({"realm_access": ["roles"]}, set()),
    "a claim named by a URL": ({"https://example.com/level": "gold"}, {"golden"}),
    "two at once": ({"groups": ["eng"], "scope": "tools.read"}, {"engineer", "reader"}),
}


@pytest.mark.parametrize(("said", "roles"), WORTH.values(), ids=WORTH.keys())
def test_claims_are_worth_the_roles_that_the_operator_gave_them(
    said: dict[str, Any], roles: set[str]
) -> None:
    who = replace(CORP, roles=ROLES).principal(claims(**said), "mark")
    assert who.roles == roles | {"guest"}


def test_who_calls_is_the_actor_and_for_whom_comes_behind() -> None:
    issuer = replace(CORP, tenant="acme", team="staff")
    act = {"sub": "agent", "act": {"sub": "broker"}}
    who = issuer.principal(claims(act=act, client_id="desk#1", scope="b a"), "mark")
    assert who == Principal(
        tenant="acme",
        subject="corp/agent",
        team="staff",
        scopes=frozenset({"a", "b"}),
        actors=("corp/broker", "corp/alice"),
    )
    assert (who.credential, who.credential_named) == ("corp/desk#1#mark", "corp/desk#1")


def test_whoever_is_revoked_in_a_chain_ends_it() -> None:
    house = House()
    delegated = token(act={"sub": "agent"})
    assert house.subject(delegated) == "corp/agent"
    house.revoked[all_tokens("corp/alice")] = NOW_US
    assert house.subject(delegated) == ""


def test_when_everybodys_tokens_are_revoked_only_those_of_later_are_good() -> None:
    house = House()
    house.revoked[EVERYBODYS] = NOW_US - 10 * SECOND_US
    assert house.subject(token(iat=NOW_S - 3600)) == ""
    assert house.subject(token(sub="bob", iat=None)) == ""
    assert house.subject(token(iat=NOW_S)) == "corp/alice"


@pytest.mark.parametrize("said", [{"client_id": 5}, {"azp": ""}, {"scope": [1]}, {"act": "agent"}])
def test_claims_that_are_malformed_are_worth_nothing(said: dict[str, Any]) -> None:
    with pytest.raises(NotGood):
        CORP.principal(claims(**said), "mark")
