"""Characters that a reader does not see, though a model or a machine reads them: one list for all.

"ok\\u200b"   zero width        "ok\\u3164"   a letter that is not drawn
"ok\\ufe05"   says how the character before it is drawn: sixteen of them spell any text
"""

from __future__ import annotations

import re
import unicodedata

# Control, format (bidi, zero width, tags), private use, surrogates, unassigned.
_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
# Letters, marks and a pattern of dots without ink: Hangul fillers, Khmer inherent vowels, the
# grapheme joiner, the blank Braille cell.
INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\u034f")
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_PLAIN = re.compile(r"[\n\r\t -~]*")
# "as text" and "as emoji", once, after something that is neither a Latin letter nor a blank
_PRESENTATION = re.compile(
    "(?<=[^\\sA-Za-z\u180b-\u180f\ufe00-\ufe0f])[\ufe0e\ufe0f](?![\ufe00-\ufe0f])"
)
_ORDINARY = frozenset("\n\r\t")


def is_selector(character: str) -> bool:
    """A variation selector: it has no form of its own."""
    return any(ord(character) in block for block in _SELECTORS)


def is_unseen(character: str) -> bool:
    """Whether *character* shows nothing, wherever it stands."""
    return (
        character in INVISIBLE_LETTERS
        or is_selector(character)
        or unicodedata.category(character) in _CATEGORIES
    )


def hidden_in(text: str) -> str:
    """A character of *text* that hides something; "" when there is none.

    Line breaks and tabs are ordinary text, and so is one selector that makes a symbol an emoji.
    """
    if _PLAIN.fullmatch(text):
        return ""
    rest = _PRESENTATION.sub("", text)
    unseen = {c for c in set(rest) - _ORDINARY if is_unseen(c)}
    return min(unseen, key=rest.index, default="")
