"""What the params of a request may hold: the members of its method, each of its own kind.

What is not the protocol's would reach the peer without any rule having looked at it, so that it goes
no further; the protocol wants it passed over, not refused:

    {"method":"GetTask","params":{"id":"cht-...","note":"<what may not leave>"}}        {"id":"cht-..."}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from gateway.domain.a2a import METHODS, is_segment
from gateway.domain.refusal import bad_params
from gateway.edge.a2a.asked import Asked, in_one_spelling
from gateway.edge.a2a.ids import MAX_SEALED_CHARS

_STATE = re.compile(r"TASK_STATE_[A-Z_]{1,40}")
_TIME = re.compile(r"[0-9TZtz:.+-]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]*")
_SENT = frozenset({"SendMessage", "SendStreamingMessage"})
CONFIGS = "PushNotificationConfig"
MAX_WHOLE = 2**31 - 1
MAX_TOKEN_CHARS = 1024  # of the peer's own


def checked(asked: Asked) -> Asked:
    """*asked* with its params as they are looked at. Raises: Refused: BAD_PARAMS."""
    if asked.method not in METHODS:
        return asked
    if asked.is_rpc:  # in the other binding that was done where path and body were held together
        asked = asked._replace(params=in_one_spelling(asked.params))
    members = METHODS[asked.method].members | {"tenant"}
    asked = asked._replace(params={k: v for k, v in asked.params.items() if k in members})
    _check_members(asked)
    return asked


def _check_members(asked: Asked) -> None:
    """Raises: Refused: BAD_PARAMS: a member is no such thing."""
    if asked.method in _SENT:
        return  # each of its members is looked at where it is used
    for name, value in asked.params.items():
        kind = _KINDS.get(name)
        if kind is not None and not kind[0](value):
            raise bad_params(f"{name} must be {kind[1]}")
    token = asked.params.get("pageToken", "")
    if CONFIGS in asked.method and len(token) > MAX_TOKEN_CHARS:
        raise bad_params(f"pageToken must have at most {MAX_TOKEN_CHARS} characters")
    if CONFIGS in asked.method:
        check_config_id(asked.params)


def check_config_id(config: Mapping[str, Any]) -> None:
    """It becomes part of a path. Raises: Refused: BAD_PARAMS."""
    if config.get("id", "") != "" and not is_segment(config["id"]):
        raise bad_params(
            "id must be 1 to 256 characters, without / \\ % ? # and spaces, and no dots alone"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_WHOLE


def _is_state(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, str) and _STATE.fullmatch(value) is not None)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_token(value: Any) -> bool:
    plain = isinstance(value, str) and len(value) <= MAX_SEALED_CHARS
    return plain and _TOKEN.fullmatch(value) is not None


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "historyLength": (_is_whole, "a whole number that is not negative"),
        "pageSize": (_is_whole, "a whole number that is not negative"),
        "status": (_is_state, "the name of a state"),
        "statusTimestampAfter": (_is_time, "a point in time as RFC 3339 writes it"),
        "includeArtifacts": (_is_truth, "true or false"),
        "pageToken": (_is_token, "a token as a list gave it"),
    }
)
