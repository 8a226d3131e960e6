"""Where the stream of a model ends, on both sides of the border. Pure.

data: [DONE]                                             of a chat
data: {"type":"response.completed","response":{...}}     of a response, however it is named
"""

from __future__ import annotations

import msgspec

DONE = b"[DONE]"
LAST_OF_RESPONSE = frozenset({"response.completed", "response.incomplete", "response.failed"})


def is_last(text: bytes, *, of_chat: bool) -> bool:
    """Whether nothing is wanted of a stream after this event; asked before it is read."""
    if of_chat:
        return text == DONE
    try:
        return _TYPES.decode(text).type in LAST_OF_RESPONSE
    except (msgspec.MsgspecError, RecursionError):
        return False  # whoever reads it says what is wrong with it


class _Type(msgspec.Struct):
    type: str = ""


_TYPES = msgspec.json.Decoder(_Type)
