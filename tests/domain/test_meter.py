"""The estimate of tokens: its edges, and that hold and charge cannot disagree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.meter import ESTIMATOR, bytes_within, tokens


@pytest.mark.parametrize(
    ("n_bytes", "n_tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (100_000, 25_000)]
)
def test_four_bytes_are_a_token_and_a_begun_one_counts(n_bytes: int, n_tokens: int) -> None:
    assert tokens(n_bytes) == n_tokens


@given(st.integers(0, 10**9))
def test_a_result_cut_at_the_ceiling_never_costs_more_than_the_ceiling(n_tokens: int) -> None:
    assert tokens(bytes_within(n_tokens)) == n_tokens
    assert tokens(bytes_within(n_tokens) + 1) == n_tokens + 1


def test_the_estimator_is_named_and_versioned_because_old_entries_keep_their_meaning() -> None:
    assert ESTIMATOR == "bytes4@1"
