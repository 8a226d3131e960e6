"""The head of an HTTP request: its headers read once, Host and Origin judged before anything else."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from gateway.domain.refusal import BAD_HOST, BAD_ORIGIN, Refused

_SPACE = b" \t"
_JSON = "application/json"
_STREAM = "text/event-stream"


class Head(msgspec.Struct, frozen=True):
    """Header values by lower-case name, stripped; *repeated* are the names that came twice."""

    values: dict[bytes, bytes]
    repeated: frozenset[bytes] = frozenset()

    def get(self, name: bytes) -> bytes:
        return self.values.get(name, b"").strip(_SPACE)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which kinds of answer the caller can read."""

    json: bool
    stream: bool


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    pairs = list(headers)
    values = dict(pairs)
    if len(values) == len(pairs):
        return Head(values)
    repeated = frozenset(name for name, times in Counter(n for n, _ in pairs).items() if times > 1)
    if b"accept" in repeated:  # a list header: several lines are one value (RFC 9110 s5.3)
        values[b"accept"] = b",".join(value for name, value in pairs if name == b"accept")
    return Head(values, repeated)


@lru_cache(maxsize=256)
def accepted(accept: bytes) -> Accepted:
    """Read an Accept header; wildcards count, quality values do not (q=0 is not used by clients)."""
    kinds = {part.split(";")[0].strip().lower() for part in accept.decode("latin-1").split(",")}
    anything = "*/*" in kinds
    return Accepted(
        json=anything or bool(kinds & {_JSON, "application/*"}),
        stream=anything or bool(kinds & {_STREAM, "text/*"}),
    )


@lru_cache(maxsize=64)
def is_json(content_type: bytes) -> bool:
    return content_type.split(b";")[0].strip().lower() == _JSON.encode()


def decode_name(value: bytes) -> str | None:
    """What an Mcp-Name header says; None when its base64 form is damaged or not canonical.

    time_get_now    =?base64?w7xiZXI=?=
    """
    text = value.decode("latin-1")
    if not (text.startswith("=?base64?") and text.endswith("?=") and len(text) >= 11):
        return text
    payload = text[9:-2]
    try:
        plain = base64.b64decode(payload, validate=True)
        canonical = base64.b64encode(plain).decode() == payload
        return plain.decode() if canonical else None
    except (binascii.Error, ValueError):
        return None


class Door:
    """Judges Host and Origin, against pages that reach loopback by rebinding a DNS name."""

    def __init__(self, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in origins)

    def check(self, head: Head) -> None:
        """Raises: Refused: BAD_HOST or BAD_ORIGIN."""
        values = head.values
        repeated = head.repeated
        if not _among(values.get(b"host", b""), self._hosts) or b"host" in repeated:
            raise Refused(BAD_HOST)
        origin = values.get(b"origin")
        if origin is not None and (not _among(origin, self._origins) or b"origin" in repeated):
            raise Refused(BAD_ORIGIN)


@lru_cache(maxsize=256)
def _among(value: bytes, allowed: frozenset[str]) -> bool:
    """Whether *value* is one of *allowed*, either exactly or with any port where none is named."""
    if "*" in allowed:
        return True
    text = value.decode("latin-1").strip().lower()
    name, _, port = text.rpartition(":")
    return bool(text) and (text in allowed or (port.isdigit() and name in allowed))
