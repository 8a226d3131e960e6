"""From what the upstream answered to the final frame: raw values survive, byte for byte.

    {"content":[...],"vendor":1.10}   becomes   {"content":[...],"vendor":1.10,"_meta":{...}}

Only the members of the result itself are taken apart; what is inside them is never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gateway.domain.model import KEPT, Call, Reply
from gateway.domain.refusal import NOT_SUPPORTED_ACROSS_ERAS, UPSTREAM_BROKEN, Refused

CALL_META = "io.customhouse/call"
OWN_META_PREFIX = "io.customhouse/"
SERVER_INFO_META = "io.modelcontextprotocol/serverInfo"

# Results that a client of the newest era may keep, so that they must say for how long and for whom.
CACHED_METHODS = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
_COMPLETE = msgspec.Raw(b'"complete"')
_NOT_KEPT = msgspec.Raw(b"0")
# What one principal may read says nothing about another: "public" would share it.
_PRIVATE = msgspec.Raw(b'"private"')
_Members = dict[str, msgspec.Raw]
_MEMBERS = msgspec.json.Decoder(_Members)


class Answer(NamedTuple):
    """One HTTP response with a JSON-RPC message, or with nothing, in it."""

    status: int
    body: bytes
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class Identification:
    """How the gateway names itself: raw JSON of an MCP Implementation."""

    raw: bytes

    @classmethod
    def of(cls, version: str) -> Identification:
        return cls(msgspec.json.encode({"name": "customhouse", "version": version}))


def result_frame(message_id: bytes, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (message_id, result)


def call_meta(
    call: Call, left: Mapping[str, int], code: str = "", *, is_replay: bool = False
) -> bytes:
    said: dict[str, object] = {"call_id": call.id}
    if left:
        said["left"] = left
    if code == KEPT:
        said["kept"] = True  # an earlier result: the server was not asked
    if is_replay:
        said["replayed"] = True  # of the same call, under the same idempotency key
    if call.run:
        said["run"] = call.run
    return msgspec.json.encode(said)


def final_result(
    reply: Reply, own: Identification, sealed_state: str = "", task: str = ""
) -> bytes:
    """The result for the caller's era, with the call id and what is left of the budget in `_meta`.

    *task*: the id by which the caller knows the task that the result is about.
    Raises: Refused: the result is no JSON object, or the caller's era has no word for it.
    """
    call = reply.call
    try:
        members = _MEMBERS.decode(reply.outcome.result)
        meta = _meta_of(members)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Refused(UPSTREAM_BROKEN, call.id) from None
    meta[CALL_META] = msgspec.Raw(_meta_of_call(reply))
    if call.client.modern:
        _as_modern(call, members, meta, own)
    else:
        _as_handshake(call, members, meta)
    if sealed_state:
        members["requestState"] = msgspec.Raw(msgspec.json.encode(sealed_state))
    if task:
        members["taskId"] = msgspec.Raw(msgspec.json.encode(task))
    members["_meta"] = msgspec.Raw(msgspec.json.encode(meta))
    return msgspec.json.encode(members)


def _meta_of_call(reply: Reply) -> bytes:
    left, code = reply.settlement.left, reply.outcome.code
    return call_meta(reply.call, left, code, is_replay=reply.is_replay)


def upstream_state(result: bytes) -> bytes:
    """The requestState of an input_required result, raw; b"" when it has none."""
    return bytes(_MEMBERS.decode(result).get("requestState", b""))


def _meta_of(members: _Members) -> _Members:
    raw = members.get("_meta")
    if raw is None or not bytes(raw).startswith(b"{"):
        return {}
    # An upstream does not speak for the gateway.
    return {k: v for k, v in _MEMBERS.decode(raw).items() if not k.startswith(OWN_META_PREFIX)}


def _as_modern(call: Call, members: _Members, meta: _Members, own: Identification) -> None:
    kind = members.setdefault("resultType", _COMPLETE)
    meta.setdefault(SERVER_INFO_META, msgspec.Raw(own.raw))
    if call.method in CACHED_METHODS and _is_complete(kind):
        members.setdefault("ttlMs", _NOT_KEPT)
        members["cacheScope"] = _PRIVATE


def _as_handshake(call: Call, members: _Members, meta: _Members) -> None:
    if not _is_complete(members.pop("resultType", _COMPLETE)):
        raise Refused(NOT_SUPPORTED_ACROSS_ERAS, call.id)
    meta.pop(SERVER_INFO_META, None)
    if call.method in CACHED_METHODS:
        members.pop("ttlMs", None)
        members.pop("cacheScope", None)


def _is_complete(kind: msgspec.Raw) -> bool:
    return kind is _COMPLETE or msgspec.json.decode(kind) == "complete"
