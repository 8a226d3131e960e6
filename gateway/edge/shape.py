"""How deep and how wide a JSON text is, counted in its bytes before any value is made of them.

    {"a":"[,","b":[1,2]}    has the skeleton    {,[,]}

A tree costs up to a hundred times its text: whoever may send 4 MB could else hold the loop, which
serves everybody, for a second and a half. Every step here is one pass in C.
"""

from __future__ import annotations

from itertools import accumulate

MAX_CONTAINERS = 20_000  # objects and lists
MAX_VALUES = 100_000
SURELY_NARROW_BYTES = 65_536  # what is no longer, and has few brackets, needs no counting

_KEPT = b'"[]{},'
_DROPPED = bytes(byte for byte in range(256) if byte not in _KEPT)
# A value has at most a key and itself to quote.
_MAX_QUOTES = 4 * (MAX_VALUES + 1)
_STEP = [0] * 256
for _opening, _closing in ("[]", "{}"):
    _STEP[ord(_opening)], _STEP[ord(_closing)] = 1, -1


class Overgrown(ValueError):
    """JSON of more values than one message may hold."""


def skeleton(text: bytes) -> bytes:
    """The brackets and commas of *text* that stand outside strings.

    True only of what is JSON; of other bytes it says something, and the parser says no.
    Raises: Overgrown: there are too many strings to tell.
    """
    if b"\\" in text:
        # Pairs first, from the left: after that a backslash before a quote always escapes it.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = text.translate(None, _DROPPED)
    if kept.count(b'"') > _MAX_QUOTES:
        raise Overgrown(f"more than {MAX_VALUES} values")
    return b"".join(kept.split(b'"')[::2])


def check_width(bones: bytes) -> None:
    """Raises: Overgrown: more values than a message may hold. *bones* is a skeleton."""
    containers = bones.count(b"[") + bones.count(b"{")
    if containers > MAX_CONTAINERS:
        raise Overgrown(f"more than {MAX_CONTAINERS} objects and lists")
    if containers + bones.count(b",") > MAX_VALUES:
        raise Overgrown(f"more than {MAX_VALUES} values")


def depth(bones: bytes) -> int:
    """How many objects and lists are open at once, at most. *bones* is a skeleton."""
    return max(accumulate(map(_STEP.__getitem__, bones)), default=0)
