"""How severe a log message is, and how severe it must be for a caller that asked for them.

emergency  alert  critical  error  warning  notice  info  debug
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.domain.refusal import bad_params

LOG_LEVEL_META = "io.modelcontextprotocol/logLevel"
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_RANKS: Mapping[str, int] = MappingProxyType({level: n for n, level in enumerate(_LEVELS)})
_RAW_RANKS: Mapping[bytes, int] = MappingProxyType(
    {msgspec.json.encode(level): n for n, level in enumerate(_LEVELS)}
)
_MOST = len(_LEVELS)


def read_level(params: Mapping[str, Any]) -> str:
    """The level of a logging/setLevel. Raises: Refused: BAD_PARAMS."""
    level = params.get("level")
    if not isinstance(level, str) or level not in _RANKS:
        raise bad_params(f"level must be one of {', '.join(_RANKS)}")
    return level


def is_heard(level: str, wanted: bytes | None) -> bool:
    """Whether a message of *level* is for a caller whose `_meta` says *wanted*, as raw JSON.

    Who asked for nothing, or for a level that does not exist, hears nothing.
    """
    return _RANKS.get(level, -1) >= _RAW_RANKS.get(wanted or b"", _MOST)
