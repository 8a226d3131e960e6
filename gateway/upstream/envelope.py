"""Requests to an upstream, assembled from the raw parts of a call; nothing is decoded again.

    {"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{...},
     "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",...,"progressToken":7}}}

The caller's credential is not part of a Call, so it cannot be part of a request.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from gateway.domain.asking import ACROSS_ERAS, without_others
from gateway.domain.model import MODERN_VERSION, Call

LEGACY_VERSION = "2025-11-25"
# Read or answered by the handshake era; 2025-11-25 is what we offer first.
LEGACY_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})

_RESERVED = ("io.modelcontextprotocol/", "io.customhouse/")
_LOG_LEVEL = "io.modelcontextprotocol/logLevel"

# Which member of params names the object. It is written from call.name, which policy judged,
# and never from the caller's bytes.
_NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_WITH_NAME_HEADER = frozenset(
    {"tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel"}
)
_KEYS = {
    key: msgspec.json.encode(key) + b":"
    for key in (
        *("name", "uri", "arguments", "cursor", "ref", "argument", "context", "level", "taskId"),
    )
}
_MODERN_META = (
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"'
    + MODERN_VERSION.encode()
    + b'","io.modelcontextprotocol/clientCapabilities":'
)
_LOG_LEVEL_KEY = b',"' + _LOG_LEVEL.encode() + b'":'
_INFO_KEY = b',"io.modelcontextprotocol/clientInfo":'


def object_name(call: Call) -> str:
    """What the Mcp-Name header says; "" for methods that have none."""
    return call.name if call.method in _WITH_NAME_HEADER else ""


def modern_request(call: Call, request_id: bytes, *, logs: bool) -> bytes:
    """One request of 2026-07-28. *logs*: the wire tells whose log lines are whose."""
    client, meta = call.client, call.meta
    parts = _head(call, request_id)
    capabilities = client.capabilities or b"{}"
    if not client.modern and capabilities != b"{}":
        capabilities = without_others(capabilities, ACROSS_ERAS)
    parts += (_MODERN_META, capabilities)
    if client.info:
        parts += (_INFO_KEY, client.info)
    if logs and _LOG_LEVEL in meta:
        parts += (_LOG_LEVEL_KEY, meta[_LOG_LEVEL])
    _add_shared_meta(parts, call, request_id)
    parts.append(b"}}}")
    return b"".join(parts)


def legacy_request(call: Call, request_id: bytes) -> bytes:
    """One request of the handshake era: the session has declared who calls, once."""
    parts = _head(call, request_id)
    meta: list[bytes] = []
    _add_shared_meta(meta, call, request_id)
    if meta:
        parts += (b'"_meta":{', b"".join(meta).removeprefix(b","), b"}")
    else:
        parts[-1] = parts[-1].removesuffix(b",")
    parts.append(b"}}")
    return b"".join(parts)


def notification(method: str, params: dict[str, object]) -> bytes:
    """One notification of ours, as a line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"


def _head(call: Call, request_id: bytes) -> list[bytes]:
    named_by = _NAMED_BY.get(call.method, "")
    # Names of tools and prompts are those of definitions; a caller may make up URIs without end.
    open_params = _cached_opening if named_by == "name" else _opening
    parts = [b'{"jsonrpc":"2.0","id":', request_id, open_params(call.method, named_by, call.name)]
    for key, raw in call.params.items():
        if key not in {named_by, "_meta"}:
            parts += (_KEYS.get(key) or msgspec.json.encode(key) + b":", raw, b",")
    return parts


def _opening(method: str, named_by: str, name: str) -> bytes:
    opening = b',"method":' + msgspec.json.encode(method) + b',"params":{'
    if not named_by:
        return opening
    return opening + _KEYS[named_by] + msgspec.json.encode(name) + b","


_cached_opening = lru_cache(maxsize=2048)(_opening)


def _add_shared_meta(parts: list[bytes], call: Call, request_id: bytes) -> None:
    """Members of _meta that both eras carry, a comma before each: progress, trace, the caller's."""
    if call.trace:
        parts += (b',"traceparent":', msgspec.json.encode(call.trace))
    for key, raw in call.meta.items():
        if key == "progressToken":
            parts += (b',"progressToken":', request_id)
        elif key != "traceparent" and not key.startswith(_RESERVED):
            parts += (b",", msgspec.json.encode(key), b":", raw)
