"""What a server says of its tools, made comparable: canonical bytes, a digest, and suspicion.

{"inputSchema":{"type":"object"},"name":"add"}      <- canonical: sorted keys, no spaces
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.model import Kind

MAX_DEFINITION_BYTES = 262_144
# Unicode categories that a reader does not see: control, format (bidi, zero width, tags), unassigned,
# private use. Line breaks and tabs are ordinary text.
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
_ORDINARY = frozenset("\n\r\t")
_VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


@dataclass(frozen=True, slots=True)
class Listed:
    """One definition as a server listed it just now; *fault* says why it cannot be used."""

    kind: Kind
    name: str
    body: bytes
    fault: str = ""


def canonical(definition: Mapping[str, Any]) -> bytes:
    """The same definition always gives the same bytes, whatever order its keys came in."""
    return json.dumps(
        definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def suspicion(body: bytes) -> str:
    """Why a person should look before this text reaches a model; "" when nothing is hidden in it."""
    if len(body) > MAX_DEFINITION_BYTES:
        return f"the definition has {len(body)} bytes, more than {MAX_DEFINITION_BYTES}"
    for text in _texts(json.loads(body)):
        for character in text:
            if _is_unseen(character):
                return f"hidden character U+{ord(character):04X} in the definition"
    return ""


def _is_unseen(character: str) -> bool:
    if character in _ORDINARY or (character.isascii() and character.isprintable()):
        return False
    if any(ord(character) in block for block in _VARIATION_SELECTORS):
        return ord(character) >= 0xE0100  # FE0F after an emoji is ordinary, the supplement is not
    return unicodedata.category(character) in _UNSEEN


def _texts(value: Any) -> Iterator[str]:
    """Every string in *value*, keys included, without recursion: the depth is the server's choice."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
