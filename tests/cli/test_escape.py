"""What a server or a caller wrote can neither hide from a reader nor command a terminal."""

import pytest

from gateway.cli.escape import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain text, (with) [brackets]", "plain text, (with) [brackets]", id="plain"),
        pytest.param("naïve 日本語 ✓", "naïve 日本語 ✓", id="other scripts stay readable"),
        pytest.param("a\x1b[2Jb", "a\\u001b[2Jb", id="an escape sequence"),
        pytest.param("a\x9b31mb", "a\\u009b31mb", id="an eight-bit control sequence"),
        pytest.param("a\rb\nc\td", "a\\u000db\\u000ac\\u0009d", id="line breaks and tabs"),
        pytest.param("pay\u202edaol", "pay\\u202edaol", id="text direction"),
        pytest.param("a\u200bb", "a\\u200bb", id="a space of no width"),
        pytest.param("a\u00a0b", "a\\u00a0b", id="a space that is another space"),
        pytest.param("a\U000e0041b", "a\\U000e0041b", id="tag characters"),
        pytest.param("a\ufe0fb", "a\\ufe0fb", id="a variation selector"),
        pytest.param("a\u3164b", "a\\u3164b", id="a letter that is not drawn"),
        pytest.param("a\ud800b", "a\\ud800b", id="half a surrogate pair"),
        pytest.param("a\u2028b", "a\\u2028b", id="a line separator"),
    ],
)
def test_each_character_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_only_asked_for_line_breaks_break_lines() -> None:
    assert visible_lines("a\nb\x1bc") == "a\nb\\u001bc"
