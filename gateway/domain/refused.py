"""What a 'no' of the border is, and how it reads. Which ones there are: gateway.domain.refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_NOTHING: Mapping[str, str | int] = MappingProxyType({})
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row of the table. The log keeps *id*; what a caller may see is `shown`.

    *as_result*: a tools/call refused so answers with a result (isError true) that the model can act
    on; everything else answers with a JSON-RPC error of *code*. *hidden*: told to the caller as
    UNKNOWN_OBJECT, so that it cannot learn what exists.
    """

    id: str
    http_status: int
    code: int
    sentence: str
    fix: str
    as_result: bool = False
    hidden: bool = False

    @property
    def shown(self) -> Refusal:
        """The row a caller may see: for hidden ones the one that says nothing."""
        return UNKNOWN_OBJECT if self.hidden else self


class Refused(Exception):
    """The border says no. *detail* is for the log; `shown_detail` is the part for the caller."""

    def __init__(
        self, refusal: Refusal, call_id: str = "", detail: Mapping[str, str | int] = _NOTHING
    ) -> None:
        super().__init__(refusal.id)
        self.refusal = refusal
        self.call_id = call_id
        self.detail: Mapping[str, str | int] = dict(detail)

    @property
    def shown(self) -> Refusal:
        return self.refusal.shown

    @property
    def shown_detail(self) -> Mapping[str, str | int]:
        """Machine data for the caller; nothing at all for what must look like unknown."""
        return _NOTHING if self.shown is UNKNOWN_OBJECT else self.detail

    def say(self) -> str:
        """What happened and what to do, for the model that reads it; one line of printable ASCII."""
        row = self.shown
        parts = [row.sentence, *_clauses(self.shown_detail), row.fix]
        return " ".join(part for part in parts if part)


# detail key -> how it reads; the order is the order of the sentence.
_CLAUSES: Mapping[str, str] = {
    "problem": "Problem: {}.",
    "condition": "Unmet condition: {}.",
    "scope": "Level: {}.",
    "meter": "Meter: {}.",
    "window": "Window: {}.",
    "limit": "Limit: {}.",
    "needed": "This call needs: {}.",
    "remaining": "Left: {}.",
}


def _clauses(detail: Mapping[str, str | int]) -> list[str]:
    said = [text.format(_plain(detail[key])) for key, text in _CLAUSES.items() if key in detail]
    wait_ms = detail.get("retry_after_ms")
    if isinstance(wait_ms, int):
        said.append(f"Possible again in {_span(wait_ms)}.")
    return said


def _plain(value: str | int) -> str:
    """Printable ASCII of bounded length: a detail may quote what an attacker sent."""
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return text if len(text) <= _MAX_DETAIL_CHARS else text[: _MAX_DETAIL_CHARS - 3] + "..."


def _span(wait_ms: int) -> str:
    """A length of time as people say it, rounded up, so that waiting it out is enough."""
    if wait_ms < 10_000:
        return f"{wait_ms} ms"
    seconds = -(-wait_ms // 1000)
    if seconds < 600:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    return f"{minutes} min" if minutes < 600 else f"{-(-minutes // 60)} h"


UNKNOWN_OBJECT = Refusal(
    "unknown_object", 200, -32602,
    "There is nothing of this name that you may use.",
    "Use a name from a list of what you may use.",
)  # fmt: skip
