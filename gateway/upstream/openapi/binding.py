"""How one call becomes one request: a part of the tool's definition, so that it is approved with it.

    "_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/pets/{petId}", "arguments":
      [{"argument": "petId", "in": "path", "name": "petId"}], "credential": {"header": "X-Key"}}}

A document that changes afterwards changes the definition, and is looked at by a person again. What
is called is what was approved, and not what the document says at that moment.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

META_KEY = "io.customhouse/openapi"

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# What frames a message, says who sends it, or makes the server read another request than this one.
_KEPT_HEADERS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-encoding"}
    | {"content-length", "content-type", "cookie", "customhouse-call", "date", "expect"}
    | {"forwarded", "host", "http2-settings", "keep-alive", "origin", "proxy-authorization"}
    | {"proxy-connection", "referer", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"user-agent", "via"}
    | {"x-http-method", "x-http-method-override", "x-method-override", "x-original-url"}
    | {"x-real-ip", "x-rewrite-url"}
)
_KEPT_PREFIXES = ("proxy-", "sec-", "x-forwarded-")
_MEDIA_TYPE = re.compile(r"application/json|[a-z0-9.-]+/[a-z0-9.-]+\+json")
IN_BRACES = re.compile(r"\{([^{}/]+)\}")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@{}-]*)+")

Part = Literal["path", "query", "header", "member", "body"]


class Argument(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one argument of the tool goes."""

    argument: str
    part: Part = msgspec.field(name="in")  # member: of the JSON body; body: it is all of that
    name: str = ""
    joined: str = ""  # several values as one text, with this between; else each for itself

    def __post_init__(self) -> None:
        if self.part == "header" and is_kept(self.name):
            raise ValueError("an argument sets a header that is not its own")


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which header the server's credential goes in."""

    header: str = "Authorization"
    scheme: Literal["", "Bearer"] = ""  # in front of it

    def __post_init__(self) -> None:
        if is_kept(self.header) and self.header != "Authorization":
            raise ValueError("the credential goes in a header that is not its own")


class Binding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation, as far as making its request needs it."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str  # with {name} for each argument in it
    arguments: tuple[Argument, ...] = ()
    body_type: str = msgspec.field(name="bodyType", default="")
    body_required: bool = msgspec.field(name="bodyRequired", default=False)
    credential: Credential | None = None  # None: it goes without

    def __post_init__(self) -> None:
        if not is_path(self.path) or (self.body_type and not is_json(self.body_type)):
            raise ValueError("the path or the body is not a plain one")
        if placeholders(self.path) != {one.name for one in self.arguments if one.part == "path"}:
            raise ValueError("the placeholders of the path are not its arguments")


class _Meta(msgspec.Struct):
    binding: Binding | None = msgspec.field(name=META_KEY, default=None)


class _Definition(msgspec.Struct):
    meta: _Meta = msgspec.field(name="_meta", default_factory=_Meta)


def placeholders(path: str) -> set[str]:
    """The names in {} in *path*."""
    return set(IN_BRACES.findall(path))


def is_path(path: str) -> bool:
    """Whether a request can be made of *path*, and leads where it reads."""
    segments = path.split("/")[1:]
    plain = _PATH.fullmatch(path) and "" not in segments[:-1]
    return bool(plain) and not {".", ".."} & set(segments)


def is_kept(header: str) -> bool:
    """Whether no argument may set *header*."""
    name = folded(header)
    return not _HEADER.fullmatch(header) or name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES)


def folded(header: str) -> str:
    """Many servers hand headers on with _ for -, so that the two are one name."""
    return header.lower().replace("_", "-")


def is_json(kind: str) -> bool:
    """Whether *kind* is a media type of JSON, bare: it becomes a line of a request."""
    return _MEDIA_TYPE.fullmatch(kind.lower()) is not None


@lru_cache(maxsize=1_024)
def binding_of(definition_body: bytes) -> Binding | None:
    """The binding in a definition; None when there is none, or not one that is made here."""
    try:
        return msgspec.json.decode(definition_body, type=_Definition).meta.binding
    except msgspec.MsgspecError:
        return None
