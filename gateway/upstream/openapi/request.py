"""One call as one HTTP request, made of its approved binding and its arguments.

    getPet {"petId": "rex & co", "fields": ["name", "age"]}
    GET /v1/pets/rex%20%26%20co?fields=name&fields=age HTTP/1.1

An argument fills its own place and no other: no value can add a path segment, a query, a header or
a line. What cannot be sent so is refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec

from gateway.upstream.fetch import Target
from gateway.upstream.headers import FIELD_VALUE
from gateway.upstream.openapi.binding import IN_BRACES, Argument, Binding

MAX_TARGET_BYTES = 8_192
MAX_HEADER_BYTES = 4_096
_UNQUOTINGS = 3  # servers behind servers may decode more than once

Raws = Mapping[str, msgspec.Raw]


class Unsendable(ValueError):
    """An argument cannot be sent; the sentence names it and never its value."""


@dataclass(frozen=True, slots=True)
class Base:
    """Where the operations of one server are."""

    target: Target
    secret: str = ""

    def request(self, binding: Binding, raws: Raws) -> bytes:
        """The whole request. Raises: Unsendable."""
        path = self.target.path.rstrip("/") + _path(binding, raws)
        query = "&".join(_query(binding, raws))
        target = f"{path}?{query}" if query else path
        if len(target) > MAX_TARGET_BYTES:
            raise Unsendable(f"the arguments make a URL of more than {MAX_TARGET_BYTES} bytes")
        body = _body(binding, raws)
        lines = [
            f"{binding.method} {target} HTTP/1.1",
            f"Host: {self.target.host_header}",
            "User-Agent: customhouse",
            "Accept: application/json",
            "Accept-Encoding: identity",
            *_headers(binding, raws),
        ]
        credential = binding.credential
        if credential is not None and self.secret:
            lines.append(f"{credential.header}: {f'{credential.scheme} {self.secret}'.lstrip()}")
        if body is not None:
            lines.append(f"Content-Type: {binding.body_type}")
        if body is not None or binding.method not in ("GET", "DELETE"):
            lines.append(f"Content-Length: {len(body or b'')}")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


def _path(binding: Binding, raws: Raws) -> str:
    values: dict[str, str] = {}
    for one in binding.arguments:
        if one.part == "path":
            texts = list(_texts(one, raws))
            if len(texts) != 1 or not _is_segment(texts[0]):
                raise Unsendable(f"{one.argument} is empty, or reads like a path")
            values[one.name] = quote(texts[0], safe="")
    path = IN_BRACES.sub(lambda place: values[place[1]], binding.path)
    if any(_is_dots(segment) for segment in path.split("/")):
        raise Unsendable("the arguments make a path that leads upwards")
    return path


def _is_segment(text: str) -> bool:
    """Whether *text* stays one segment of a path, however often it is decoded."""
    for _ in range(_UNQUOTINGS):
        if not text or "/" in text or "\\" in text or _is_dots(text) or not text.isprintable():
            return False
        text = unquote(text)
    return True


def _is_dots(text: str) -> bool:
    for _ in range(_UNQUOTINGS):
        if text.partition(";")[0] in (".", ".."):  # some servers take what follows for parameters
            return True
        text = unquote(text)
    return False


def _query(binding: Binding, raws: Raws) -> Iterator[str]:
    for one in binding.arguments:
        if one.part == "query":
            key = quote(one.name, safe="")
            texts = [quote(text, safe="") for text in _texts(one, raws)]
            if one.joined and texts:
                texts = [quote(one.joined, safe=",").join(texts)]
            yield from (f"{key}={text}" for text in texts)


def _headers(binding: Binding, raws: Raws) -> Iterator[str]:
    for one in binding.arguments:
        if one.part == "header" and (texts := list(_texts(one, raws))):
            value = ",".join(texts)
            if not FIELD_VALUE.fullmatch(value) or len(value) > MAX_HEADER_BYTES:
                raise Unsendable(f"{one.argument} has characters that a header cannot carry")
            yield f"{one.name}: {value}"


def _body(binding: Binding, raws: Raws) -> bytes | None:
    if not binding.body_type:
        return None
    members = {
        one.name: raws[one.argument]
        for one in binding.arguments
        if one.part == "member" and one.argument in raws
    }
    for one in binding.arguments:
        if one.part == "body":
            return bytes(raws[one.argument]) if one.argument in raws else None
    return msgspec.json.encode(members) if members or binding.body_required else None


def _texts(one: Argument, raws: Raws) -> Iterator[str]:
    """The values of one argument as they are written outside JSON; none for null or nothing."""
    raw = bytes(raws.get(one.argument, b"null")).strip()
    if raw == b"null":
        return
    if raw.startswith(b"{"):
        raise Unsendable(f"{one.argument} is not a plain value")
    if raw.startswith(b"["):
        if one.part == "path":
            raise Unsendable(f"{one.argument} is not a plain value")
        for item in msgspec.json.decode(raw, type=list[msgspec.Raw]):
            yield _plain(one, bytes(item).strip())
        return
    yield _plain(one, raw)


def _plain(one: Argument, raw: bytes) -> str:
    """A text, or a number, true and false as they were written."""
    if raw.startswith((b"{", b"[")) or raw == b"null":
        raise Unsendable(f"{one.argument} is not a list of plain values")
    return str(msgspec.json.decode(raw)) if raw.startswith(b'"') else raw.decode("ascii")
