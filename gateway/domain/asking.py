"""What a server may ask whoever calls it, in the middle of a call: elicitation, sampling, roots.

A kind may be asked when the operator allows it to the server (`requests`) and the client declared
it. What of a client's capabilities is neither is not told to the server in the first place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.domain.model import Call

ELICITATION = "elicitation"
# What a server asks -> the capability that says it may.
ASKS: Mapping[str, str] = MappingProxyType(
    {
        "elicitation/create": ELICITATION,
        "sampling/createMessage": "sampling",
        "roots/list": "roots",
    }
)
KINDS = frozenset(ASKS.values())
DEFAULT_REQUESTS = frozenset({ELICITATION})
MAX_ASKS = 8  # of one call, over all its rounds
ACROSS_ERAS = frozenset(
    {ELICITATION}
)  # what can be carried from a server of one to a client of the other
# Capabilities within those, by kind; others are not passed on.
_MODES: Mapping[str, tuple[str, ...]] = {
    ELICITATION: ("form", "url"),
    "sampling": ("context", "tools"),
    "roots": (),
}
_FORM = "form"
# The extensions that are carried.
APPS = "io.modelcontextprotocol/ui"
TASKS = "io.modelcontextprotocol/tasks"
EXTENSIONS = frozenset({APPS, TASKS})
_APP_TYPE = "text/html;profile=mcp-app"
_SHOWS_APPS: Mapping[str, Any] = {APPS: {"mimeTypes": [_APP_TYPE]}}
# What the gateway's own sessions are opened with. Pages are passed on, to callers who show them or
# not; whoever serves any has words for those who do not.
OWN_CAPABILITIES = json.dumps({"extensions": _SHOWS_APPS}, separators=(",", ":")).encode()

Declared = Mapping[str, frozenset[str]]  # kind -> its modes


class Ask(NamedTuple):
    """One question of an upstream; the members of its params are raw JSON."""

    method: str
    params: Mapping[str, bytes]

    @property
    def mode(self) -> str:
        """Of an elicitation: a form when it does not say; "" when what it says is nothing."""
        try:
            said = json.loads(self.params.get("mode", b'"form"'))
        except (ValueError, RecursionError):
            return ""
        return said if isinstance(said, str) else ""


@lru_cache(maxsize=1024)
def declared(capabilities: bytes) -> Declared:
    """The kinds a client declared, whatever a server is allowed. What is no JSON declares nothing."""
    found: dict[str, frozenset[str]] = {}
    for kind, said in _members(capabilities).items():
        if kind in KINDS and isinstance(said, dict):
            modes = frozenset(mode for mode in _MODES[kind] if isinstance(said.get(mode), dict))
            # Before there were modes, declaring elicitation meant forms.
            found[kind] = modes or frozenset({_FORM}) if kind == ELICITATION else modes
    return MappingProxyType(found)


def problem_of(ask: Ask, capabilities: bytes, requests: frozenset[str]) -> str:
    """Why *ask* may not be asked; "" when it may."""
    kind = ASKS.get(ask.method, "")
    if kind not in requests:
        return f"{kind or 'this kind of request'} is not among the requests allowed to the server"
    modes = declared(capabilities).get(kind)
    if modes is None:
        return f"the client did not declare {kind}"
    if kind == ELICITATION and ask.mode not in modes:
        return f"the client did not declare elicitation by {ask.mode}"
    return ""


@lru_cache(maxsize=1024)
def offered(capabilities: bytes, requests: frozenset[str]) -> bytes:
    """What of *capabilities* a caller's session with a server is opened with: canonical, and bounded."""
    kinds = {kind: modes for kind, modes in declared(capabilities).items() if kind in requests}
    shown: Any = {kind: {mode: {} for mode in modes} for kind, modes in kinds.items()}
    if _shows_apps(capabilities):
        shown["extensions"] = _SHOWS_APPS
    return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()


@lru_cache(maxsize=1024)
def without_others(capabilities: bytes, requests: frozenset[str]) -> bytes:
    """*capabilities* as they were declared, but for the kinds that may not be asked."""
    members = _members(capabilities)
    unwanted = KINDS.intersection(members) - requests
    if not unwanted:
        return capabilities
    kept = {key: said for key, said in members.items() if key not in unwanted}
    return json.dumps(kept, separators=(",", ":")).encode()


@lru_cache(maxsize=1024)
def has_extension(capabilities: bytes, extension: str) -> bool:
    """Whether a client declared *extension*."""
    extensions = _members(capabilities).get("extensions")
    return isinstance(extensions, dict) and isinstance(extensions.get(extension), dict)


def as_child(call: Call, ask: Ask, call_id: str) -> Call:
    """*ask* as a call of its own: of the same principal, under what allowed the call it is part of."""
    return replace(
        call, id=call_id, method=ask.method, params=ask.params, meta={}, parent=call.id, key=""
    )


def is_child(call: Call) -> bool:
    return call.method in ASKS


def _shows_apps(capabilities: bytes) -> bool:
    if not has_extension(capabilities, APPS):
        return False
    types = _members(capabilities)["extensions"][APPS].get("mimeTypes")
    return isinstance(types, list) and _APP_TYPE in types


def _members(capabilities: bytes) -> dict[str, Any]:
    try:
        members = json.loads(capabilities)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}
