"""Tasks of the newest era (`io.modelcontextprotocol/tasks`): whose they are is in their id.

    server    {"resultType":"task","taskId":"786512e2",...}
    client    {"resultType":"task","taskId":"cht1.<base64url of nonce, ciphertext and tag>",...}

What is sealed in the id leads back to the server, the tool and the call; it opens only for the
principal it was sealed for. So nothing is kept here, and what was never sealed, is somebody else's or
is of a tool that the caller does not see any more is all the same: there is no such task.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.domain.asking import TASKS, has_extension
from gateway.domain.base64url import base64url
from gateway.domain.model import Call, Definition, Kind, Principal, Reply
from gateway.domain.refusal import (
    MISSING_CAPABILITY,
    UNKNOWN_OBJECT,
    UPSTREAM_BROKEN,
    Refused,
    bad_params,
)
from gateway.edge.calls import Asked, Place
from gateway.edge.state import unsealed

METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
MAX_ID_CHARS = 512  # of a server's own
_MAX_SEALED_CHARS = 4096
_PREFIX = "cht1."
_NONCE_BYTES = 12
_ID = "taskId"


class _Claims(msgspec.Struct, rename={"call_id": "c", "server": "s", "tool": "t", "task": "i"}):
    call_id: str
    server: str
    tool: str
    task: str  # as the server calls it


class _Created(msgspec.Struct):
    kind: str = msgspec.field(name="resultType", default="")
    task: Any = msgspec.field(name="taskId", default=None)


class Tasks:
    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def follow(self, call: Call, asked: Asked, place: Place) -> Call:
        """*call*, which names a task, as a later round of the call that made the task.

        Raises: Refused: MISSING_CAPABILITY. BAD_PARAMS. UNKNOWN_OBJECT, whatever is wrong with it.
        """
        if not has_extension(asked.client.capabilities, TASKS):
            raise Refused(MISSING_CAPABILITY, detail={"extension": TASKS})
        sealed = asked.message.params.get(_ID)
        if not isinstance(sealed, str):
            raise bad_params(f"{_ID} must be a string")
        claims = self._open(sealed, asked.principal)
        definition = _seen(claims, asked, place)
        if definition is None:
            raise Refused(UNKNOWN_OBJECT)
        return replace(
            call,
            id=claims.call_id,
            round=2,  # not counted, but later than the first, which paid for the call
            kind=Kind.SERVER,
            server=claims.server,
            name=claims.task,
            definition=definition,
        )

    def name_in(self, reply: Reply, asked: Asked) -> str:
        """The id by which the caller knows the task that *reply* is about; "" when it is about none.

        Raises: Refused: the server made a task for a client that knows of none.
        """
        call, result = reply.call, reply.outcome.result
        if call.method in METHODS:
            return str(asked.message.params[_ID]) if b'"taskId"' in result else ""
        if call.method != "tools/call" or b"task" not in result:
            return ""
        created = _read(result)
        if created.kind != "task":
            return ""
        task = created.task
        declared = has_extension(call.client.capabilities, TASKS)
        if not declared or not isinstance(task, str) or not 0 < len(task) <= MAX_ID_CHARS:
            raise Refused(UPSTREAM_BROKEN, call.id)
        return self._seal(_Claims(call.id, call.server, call.name, task), call.principal)

    def _seal(self, claims: _Claims, who: Principal) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(claims), _bound_to(who))
        return _PREFIX + base64url(nonce + sealed)

    def _open(self, sealed: str, who: Principal) -> _Claims:
        text = sealed.removeprefix(_PREFIX)
        if text == sealed or len(sealed) > _MAX_SEALED_CHARS:
            raise Refused(UNKNOWN_OBJECT)
        try:
            raw = unsealed(text)
            nonce, cipher = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            plain = self._cipher.decrypt(nonce, cipher, _bound_to(who))
        except (InvalidTag, ValueError):
            raise Refused(UNKNOWN_OBJECT) from None
        return msgspec.json.decode(plain, type=_Claims)


def _seen(claims: _Claims, asked: Asked, place: Place) -> Definition | None:
    """The tool that made the task, if the caller may still see it at this endpoint."""
    definition = place.catalogue.find(claims.server, Kind.TOOL, claims.tool)
    if definition is None:
        return None
    if asked.server and asked.server != claims.server:
        return None
    name = definition.name if asked.server else definition.wire_name
    if place.named(name, Kind.TOOL, asked.endpoint, asked.principal) != definition:
        return None
    return definition if place.snapshot.visible(asked.principal, [definition]) else None


def _read(result: bytes) -> _Created:
    try:
        return msgspec.json.decode(result, type=_Created)
    except msgspec.MsgspecError:
        return _Created()


def _bound_to(who: Principal) -> bytes:
    bindings = [who.tenant, who.subject, list(who.actors)]
    return b"customhouse/task/1\n" + json.dumps(bindings, separators=(",", ":")).encode()
