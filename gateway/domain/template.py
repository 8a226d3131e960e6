"""Resource URIs and RFC 6570 templates (levels 1-3): does this URI belong to that template?

    file:///repo/{path}      matches   file:///repo/README.md
    db://{table}/rows{?q}    matches   db://users/rows   and   db://users/rows?q=1

Matching carries the set of positions that a partial match may have reached, as the bits of one
integer. It costs the same few steps per part whatever the template: no regular expression, no
backtracking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

MAX_URI_CHARS = 2048
MAX_TEMPLATE_CHARS = 1024
_MAX_EXPRESSIONS = 16
_MAX_DECODINGS = 4
_EXPRESSION = re.compile(
    r"([+#./;?&]?)([A-Za-z0-9_.%]+(?::[0-9]{1,4}|\*)?(?:,[A-Za-z0-9_.%]+(?::[0-9]{1,4}|\*)?)*)"
)
_SEGMENTS = re.compile(r"[/\\?#]")

# operator -> (first character of the expansion, characters it never contains, may it be empty).
# A value contains no "/", "?" or "#" unless the operator expands reserved characters.
_OPERATORS: dict[str, tuple[str, str, bool]] = {
    "": ("", "/?#", False),
    "+": ("", "", False),
    "#": ("#", "", True),
    ".": (".", "/?#", True),
    "/": ("/", "?#", True),
    ";": (";", "/?#", True),
    "?": ("?", "#", True),
    "&": ("&", "#", True),
}


class BadTemplate(ValueError):
    """Not a template of RFC 6570; the message says where."""


@dataclass(frozen=True, slots=True)
class _Gap:
    """One expression: what its expansion looks like."""

    first: str
    never: str
    optional: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled URI template."""

    text: str
    parts: tuple[str | _Gap, ...]  # literals and gaps in order

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises: BadTemplate."""
        if len(text) > MAX_TEMPLATE_CHARS:
            raise BadTemplate(f"a template has at most {MAX_TEMPLATE_CHARS} characters")
        parts: list[str | _Gap] = []
        rest = text
        while rest:
            literal, brace, rest = rest.partition("{")
            if "}" in literal:
                raise BadTemplate("a brace closes that was not opened")
            parts += [literal] if literal else []
            if brace:
                expression, closed, rest = rest.partition("}")
                parts.append(_gap(expression if closed else ""))
        if sum(isinstance(part, _Gap) for part in parts) > _MAX_EXPRESSIONS:
            raise BadTemplate(f"a template has at most {_MAX_EXPRESSIONS} expressions")
        return cls(text, tuple(parts))

    def matches(self, uri: str) -> bool:
        """*uri* may be an expansion of this template, and cannot be read as another path."""
        if not self.parts:
            return False
        first, last = self.parts[0], self.parts[-1]
        if isinstance(first, str) and not uri.startswith(first):
            return False
        if isinstance(last, str) and not uri.endswith(last):
            return False
        if not is_plain(uri):
            return False
        places = _places(uri)
        reached = 1  # bit n: the parts so far can end after n characters
        for part in self.parts:
            reached = _past(part, places, reached)
            if not reached:
                return False
        return bool(reached >> len(uri) & 1)


@lru_cache(maxsize=16)  # one URI is held against many templates
def is_plain(uri: str) -> bool:
    """No part of *uri* climbs or hides: what policy compares is what a server will open.

    A dot segment (also percent-encoded, also behind a backslash), a control character or a blank
    would let `file:///repo/../../etc/passwd` pass a rule for `file:///repo/*`.
    """
    if not uri or len(uri) > MAX_URI_CHARS:
        return False
    for _ in range(_MAX_DECODINGS):
        if not uri.isprintable() or " " in uri or not {".", ".."}.isdisjoint(_SEGMENTS.split(uri)):
            return False
        decoded = unquote(uri, errors="replace")
        if decoded == uri:
            return True
        uri = decoded
    return False  # encoded over and over: nothing honest is


def _gap(expression: str) -> _Gap:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise BadTemplate(f"{{{ascii(expression)[1:-1]:.40}}} is not an expression of RFC 6570")
    return _Gap(*_OPERATORS[match[1]])


@lru_cache(maxsize=16)
def _places(uri: str) -> dict[str, int]:
    """Character -> the positions it stands at, as bits; "" -> all positions."""
    places = {"": (1 << len(uri)) - 1}
    for at, character in enumerate(uri):
        places[character] = places.get(character, 0) | 1 << at
    return places


def _past(part: str | _Gap, places: dict[str, int], reached: int) -> int:
    """The positions after *part*, from any of the positions *reached* before it."""
    if isinstance(part, str):
        for offset, character in enumerate(part):
            reached &= places.get(character, 0) >> offset
        return reached << len(part)
    starts = (reached & places.get(part.first, 0)) << len(part.first)
    allowed = places[""]
    for character in part.never:
        allowed &= ~places.get(character, 0)
    # Adding a start to a run of allowed positions carries through to the run's end: what changes is
    # what a value can take up. At least one character, at most the rest of the run.
    starts &= allowed
    taken = ((starts + allowed) ^ allowed | starts) & allowed
    return taken << 1 | (reached if part.optional else 0)
