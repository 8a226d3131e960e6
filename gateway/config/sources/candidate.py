"""A server that somebody else's file describes: what it would be here, and what had to be left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.secrets import is_reference

_UNFIT = re.compile(r"[^a-z0-9_-]+")
_MAX_NAME = 32


@dataclass(frozen=True, slots=True)
class Ground:
    """What the words of a file may refer to beside the environment."""

    home: Path
    project: Path | None = None  # the folder that the file is for; None: it is for a person


@dataclass(frozen=True, slots=True)
class Candidate:
    """One server of a source. No value in it is a secret, and none was looked up."""

    called: str  # in the source
    name: str  # what it would be called here; "": its own name has no letter to make one of
    table: Mapping[str, Any] = field(default_factory=dict)  # the keys of [servers.NAME]
    findings: tuple[str, ...] = ()  # what a person should know before saying yes
    # Why it is not taken in; with a table: unless it is asked for by name.
    left_out: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """The secrets it needs: env:NAME, in order."""
        found = [self.table.get("auth", ""), *self.table.get("env", {}).values()]
        return tuple(sorted({text for text in found if is_reference(text)}))


@dataclass(frozen=True, slots=True)
class Findings:
    """What is noticed while one entry is read."""

    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # the first is why it cannot be taken in
    held: list[str] = field(default_factory=list)  # the first is why it is not, unless named

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def refuse(self, text: str) -> None:
        self.refused.append(text)

    def hold(self, text: str) -> None:
        self.held.append(text)


def fit_name(called: str) -> str:
    """A name for a server made of what it is *called* elsewhere; "" when nothing is left."""
    return _UNFIT.sub("-", called.lower()).strip("-_")[:_MAX_NAME].rstrip("-_")
