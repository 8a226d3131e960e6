"""What a run and a grant are called in the log, and what may be the id of a run."""

from __future__ import annotations

import pytest

from gateway.domain.run import grant_account, is_run_id, run_account


@pytest.mark.parametrize("text", ["a" * 8, "A.b_c-9.", "0" * 64])
def test_an_id_of_a_run_is_plain_and_neither_short_nor_long(text: str) -> None:
    assert is_run_id(text)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 7, "a" * 65, "a b c d e f", "new/run/1", "abcdefgé", "abcdefgh\n", "run\x00run\x00"],
)
def test_nothing_else_is_one(text: str) -> None:
    assert not is_run_id(text)


def test_an_account_of_a_run_is_of_its_tenant() -> None:
    assert run_account("default", "nightly-1") == "rb5b21cc9cee697e4"
    assert run_account("acme", "nightly-1") != run_account("default", "nightly-1")


def test_an_account_of_a_grant_is_of_its_token() -> None:
    assert grant_account("t-1") == "j914fe0e1ce52d825"
    assert grant_account("t-2") != grant_account("t-1")
