"""Names on the wire, and names that a reader or a model would take for one another.

    wire_name("docs", "search")        -> docs_search
    wire_name("docs", "repo/search")   -> docs_repo_search_415b94b1

The second had to be changed to fit, so it ends in a hash of what it was.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from gateway.domain.model import Kind
from gateway.domain.unseen import INVISIBLE_LETTERS

MAX_WIRE_CHARS = 46
_KEPT_CHARS = 37
_HASH_CHARS = 8
_UNWIRED = re.compile(r"[^A-Za-z0-9_-]")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def wire_name(prefix: str, tool: str) -> str:
    """What /mcp calls *tool*: at most 46 of [A-Za-z0-9_-]; changed or cut ones end in a hash."""
    whole = f"{prefix}_{tool}" if prefix else tool
    plain = _UNWIRED.sub("_", whole)
    if plain == whole and 0 < len(whole) <= MAX_WIRE_CHARS:
        return whole
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[:_KEPT_CHARS]}_{digest[:_HASH_CHARS]}"


def called_as(kind: Kind) -> Kind:
    """Among the names of which kind it is called: a skill of a peer is called like a tool."""
    return Kind.TOOL if kind is Kind.PEER else kind


def is_name(text: str) -> bool:
    """Fit for a server, agent, team, tenant or role: lower-case ASCII, so that none looks alike."""
    return _NAME.fullmatch(text) is not None


# Letters of other scripts that are drawn like a Latin one, after NFKD and casefold (Unicode TR39
# has the whole list; these are the ones found in names that a keyboard or a font can produce).
_DRAWN_ALIKE = {
    "a": "\u0430\u03b1\u0251\u237a\u13aa\uab7a\u0581\u1d00",
    "b": "\u044c\u0432\u03b2\u0184\u0185\u13cf\u13f4\u0299\uab9f\uabaf",
    "c": "\u0441\u03f2\u1d04\u13df\uabaf\u2ca5\u0188",
    "d": "\u0501\u217e\u13e7\uabb7\u0257\u0256\u1d05",
    "e": "\u0435\u0454\u03b5\u04bd\u212e\u13ac\uab7c\u1d07\u025b\u0258\u0259",
    "f": "\u03dd\u017f\ua799\u0584",
    "g": "\u0261\u0581\u1d83\u13c0\uab90\u0262\u0260",
    "h": "\u04bb\u043d\u0570\u13bb\u13c2\uab8b\u029c\u04a3",
    "i": "\u0456\u03b9\u0131\u026a\u13a5\uab75\u0269\u04cf\u1d7b",
    "j": "\u0458\u03f3\u0575\u13ab\uab7b\u029d\u1d0a",
    "k": "\u043a\u03ba\u049b\u13e6\uabb6\u1d0b\u0138",
    "l": "\u04c0\u05d5\u05df\u0627\u01c0\u2223\u2113\u029f\u13de\uabae|1",
    "m": "\u043c\u1d0d\u13b7\uab87\u0271",
    "n": "\u043f\u03b7\u0578\u057c\u0274\u0273",
    "o": "\u043e\u03bf\u0585\u1d0f\u0555\u13a4\u0665\u06f5\u0d20\u101d\u2c9f\u03c3\u00f80",
    "p": "\u0440\u03c1\u13e2\uabb2\u1d18\u2ca3",
    "q": "\u051b\u0566\u0563\u024b",
    "r": "\u0433\u1d26\u13a1\uab71\u0280\u027c",
    "s": "\u0455\u13da\uabaa\ua731\u0282\u01bd",
    "t": "\u0442\u03c4\u13a2\uab72\u1d1b\u01ad",
    "u": "\u057d\u03c5\u028b\u1d1c\u0446",
    "v": "\u0475\u03bd\u13d9\uaba9\u1d20\u05d8",
    "w": "\u0461\u051d\u03c9\u13b3\uab83\u1d21\u0561\u0448\u026f",
    "x": "\u0445\u03c7\u04b3\u00d7\u166e",
    "y": "\u0443\u04af\u03b3\u13a9\uab79\u028f\u0263\u01b4",
    "z": "\u13c3\uab93\u1d22\u0290\u01b6",
    "_": "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\u06d4\u30fc\u4e00\u02d7./\u2044\u2215",
}
_AS_LATIN = str.maketrans(
    {alike: latin for latin, alikes in _DRAWN_ALIKE.items() for alike in alikes}
)
# Marks, format and control characters, blanks: not drawn, or drawn on top of a letter.
_UNDRAWN = frozenset({"Mn", "Me", "Mc", "Cf", "Cc", "Cs", "Zs", "Zl", "Zp"})
_LETTERS_AS_LATIN = {
    code: latin for code, latin in _AS_LATIN.items() if code > 127 and chr(code).isalpha()
}
_ASCII_AS_LATIN = {
    ord(c): _AS_LATIN.get(ord(c), ord(c)) for c in map(chr, range(0x21, 0x7F))
} | dict.fromkeys((*range(33), 127))
# Drawn alike only at a glance or in some fonts; `skeleton` has made l of 1 and | already.
_AT_A_GLANCE = (("rn", "m"), ("vv", "w"), ("i", "l"))
_RULE = re.compile("__+")


def skeleton(name: str) -> str:
    """What is left of *name* for the eye: equal skeletons mean the names can be confused."""
    if name.isascii():  # nearly all are, and this is a tenth of the cost
        return name.lower().translate(_ASCII_AS_LATIN)
    decomposed = unicodedata.normalize("NFKD", name).casefold().translate(_AS_LATIN)
    return "".join(
        character
        for character in unicodedata.normalize("NFKD", decomposed)
        if unicodedata.category(character) not in _UNDRAWN and character not in INVISIBLE_LETTERS
    )


def as_read(text: str) -> str:
    """*text* in lower case, as it is drawn: letters of other scripts that look Latin are Latin."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS_AS_LATIN)
    return "".join(c for c in decomposed if c.isspace() or unicodedata.category(c) not in _UNDRAWN)


def likenesses(name: str) -> tuple[str, str]:
    """Two keys; names that share either look alike. The second knows that I is drawn like l."""
    return skeleton(name), skeleton(name.replace("I", "l"))


def blur(name: str) -> str:
    """What is left of *name* at a glance: i is l, rn is m, vv is w, __ is _.

    Two honest names may share one (get_mail, get_mall), so it is a reason to ask a person, and
    never one to overrule what a person decided.
    """
    left = skeleton(name)
    for drawn, alike in _AT_A_GLANCE:
        left = left.replace(drawn, alike)
    return _RULE.sub("_", left).strip("_")
