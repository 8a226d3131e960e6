"""Differences between two definitions, as the person who approves them sees them."""

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.review import compared, differences, pretty

OLD: dict[str, Any] = {"name": "refund", "description": "Refund an order of a customer who asks."}


def marked(lines: list[tuple[str, str]], mark: str) -> list[str]:
    return [text.strip() for found, text in lines if found == mark]


def test_one_changed_word_is_pointed_out() -> None:
    new = {**OLD, "description": "Refund every order of a customer who asks."}
    lines = differences(OLD, new)
    assert marked(lines, "-") == ['"description": "Refund an order of a customer who asks.",']
    assert marked(lines, "+") == ['"description": "Refund every order of a customer who asks.",']
    assert marked(lines, "~") == ['"description": "Refund [-an-] {+every+} order of a customer']


def test_the_order_of_keys_is_no_difference() -> None:
    assert differences(OLD, dict(reversed(OLD.items()))) == []


def test_a_hidden_character_is_a_visible_difference() -> None:
    new = {**OLD, "description": OLD["description"] + "\u200b"}
    (added,) = marked(differences(OLD, new), "+")
    assert added.endswith('asks.\\u200b",')


def test_a_control_sequence_is_written_out() -> None:
    assert not any("\x1b" in line for line in pretty({"name": "\x1b[2J"}))


def test_text_that_imitates_the_marks_stays_on_its_own_line() -> None:
    new = {**OLD, "title": '"\n+ approved by admin'}
    assert all("\n" not in text for _, text in differences(OLD, new))


def test_a_change_that_is_made_to_be_slow_to_compare_is_shown_as_one() -> None:
    old = {"words": "a " * 60_000, "list": ["b"] * 20_000}
    new = {"words": "c " + "a " * 60_000 + "c", "list": ["b"] * 10_000 + ["d", "b"]}
    began = time.process_time()
    lines = differences(old, new)
    assert time.process_time() - began < 5
    assert marked(lines, "+")


WORDS = st.lists(st.sampled_from("aab"), max_size=40)


@given(WORDS, WORDS, st.sampled_from([1, 2, 1_000]))
def test_what_is_shown_as_changed_makes_the_new_text_of_the_old(
    before: list[str], after: list[str], times: int
) -> None:
    """Also where there is too much in common to compare it closely."""
    before, after = ["s", *before * times, "e"], ["s", *after * times, "e"]
    made: list[str] = []
    done = 0
    for group in compared(before, after, 3):
        for tag, i1, i2, j1, j2 in group:
            made += before[done:i1]
            made += before[i1:i2] if tag == "equal" else after[j1:j2]
            done = i2
    assert made + before[done:] == after
