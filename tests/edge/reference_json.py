"""Strict JSON, read slowly and by hand: what `gateway.edge.strict` is held against."""

from __future__ import annotations

import math
from typing import Any

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class NotStrict(ValueError):
    """Refused, for whatever reason."""


def read(body: bytes, max_depth: int) -> Any:
    """The value of *body*. Raises: NotStrict."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as err:
        raise NotStrict("not UTF-8") from err
    reader = _Reader(text, max_depth)
    value = reader.value(1)
    reader.space()
    if reader.at < len(text):
        raise NotStrict("something follows")
    return value


class _Reader:
    def __init__(self, text: str, max_depth: int) -> None:
        self.text = text
        self.at = 0
        self.max_depth = max_depth

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> None:
        if not self.text.startswith(expected, self.at):
            raise NotStrict(f"expected {expected}")
        self.at += len(expected)

    def space(self) -> None:
        while self.peek() and self.peek() in " \t\r\n":
            self.at += 1

    def value(self, depth: int) -> Any:
        self.space()
        first = self.peek()
        if first in ("{", "["):
            if depth > self.max_depth:
                raise NotStrict("too deep")
            return self.object(depth) if first == "{" else self.array(depth)
        if first == '"':
            return self.string()
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        return self.number()

    def object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        self.take("{")
        self.space()
        if self.peek() == "}":
            self.take("}")
            return members
        while True:
            self.space()
            key = self.string()
            if key in members:
                raise NotStrict("duplicate key")
            self.space()
            self.take(":")
            members[key] = self.value(depth + 1)
            self.space()
            if self.peek() == "}":
                self.take("}")
                return members
            self.take(",")

    def array(self, depth: int) -> list[Any]:
        items: list[Any] = []
        self.take("[")
        self.space()
        if self.peek() == "]":
            self.take("]")
            return items
        while True:
            items.append(self.value(depth + 1))
            self.space()
            if self.peek() == "]":
                self.take("]")
                return items
            self.take(",")

    def string(self) -> str:
        self.take('"')
        units: list[str] = []
        while True:
            char = self.peek()
            if not char or char < " ":
                raise NotStrict("string not closed, or a control character in it")
            self.at += 1
            if char == '"':
                return _joined(units)
            units.append(self.escape() if char == "\\" else char)

    def escape(self) -> str:
        char = self.peek()
        self.at += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        digits = self.text[self.at : self.at + 4]
        if (
            char != "u"
            or len(digits) != 4
            or any(d not in "0123456789abcdefABCDEF" for d in digits)
        ):
            raise NotStrict("bad escape")
        self.at += 4
        return chr(int(digits, 16))

    def number(self) -> int | float:
        start = self.at
        if self.peek() == "-":
            self.at += 1
        if self.peek() == "0":
            self.at += 1
        else:
            self.digits()
        whole = True
        if self.peek() == ".":
            whole = False
            self.at += 1
            self.digits()
        if self.peek() and self.peek() in "eE":
            whole = False
            self.at += 1
            if self.peek() and self.peek() in "+-":
                self.at += 1
            self.digits()
        spelled = self.text[start : self.at]
        if math.isinf(float(spelled)):
            raise NotStrict("not finite")
        return int(spelled) if whole else float(spelled)

    def digits(self) -> None:
        start = self.at
        while self.peek() and self.peek() in "0123456789":
            self.at += 1
        if self.at == start:
            raise NotStrict("a digit was expected")


def _joined(units: list[str]) -> str:
    text = "".join(units).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "".join(units).encode("utf-16", "surrogatepass") != text.encode("utf-16"):
        raise NotStrict("half a surrogate pair")
    return text
