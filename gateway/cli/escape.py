"""Text of unknown origin on a terminal: what a reader would not see, or the terminal would obey, is
written out.

    "ok\\x1b[2J" -> ok\\u001b[2J        "pay\\u202eload" -> pay\\u202eload, in seven visible characters
"""

from __future__ import annotations

import unicodedata

# Control, format (bidi, zero width, tags), surrogates, private, unassigned; line and paragraph ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\u034f")
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


def visible(text: str) -> str:
    """*text* in one line that shows each of its characters and makes the terminal do nothing."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def visible_lines(text: str) -> str:
    """The same for text whose own line breaks are meant to be line breaks."""
    return "\n".join(visible(line) for line in text.split("\n"))


def _shown(character: str) -> str:
    code = ord(character)
    if " " <= character <= "~":
        return character
    if not _is_unseen(character, code):
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_unseen(character: str, code: int) -> bool:
    category = unicodedata.category(character)
    if category in _UNSEEN or character in _INVISIBLE_LETTERS:
        return True
    # Spaces of other widths look like the ordinary one.
    return category == "Zs" or any(code in block for block in _SELECTORS)
