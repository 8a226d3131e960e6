"""What a peer tells has a rate of its own, for each word and for the peer."""

import pytest

from gateway.domain.refusal import Refused
from gateway.edge.a2a.pace import BURST, MAX_BUCKETS, PEER_BURST, Pace


def test_a_word_that_comes_too_often_waits_and_another_does_not() -> None:
    pace = Pace()
    for _ in range(BURST):
        pace.take("billing", "chp-a", 100.0)
    with pytest.raises(Refused, match="rate_limited"):
        pace.take("billing", "chp-a", 100.0)
    pace.take("billing", "chp-b", 100.0)
    pace.take("billing", "chp-a", 100.2)


def test_a_peer_with_many_words_tells_no_more_by_that() -> None:
    pace = Pace()
    for number in range(PEER_BURST):
        pace.take("billing", f"chp-{number}", 100.0)
    with pytest.raises(Refused, match="rate_limited"):
        pace.take("billing", "chp-new", 100.0)
    pace.take("other", "chp-new", 100.0)


def test_no_more_is_kept_however_many_words_there_are() -> None:
    pace = Pace()
    for number in range(MAX_BUCKETS + 50):
        pace.take("billing", f"chp-{number}", number / 50)
    assert len(pace._full_s) <= MAX_BUCKETS
