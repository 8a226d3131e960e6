"""Differences between two definitions, as the person who approves them sees them."""

from typing import Any

from gateway.cli.review import differences, pretty

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
