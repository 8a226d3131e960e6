"""What a server says of its tools, made comparable: canonical bytes, a digest, and suspicion.

{"inputSchema":{"type":"object"},"name":"add"}      <- canonical: sorted keys, no spaces
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.model import Kind
from gateway.domain.unseen import hidden_in

MAX_DEFINITION_BYTES = 262_144


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


def unreadable(name: str, body: bytes) -> bytes:
    """What is kept of a definition that is no JSON we can read: it changes when that changes."""
    return json.dumps({"name": name, "unreadable": digest(body)}, separators=(",", ":")).encode()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def only_reads(body: bytes) -> bool:
    """Whether the tool is marked as one that changes nothing (annotations.readOnlyHint)."""
    try:
        annotations = json.loads(body).get("annotations")
    except (ValueError, RecursionError):
        return False
    return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


def suspicion(body: bytes) -> str:
    """Why a person should look before this text reaches a model; "" when nothing is hidden in it."""
    if len(body) > MAX_DEFINITION_BYTES:
        return f"the definition has {len(body)} bytes, more than {MAX_DEFINITION_BYTES}"
    for text in _texts(json.loads(body)):
        hidden = hidden_in(text)
        if hidden:
            return f"hidden character U+{ord(hidden):04X} in the definition"
    return ""


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
