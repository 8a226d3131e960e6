"""Resource URIs and RFC 6570 templates (levels 1-3): does this URI belong to that template?

    file:///repo/{path}      matches   file:///repo/README.md
    db://{table}/rows{?q}    matches   db://users/rows   and   db://users/rows?q=1

Matching walks the set of positions a partial match may have reached, so it costs at most
len(uri) x expressions, whatever the template: no regular expression, no backtracking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
        reached = {0}
        for part in self.parts:
            reached = _past(part, uri, reached)
            if not reached:
                return False
        return len(uri) in reached


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


def _past(part: str | _Gap, uri: str, reached: set[int]) -> set[int]:
    """The positions after *part*, from any of the positions *reached* before it."""
    if isinstance(part, str):
        return {at + len(part) for at in reached if uri.startswith(part, at)}
    after = set(reached) if part.optional else set()
    run_end = -1
    for at in sorted(reached):
        begin = at + len(part.first)
        # Inside the last run an earlier start has reached everything that this one could.
        if begin < run_end or not uri.startswith(part.first, at):
            continue
        run_end = begin
        while run_end < len(uri) and uri[run_end] not in part.never:
            run_end += 1
        after.update(range(begin + 1, run_end + 1))
    return after
