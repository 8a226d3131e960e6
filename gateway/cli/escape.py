"""Text of unknown origin on a terminal: what a reader would not see, or the terminal would obey, is
written out.

    "ok\\x1b[2J" -> ok\\u001b[2J        "pay\\u202eload" -> pay\\u202eload, in seven visible characters
"""

from __future__ import annotations

import unicodedata

from gateway.domain.unseen import is_unseen

# Line and paragraph ends, and spaces of other widths, which look like the ordinary one.
_BLANK = frozenset({"Zl", "Zp", "Zs"})


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
    if not is_unseen(character) and unicodedata.category(character) not in _BLANK:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
