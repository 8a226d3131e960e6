"""What the demo says: plain text, with colours only where a person is looking."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping

_GREEN, _RED, _YELLOW, _DIM, _BOLD = "32", "31", "33", "2", "1"
_INDENT = "     "
_LONGEST_VALUE = 34


class BrokenPromise(Exception):
    """Something was not as the demo says it is; the sentence says what."""


def promise(kept: object, sentence: str) -> None:
    """Raises: BrokenPromise: *kept* is not so."""
    if not kept:
        raise BrokenPromise(sentence)


class Story:
    """Writes to standard output, numbered scene by scene."""

    def __init__(self) -> None:
        self._scenes = 0
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._width = min(shutil.get_terminal_size((100, 24)).columns, 110)

    def scene(self, title: str) -> None:
        self._scenes += 1
        self._write("")
        self._write(self._styled(f"{self._scenes:>2}.  {title}", _BOLD))

    def say(self, sentence: str) -> None:
        for line in textwrap.wrap(_plain(sentence), self._width - len(_INDENT)):
            self._write(_INDENT + line)

    def show(self, line: str) -> None:
        """One line as it is, set off from what the demo says itself."""
        self._write(_INDENT + self._styled(f"  {_plain(line)}", _DIM))

    def lists(self, who: str, names: Iterable[str]) -> None:
        """Who sees what, one below the other."""
        first, *rest = textwrap.wrap(", ".join(names), self._width - 19)
        self._write(f"{_INDENT}{who:<11} {first}")
        for line in rest:
            self._write(f"{_INDENT}{'':<11} {line}")

    def yes(self, who: str, what: str, answer: str) -> None:
        self._event(who, what, self._styled("allowed", _GREEN), answer)

    def no(self, who: str, what: str, code: str, answer: str) -> None:
        self._event(who, what, self._styled(f"refused: {code}", _RED), answer)

    def left(self, who: str, what: str, answer: str) -> None:
        self._event(who, what, self._styled("given up", _YELLOW), answer)

    def found(self, what: str, verdict: str) -> None:
        self._write(f"{_INDENT}{what:<42} {self._styled(verdict, _RED)}")

    def _event(self, who: str, what: str, verdict: str, answer: str) -> None:
        self._write(f"{_INDENT}{who:<11} {what}  ->  {verdict}")
        for line in textwrap.wrap(_plain(answer), self._width - 19, max_lines=3):
            self._write(f"{_INDENT}{'':<11} {self._styled(line, _DIM)}")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._coloured else text

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def written(tool: str, arguments: Mapping[str, object]) -> str:
    """A call as one reads it: desk_refund(order="A-17", amount=20)."""
    said = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
    return f"{tool}({said})"


def _short(value: object) -> str:
    text = str(value)
    if text.startswith("/"):
        text = f".../{text.rpartition('/')[2]}"
    if len(text) > _LONGEST_VALUE:
        text = f"{text[: _LONGEST_VALUE - 3]}..."
    return _plain(f'"{text}"' if isinstance(value, str) else text)


def _plain(text: str) -> str:
    """No control characters: what a tool answered must not drive the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
