"""One A2A request, as bytes: to an interface that was approved, in the binding it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.domain.a2a import (
    CALL,
    HTTP_JSON,
    METHODS,
    RUN,
    SEND,
    SKILL,
    STREAM,
    VERSION,
    VERSION_HEADER,
    BadMember,
    rest_request,
)
from gateway.domain.card import Interface
from gateway.domain.model import Call
from gateway.upstream.fetch import BadTarget
from gateway.upstream.headers import FIELD_VALUE
from gateway.upstream.message import decode_members
from gateway.upstream.origin import Origin, Pools
from gateway.upstream.spec import HttpTransport

EXTENSIONS = "A2A-Extensions"
_IN_PATH = frozenset({"id", "taskId"})
_ANY_SKILL = "*"


class Unsendable(ValueError):
    """The request cannot be said to the agent: what is wrong with it is its caller's doing."""


class Way:
    """How to one interface: its origin, and the kept connections. Raises, when made: BadTarget."""

    def __init__(self, card: HttpTransport, interface: Interface) -> None:
        self.interface = interface
        self.origin = origin_of(card, interface)
        if interface.binding == HTTP_JSON and "?" in self.origin.target.path:
            raise BadTarget("the URL of an HTTP+JSON interface has no query")
        secret = card.auth_header_value
        self._credential = (f"Authorization: {secret}",) if secret else ()
        self.pools: Pools | None = None

    @property
    def is_rest(self) -> bool:
        return self.interface.binding == HTTP_JSON

    def request(self, call: Call, method: str, params: Mapping[str, bytes]) -> bytes:
        """*method* with raw *params*, for *call*. Raises: Unsendable."""
        try:
            return self._request(call, method, params)
        except (BadMember, msgspec.MsgspecError) as err:
            raise Unsendable(f"the request cannot be made: {err}") from None

    def _request(self, call: Call, method: str, params: Mapping[str, bytes]) -> bytes:
        members = {name: msgspec.Raw(raw) for name, raw in params.items()}
        if method in {SEND, STREAM} and "message" in params:
            members["message"] = _stamped(call, params["message"])
        if self.is_rest:
            return self._rest(call, method, members)
        if self.interface.tenant:
            members["tenant"] = msgspec.Raw(msgspec.json.encode(self.interface.tenant))
        body = {"jsonrpc": "2.0", "id": call.id, "method": method, "params": members}
        return self._written("POST", self.origin.target.path, call, msgspec.json.encode(body))

    def _rest(self, call: Call, name: str, members: Mapping[str, msgspec.Raw]) -> bytes:
        method = METHODS[name]
        # What becomes path or query is read; what is a body stays as it came.
        read = _IN_PATH if method.verb == "POST" else members.keys()
        said: dict[str, Any] = {
            member: msgspec.json.decode(raw) if member in read else raw
            for member, raw in members.items()
        }
        path, body = rest_request(method, said)
        tenant = f"/{quote(self.interface.tenant, safe='')}" if self.interface.tenant else ""
        whole = self.origin.target.path.rstrip("/") + tenant + path
        raw_body = None if body is None else msgspec.json.encode(body)
        return self._written(method.verb, whole, call, raw_body)

    def _written(self, verb: str, path: str, call: Call, body: bytes | None) -> bytes:
        lines = [
            f"{verb} {path} HTTP/1.1",
            f"Host: {self.origin.target.host_header}",
            "User-Agent: customhouse",
            "Accept: application/json, application/a2a+json, text/event-stream",
            "Accept-Encoding: identity",
            *self._credential,
            f"{VERSION_HEADER}: {VERSION}",
            *_of_caller(call),
        ]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


def origin_of(card: HttpTransport, interface: Interface) -> Origin:
    """Where *interface* is, as far as a card may say so.

    It was named by somebody on the network, not by the operator: it leads to a private address, or
    without TLS, only where the operator declared the card at that very origin.
    Raises: BadTarget.
    """
    here = Origin(card)
    there = Origin(replace(card, url=interface.url, allow_private=False))
    if here.holds(there.target):
        return Origin(replace(card, url=interface.url))
    if not there.target.tls:
        raise BadTarget("the card names an interface of another origin than its own, without https")
    return there


def _stamped(call: Call, raw: bytes) -> msgspec.Raw:
    """The message with what the border knows of it, so that what it causes can be told from it."""
    message = decode_members(raw)
    metadata = decode_members(message.get("metadata", msgspec.Raw(b"{}")))
    metadata[CALL] = msgspec.Raw(msgspec.json.encode(call.id))
    if call.name != _ANY_SKILL:
        metadata[SKILL] = msgspec.Raw(msgspec.json.encode(call.name))
    if call.run:
        metadata[RUN] = msgspec.Raw(msgspec.json.encode(call.run))
    message["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
    return msgspec.Raw(msgspec.json.encode(message))


def _of_caller(call: Call) -> list[str]:
    lines = []
    if call.trace and FIELD_VALUE.fullmatch(call.trace):
        lines.append(f"traceparent: {call.trace}")
    raw = call.meta.get(EXTENSIONS)
    if raw is not None:
        extensions = msgspec.json.decode(raw)
        if isinstance(extensions, str) and FIELD_VALUE.fullmatch(extensions):
            lines.append(f"{EXTENSIONS}: {extensions}")
    return lines
