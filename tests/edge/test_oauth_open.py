"""Tokens: what they were made for, and for how long what they opened stays open."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.revocation import all_tokens, one_token
from gateway.edge.oauth import proved
from gateway.edge.oauth.proved import TRUSTED_US
from tests.edge.issued import ES, NOW_S, SECOND_US, House, made, published, token
from tests.edge.people import NOW_US


def test_an_open_request_lives_as_long_as_its_token_may() -> None:
    house = House()
    found = house.ask(token(exp=NOW_S + 600, jti="j1"))
    assert found is not None
    # Longer than it is trusted: nobody has to come in again to stay.
    assert house.is_live(found, NOW_US + 2 * TRUSTED_US)
    assert not house.is_live(found, NOW_US + 600 * SECOND_US)
    house.revoked[one_token("corp", "j1")] = NOW_US
    assert not house.is_live(found, NOW_US)


def test_an_open_request_is_not_ended_by_the_tokens_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It once ended in a 401, its effect under way, as soon as the token was forgotten."""
    monkeypatch.setattr(proved, "MAX_TOKENS", 3)
    house = House()
    found = house.ask(token())
    assert found is not None
    for number in range(10):
        assert house.subject(token(sub=f"s{number}"))
    assert house.is_live(found)
    house.revoked[all_tokens("corp/alice")] = NOW_US
    assert not house.is_live(found)


def test_an_open_request_ends_when_the_key_is_withdrawn_that_let_it_in() -> None:
    house, next_key = House(), made("EC", "P-256", kid="e2")
    found = house.ask(token())
    assert found is not None
    house.tokens.take_keys("corp", published(ES, next_key), NOW_US)
    assert house.is_live(found)
    house.tokens.take_keys("corp", published(next_key, made("EC", "P-256", kid="e1")), NOW_US)
    assert not house.is_live(found)


# -- uses -----------------------------------------------------------------------------------------

USED: dict[str, tuple[str | None, dict[str, Any], bool]] = {
    "a typed access token": ("at+jwt", {"nonce": "n"}, True),
    "one of no type": (None, {}, True),
    "an untyped one": ("JWT", {}, True),
    "one that says its use": ("JWT", {"token_use": "access"}, True),
    "one that says how it is borne, with a nonce": ("JWT", {"typ": "Bearer", "nonce": "n"}, True),
    "an ID token with a nonce": ("JWT", {"nonce": "n"}, False),
    "an ID token of no type": (None, {"nonce": "n"}, False),
    "an ID token beside an access token": ("JWT", {"at_hash": "x"}, False),
    "an ID token beside a code": ("JWT", {"c_hash": "x"}, False),
    "one that says it is an ID token": ("JWT", {"token_use": "id"}, False),
    "one that says so in its type": ("JWT", {"typ": "ID"}, False),
    "a refresh token": ("JWT", {"typ": "Refresh"}, False),
    "a refresh token of another issuer": ("JWT", {"token_type": "refresh"}, False),
    "a refresh token with a type": ("at+jwt", {"token_use": "refresh"}, False),
    "one that says two things": ("JWT", {"typ": "Bearer", "token_use": "id"}, False),
    "a use that is none": ("JWT", {"token_use": ["access"]}, False),
}


@pytest.mark.parametrize(("type_", "said", "good"), USED.values(), ids=USED.keys())
def test_only_what_was_made_to_be_shown_here_opens_the_door(
    type_: str | None, said: dict[str, Any], good: bool
) -> None:
    assert bool(House().subject(token(ES, {"typ": type_}, **said))) is good
