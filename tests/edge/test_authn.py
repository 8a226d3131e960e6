"""One credential, in one place."""

from __future__ import annotations

import pytest

from gateway.domain.refusal import Refused
from gateway.edge.authn import identify
from gateway.edge.head import read_head
from tests.edge.people import ALICE, NOW_US, FakeIdentity

GOOD = (b"authorization", b"Bearer alice-key")


def _identify(*headers: tuple[bytes, bytes], query: bytes = b"") -> str:
    try:
        principal = identify(FakeIdentity(), read_head(headers), query, NOW_US)
    except Refused as refused:
        return refused.refusal.id
    return principal.subject


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"Bearer  "])
def test_a_bearer_key_proves_its_principal(scheme: bytes) -> None:
    assert _identify((b"authorization", scheme + b" alice-key")) == ALICE.subject


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"Bearer wrong-key", id="an unknown key"),
        pytest.param(b"Bearer", id="no key"),
        pytest.param(b"Bearer ", id="an empty key"),
        pytest.param(b"Basic YWxpY2Uta2V5", id="another scheme"),
        pytest.param(b"alice-key", id="no scheme"),
        pytest.param(b"Bearer alice-key extra", id="something behind the key"),
        pytest.param(b"Bearer alice\xe9key", id="bytes that no key has"),
        pytest.param(b"Bearer " + b"a" * 5000, id="a key of any length"),
    ],
)
def test_anything_else_proves_nobody(line: bytes) -> None:
    assert _identify((b"authorization", line)) == "not_authenticated"


def test_no_credential_at_all_proves_nobody() -> None:
    assert _identify() == "not_authenticated"


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(((b"authorization", b"Bearer bob-key"),), id="two lines"),
        pytest.param(((b"authorization", b"Bearer alice-key"),), id="the same twice"),
        pytest.param(((b"x-api-key", b"bob-key"),), id="an API key header"),
        pytest.param(((b"proxy-authorization", b"Bearer bob-key"),), id="a proxy credential"),
    ],
)
def test_two_credentials_on_one_request_are_refused(extra: tuple[tuple[bytes, bytes], ...]) -> None:
    assert _identify(GOOD, *extra) == "conflicting_credentials"


def test_two_credentials_in_one_header_are_refused() -> None:
    line = b"Bearer alice-key, Bearer bob-key"
    assert _identify((b"authorization", line)) == "conflicting_credentials"


@pytest.mark.parametrize(
    "query",
    [b"access_token=alice-key", b"x=1&TOKEN=a", b"api%5Fkey=a", b"key", b"a;token=1&token="],
)
def test_a_credential_in_the_url_is_refused_with_and_without_a_good_one(query: bytes) -> None:
    assert _identify(GOOD, query=query) == "conflicting_credentials"
    assert _identify(query=query) == "conflicting_credentials"


def test_other_query_parameters_are_nobodys_business() -> None:
    assert _identify(GOOD, query=b"tenant=x&keyboard=1") == ALICE.subject
