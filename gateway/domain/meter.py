"""What a text costs a model that reads it: a versioned estimate, the same for hold and charge."""

from __future__ import annotations

# Written into the log beside every amount: a later estimator gets another name, never this one.
ESTIMATOR = "bytes4@1"
_BYTES_PER_TOKEN = 4


def tokens(n_bytes: int) -> int:
    """Tokens of *n_bytes* of text, rounded up, so that something never costs nothing."""
    return -(-n_bytes // _BYTES_PER_TOKEN)


def bytes_within(n_tokens: int) -> int:
    """The most bytes that still cost at most *n_tokens*: where a result is cut."""
    return n_tokens * _BYTES_PER_TOKEN
