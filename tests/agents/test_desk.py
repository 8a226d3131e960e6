import anyio
import pytest

from agents.apps import desk

pytestmark = pytest.mark.anyio


def test_words_are_counted_in_any_case_and_across_lines() -> None:
    assert desk.word_count("One lamp\none  chair") == {"words": 4, "most_common": "one"}


def test_a_text_without_words_has_no_most_common_one() -> None:
    assert desk.word_count(" \n") == {"words": 0, "most_common": ""}


def test_a_refund_names_the_order_and_the_amount() -> None:
    assert desk.refund("A-17", 12.5) == {"order": "A-17", "refunded": 12.5}


def test_an_order_that_is_sent_again_says_how_often_that_was() -> None:
    sent = [desk.send_again("X-1")["parcel"], desk.send_again("X-1")["parcel"]]
    assert (sent, desk.send_again("X-2")["parcel"]) == ([1, 2], 1)


async def test_a_report_that_is_given_up_stops_being_written() -> None:
    with anyio.move_on_after(0.05) as given_up:
        await desk.slow_report("parcels", 60)
    assert given_up.cancelled_caught
