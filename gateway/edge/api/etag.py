"""ETags: the state of a resource as somebody saw it (RFC 9110 section 8.8.3).

"3f2a...": SHA-256 of the representation, 32 hex digits
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

_TAGS = re.compile(
    r'\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*)*'
)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')  # fmt: skip


def encoded(value: Any) -> bytes:
    """The one representation of *value*."""
    return msgspec.json.encode(value)


def etag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def tags(line: bytes) -> frozenset[str] | None:
    """The tags that a header lists, as they are written; None for what is no list of tags."""
    text = line.decode("latin-1")
    return frozenset(_TAG.findall(text)) if _TAGS.fullmatch(text) else None


def is_seen(line: bytes, etag: str) -> bool:
    """Whether If-None-Match says that the asker has this state already; compared weakly."""
    if line.strip() == b"*":
        return True
    return etag in {tag.removeprefix("W/") for tag in tags(line) or ()}
