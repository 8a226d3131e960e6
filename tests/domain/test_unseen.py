"""Characters that show nothing: found wherever they hide, and ordinary text is left alone."""

import pytest

from gateway.domain.unseen import hidden_in

SPELT = "".join(chr(0xFE00 + n) for byte in b"evil" for n in (byte >> 4, byte & 15))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"harmless \u263a{SPELT}", id="a run of variation selectors"),
        pytest.param("x\ufe01 y\ufe05", id="one selector behind each letter"),
        pytest.param("\u263a\ufe0f\ufe0f", id="two selectors behind a symbol"),
        pytest.param("\ufe0f", id="a selector behind nothing"),
        pytest.param("a\ufe0f", id="a letter is no emoji"),
        pytest.param("a\U000e0100", id="a selector of the supplement"),
        pytest.param("a\u034fb", id="grapheme joiner"),
        pytest.param("a\u115fb", id="Hangul choseong filler"),
        pytest.param("a\u1160b", id="Hangul jungseong filler"),
        pytest.param("a\u3164b", id="Hangul filler"),
        pytest.param("a\uffa0b", id="Hangul filler of half width"),
        pytest.param("a\u180bb", id="Mongolian selector"),
        pytest.param("a\u180fb", id="the fourth Mongolian selector"),
        pytest.param("a\u2800b", id="blank Braille"),
        pytest.param("a\u17b4b", id="Khmer vowel aq"),
        pytest.param("a\u17b5b", id="Khmer vowel aa"),
        pytest.param("a\x00b", id="nul"),
        pytest.param("a\x7fb", id="delete"),
        pytest.param("a\ud800b", id="half a surrogate pair"),
    ],
)
def test_what_is_hidden_is_found(text: str) -> None:
    assert hidden_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain text, (with) [brackets]\n\tand lines",
        "na\u00efve caf\u00e9",
        "\u65e5\u672c\u8a9e",
        "warning \u26a0\ufe0f, done \u2714\ufe0f",
        "1\ufe0f\u20e3 first",
        "as text \u263a\ufe0e",
    ],
    ids=ascii,
)
def test_ordinary_text_hides_nothing(text: str) -> None:
    assert hidden_in(text) == ""


def test_the_first_of_several_is_told() -> None:
    assert hidden_in("a\u202eb\u200b") == "\u202e"
