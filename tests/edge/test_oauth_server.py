"""The token endpoint in its parts: what may be given for what, and who proves who it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model import Grant, Principal
from gateway.domain.rate import Rate
from gateway.domain.revocation import one_token
from gateway.edge.oauth import jwt
from gateway.edge.oauth.issuer import NotGood
from gateway.edge.oauth.keyset import read_key_set
from gateway.edge.oauth.own import Own, TokenKeys
from gateway.edge.oauth.server import assertions as shown
from gateway.edge.oauth.server import pace
from gateway.edge.oauth.server.assertions import Assertions
from gateway.edge.oauth.server.narrowing import (
    Client,
    Exchange,
    Fresh,
    Holding,
    for_another,
    for_itself,
)
from gateway.edge.oauth.server.pace import Pace
from gateway.edge.oauth.server.wanted import Unfit, Wanted, read_form, read_wanted
from gateway.edge.oauth.ticket import Link, Ticket, read_ticket
from gateway.edge.oauth.tokens import Tokens
from gateway.policy.joint import covers
from gateway.store import keyring, keys
from tests.edge.issued import ES, NOW_S, SECOND_US, made, published
from tests.edge.people import NOW_US
from tests.servers.issuer import signed

URL = "https://tools.example.com"
AUDIENCE = f"{URL}/mcp"
NOTHING = Wanted()  # said of what is wanted


class Everybody:
    """Every agent is there, and in no team."""

    def team(self, tenant: str, agent: str) -> str | None:
        return "" if tenant == "default" else None


def client(name: str, ends_s: int = 0) -> Client:
    return Client(Principal("default", name, credential=f"k-{name}"), f"k-{name}", ends_s)


def fresh(now_s: int = NOW_S) -> Fresh:
    return Fresh(uuid4().hex, "run-fresh", now_s)


OWN = Own(URL, TokenKeys(Ed25519PrivateKey.generate()), Everybody())
TOKENS = Tokens((), AUDIENCE, lambda _name: 0, OWN)


def issued(name: str, wanted: Wanted = NOTHING) -> Ticket:
    return for_itself(wanted, client(name), AUDIENCE, fresh())


def holding(ticket: Ticket) -> Holding:
    """The ticket signed, sent, and believed."""
    found = TOKENS.delegable(OWN.keys.sign(ticket.claims(URL)), NOW_US)
    assert found is not None
    return Holding(*found)


def handed(
    ticket: Ticket, to: str, wanted: Wanted = NOTHING, most: int = 4, ends_s: int = 0
) -> Ticket:
    exchange = Exchange(client(to, ends_s), holding(ticket), None, most)
    return for_another(wanted, exchange, AUDIENCE, fresh())


def test_what_is_signed_is_read_back_to_the_same_ticket() -> None:
    parent = issued("planner", Wanted(("tool/a/*",), (("calls", 3),), run="run-12345"))
    for ticket in (parent, handed(handed(parent, "worker"), "third")):
        token = OWN.keys.sign(ticket.claims(URL))
        assert OWN.read(token, jwt.read(token), NOW_US)[0] == ticket
    assert ticket.actors == ("third", "worker")
    principal = TOKENS.authenticate(token, AUDIENCE, NOW_US)
    assert principal is not None
    assert (principal.subject, principal.actors) == ("planner", ("third", "worker"))
    assert principal.grants == ticket.grants
    assert principal.run == "run-12345"


_OBJECTS = st.lists(
    st.sampled_from(["tool/a/*", "tool/a/b", "tool/a/b*", "tool/*", "model/m", "tool/a/bc"]),
    max_size=3,
    unique=True,
).map(tuple)
_BUDGETS = st.dictionaries(st.sampled_from(["calls", "tokens"]), st.integers(0, 3)).map(
    lambda budget: tuple(sorted(budget.items()))
)
_WANTED = st.builds(Wanted, st.none() | _OBJECTS, _BUDGETS, st.none() | st.integers(1, 5_000))
_NAMES = ["tool/a/b", "tool/a/bc", "tool/a/x", "tool/z/b", "model/m", "model/n"]


@given(_WANTED, st.lists(_WANTED, min_size=1, max_size=3))
def test_whatever_is_asked_for_no_link_of_a_chain_is_wider_than_the_one_before(
    first: Wanted, more: list[Wanted]
) -> None:
    ticket = issued("planner", first)
    for number, wanted in enumerate(more):
        try:
            child = handed(ticket, f"agent{number}", wanted)
        except Unfit:
            continue
        for name in _NAMES:
            assert covers([ticket.own.grant], name) or not covers([child.own.grant], name)
        for meter, amount in ticket.own.grant.budget:
            assert dict(child.own.grant.budget)[meter] <= amount
        assert child.ends_s <= ticket.ends_s
        assert child.parents == ticket.links
        ticket = child


def test_a_token_ends_with_the_key_that_it_was_obtained_with() -> None:
    assert handed(issued("planner"), "worker", ends_s=NOW_S + 30).ends_s == NOW_S + 30
    assert for_itself(Wanted(), client("a", NOW_S + 5), AUDIENCE, fresh()).ends_s == NOW_S + 5
    with pytest.raises(Unfit):
        for_itself(Wanted(), client("a", NOW_S), AUDIENCE, fresh())


def test_a_key_that_somebody_else_saw_first_makes_no_token_that_nobody_saw() -> None:
    seen = Client(Principal("default", "planner", credential="api:1"), "api:1", 0)
    ticket = for_itself(NOTHING, seen, AUDIENCE, fresh())
    assert holding(ticket).principal.was_handed_out
    assert holding(handed(ticket, "worker")).principal.was_handed_out
    assert not holding(handed(issued("planner"), "worker")).principal.was_handed_out


def test_the_next_token_for_the_same_is_the_same_principal() -> None:
    first, again = (holding(issued("planner")).principal for _ in range(2))
    narrower = holding(issued("planner", Wanted(("tool/a/*",)))).principal
    delegated = holding(handed(issued("planner"), "worker")).principal
    assert first == again
    assert len({first, again, narrower, delegated}) == 3


def test_a_token_of_an_issuer_is_handed_on_with_its_roles_and_dies_with_it() -> None:
    revoked: dict[str, int] = {}
    tokens = Tokens((), AUDIENCE, lambda name: revoked.get(name, 0), OWN)
    link = Link(Grant("j1"), "k-worker")
    ticket = Ticket(
        link, "worker", "default", "corp/alice", AUDIENCE, NOW_S, NOW_S + 60, ("worker",),
        roles=("reader",), of=(one_token("corp", "x"),),
    )  # fmt: skip
    token = OWN.keys.sign(ticket.claims(URL))
    principal = tokens.authenticate(token, AUDIENCE, NOW_US)
    assert principal is not None
    assert (principal.subject, principal.roles) == ("corp/alice", frozenset({"reader"}))
    further = handed(ticket, "third")
    assert (further.of, further.roles) == (ticket.of, ("reader",))
    revoked[one_token("corp", "x")] = NOW_US
    assert tokens.authenticate(token, AUDIENCE, NOW_US) is None
    assert tokens.delegable(token, NOW_US) is None


def test_a_remembered_token_is_not_believed_under_another_key() -> None:
    own = Own(URL, TokenKeys(first := Ed25519PrivateKey.generate()), Everybody())
    tokens = Tokens((), AUDIENCE, lambda _name: 0, own)
    token = own.keys.sign(issued("planner").claims(URL))
    found = tokens.authenticate(token, AUDIENCE, NOW_US)
    assert found is not None
    assert found.token is not None
    next_key, until_s = Ed25519PrivateKey.generate(), NOW_S + 10
    own.keys.take(next_key, [(first.public_key().public_bytes_raw(), until_s)])
    assert tokens.authenticate(token, AUDIENCE, NOW_US) is not None
    assert tokens.is_live(found.token, NOW_US)
    after_us = until_s * SECOND_US  # its time as an earlier key is over
    assert tokens.authenticate(token, AUDIENCE, after_us) is None
    assert not tokens.is_live(found.token, after_us)


def test_what_was_signed_and_is_no_ticket_is_believed_to_be_none() -> None:
    good = issued("planner", Wanted(("tool/a/*",))).claims(URL)
    wrong: list[dict[str, Any]] = [
        {"act": "worker"}, {"act": {"sub": 7}}, {"jti": ""}, {"by": ""}, {"chain": [{}]},
        {"chain": ["x"]}, {"budget": [1]}, {"iat": None}, {"scope": ["a"]}, {"roles": "reader"},
    ]  # fmt: skip
    for claims in wrong:
        with pytest.raises(NotGood):
            read_ticket({**good, **claims})


def test_a_form_can_be_read_in_one_way_only() -> None:
    assert read_form(b"a=1&b=") == {"a": "1", "b": ""}
    for body in (b"a=1&a=2", b"a", b"a=%ff", b"\xff=1", b"&".join(b"a%d=1" % n for n in range(50))):
        with pytest.raises(Unfit):
            read_form(body)
    assert read_wanted({"scope": "*"}).objects == ()
    assert read_wanted({"scope": "tools.read"}, frozenset({"tools.read"})).objects is None
    assert read_wanted({"scope": "tool/a x"}, frozenset({"x"})).objects == ("tool/a",)


# -- assertions -----------------------------------------------------------------------------------


def assertion(number: int, client: str = "signer", **claims: Any) -> str:
    said = {"iss": client, "sub": client, "aud": URL, "iat": NOW_S, "exp": NOW_S + 60}
    return signed({**said, "jti": f"j{number}", **claims}, ES, typ="JWT")


def proving(began_us: int = NOW_US) -> Assertions:
    held = read_key_set(published(ES))
    return Assertions({"signer": held, "other": held}, (URL,), began_us)


def test_each_client_has_its_own_room_for_assertions_and_none_is_forgotten_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown, "MAX_USED", 3)
    found = proving()
    for number in range(3):
        assert found.proved(assertion(number), NOW_US)[0] == "signer"
    for number in range(4):  # shown before; and one too many
        with pytest.raises(NotGood):
            found.proved(assertion(number), NOW_US)
    assert found.proved(assertion(0, "other"), NOW_US)[0] == "other"
    later_us = NOW_US + 61 * SECOND_US
    late = assertion(9, iat=NOW_S + 61, exp=NOW_S + 100)
    assert found.proved(late, later_us)[0] == "signer"


def test_what_could_have_been_shown_before_the_start_proves_nobody() -> None:
    with pytest.raises(NotGood, match="before the gateway was started"):
        proving(NOW_US + SECOND_US).proved(assertion(1), NOW_US + SECOND_US)
    undated = assertion(2, iat=0, exp=NOW_S + 200)
    with pytest.raises(NotGood, match="before the gateway was started"):
        proving().proved(undated, NOW_US)


def test_an_algorithm_that_clients_may_not_use_is_not_tried() -> None:
    key = made("EC", "P-384", kid="e3")
    held = Assertions({"signer": read_key_set(published(key))}, (URL,), NOW_US)
    said = {"iss": "signer", "sub": "signer", "aud": URL, "iat": NOW_S, "exp": NOW_S + 60}
    with pytest.raises(NotGood, match="algorithm"):
        held.proved(signed({**said, "jti": "1"}, key, typ="JWT", alg="ES384"), NOW_US)


# -- pace and keys --------------------------------------------------------------------------------


def test_who_comes_too_often_waits_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MAX_KNOWN", 2)
    paced = Pace(Rate.parse("2/min"))
    assert [paced.count("a", NOW_US) for _ in range(2)] == [0, 0]
    assert paced.wait_us("a", NOW_US) == 30 * SECOND_US
    assert paced.count("a", NOW_US) == 30 * SECOND_US
    assert paced.count("b", NOW_US) == 0
    assert paced.count("c", NOW_US) == 0  # b made room: it would be done sooner
    assert paced.wait_us("a", NOW_US) > 0
    assert paced.wait_us("a", NOW_US + 30 * SECOND_US) == 0


def test_a_house_from_before_gets_its_token_key_and_one_that_used_it_no_second(
    tmp_path: Path,
) -> None:
    first = keys.token_key(tmp_path, was_used=False)
    again = keys.token_key(tmp_path, was_used=True)
    assert first.private_bytes_raw() == again.private_bytes_raw()
    (tmp_path / keys.TOKEN_KEY).unlink()
    with pytest.raises(keys.KeysMissing, match="restore it"):
        keys.token_key(tmp_path, was_used=True)
    (tmp_path / keys.TOKEN_KEY).write_bytes(b"damaged")
    with pytest.raises(keys.KeysMissing, match="cannot be used"):
        keys.token_key(tmp_path, was_used=False)


def test_earlier_token_keys_are_let_go_when_their_time_is_over(tmp_path: Path) -> None:
    first = keys.token_key(tmp_path, was_used=False)
    keyring.retire_token_key(tmp_path, NOW_S, NOW_S + 10)
    (one,) = keyring.retired_token_keys(tmp_path)
    assert (one.public, one.until_s) == (first.public_key().public_bytes_raw(), NOW_S + 10)
    (tmp_path / keys.TOKEN_KEY).unlink()
    keys.token_key(tmp_path, was_used=False)
    (tmp_path / "token.pub.damaged").write_text("{")
    keyring.retire_token_key(tmp_path, NOW_S + 10, NOW_S + 20)
    assert [one.until_s for one in keyring.retired_token_keys(tmp_path)] == [NOW_S + 20]
