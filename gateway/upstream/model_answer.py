"""What a provider answers, read: how much text it is, what it says it used, and where a stream ends.

    {"choices":[{"message":{"role":"assistant","content":"The Elbe."}}],"usage":{...}}
    data: {"choices":[{"delta":{"content":"The "}}]}        ...        data: [DONE]

Everything is passed on as it came; only what is not JSON, or not of the API, ends the call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from gateway.domain.meter import tokens
from gateway.domain.model import Usage
from gateway.domain.model_meter import text_bytes
from gateway.domain.model_stream import DONE, LAST_OF_RESPONSE
from gateway.upstream.message import broken, single_line
from gateway.upstream.sse import MESSAGE

MAX_RECORDED_BYTES = 65_536
_MAX_AMOUNT = 2**53
_KIND = re.compile(rb"[a-z][a-z0-9_.]{0,63}")


class Api(StrEnum):
    """What can be asked of a provider: the path below its base URL."""

    CHAT = "chat/completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


class Answer(NamedTuple):
    """A whole answer."""

    text_bytes: int
    usage: Usage | None


_MEMBER: Mapping[Api, str] = {
    Api.CHAT: "choices",
    Api.RESPONSES: "output",
    Api.EMBEDDINGS: "data",
}
_USAGE: Mapping[Api, tuple[str, str]] = {
    Api.CHAT: ("prompt_tokens", "completion_tokens"),
    Api.RESPONSES: ("input_tokens", "output_tokens"),
    Api.EMBEDDINGS: ("prompt_tokens", ""),
}


def read_answer(api: Api, body: bytes) -> Answer:
    """Raises: UpstreamFailed: it is not an answer of *api*."""
    said = _object(body)
    found = said.get(_MEMBER[api])
    if not isinstance(found, list):
        raise broken(f"the answer has no list of {_MEMBER[api]}")
    n_bytes = 0 if api is Api.EMBEDDINGS else text_bytes(found)
    return Answer(n_bytes, _usage(api, said.get("usage")))


class Tape:
    """One stream, event by event. Its whole text is kept as long as it is short."""

    def __init__(self, api: Api, *, tells_usage: bool) -> None:
        """*tells_usage*: the caller asked for the event that says nothing else."""
        self.text_bytes = 0
        self.usage: Usage | None = None
        self.is_over = False
        self.has_failed = False  # the provider ended it so, by its own word
        self._api = api
        self._tells_usage = tells_usage
        self._recorded = bytearray()

    @property
    def recorded(self) -> bytes:
        """All that was passed on; b"" when it was long."""
        return bytes(self._recorded) if len(self._recorded) <= MAX_RECORDED_BYTES else b""

    @property
    def completion_tokens(self) -> int:
        return tokens(self.text_bytes)

    def read(self, kind: bytes, text: bytes) -> bytes:
        """The event as it is passed on; b"" when it is not. Raises: UpstreamFailed: it is none."""
        if text == DONE:
            if self._api is not Api.CHAT:
                raise broken("the stream ended without its last event")
            self.is_over = True
            return self._record(b"data: [DONE]\n\n")
        said = _object(text)
        if "error" in said and said["error"] is not None:
            raise broken("the provider reported an error in the middle of its stream")
        is_told = self._chunk(said) if self._api is Api.CHAT else self._event(kind, said)
        return self._record(_frame(kind, text)) if is_told else b""

    def _chunk(self, said: Mapping[str, Any]) -> bool:
        choices = said.get("choices")
        if not isinstance(choices, list):
            raise broken("a chunk has no list of choices")
        # All of each: a client may read what stands beside the delta, too.
        self.text_bytes += text_bytes(choices)
        usage = _usage(self._api, said.get("usage"))
        self.usage = usage or self.usage
        return self._tells_usage or usage is None or bool(choices)

    def _event(self, name: bytes, said: Mapping[str, Any]) -> bool:
        kind = said.get("type")
        if not isinstance(kind, str):
            raise broken("an event has no type")
        if name not in (MESSAGE, kind.encode("utf-8", "surrogatepass")):
            raise broken("an event is named otherwise than its type")
        if kind == "error":
            raise broken("the provider reported an error in the middle of its stream")
        if kind.endswith(".delta"):
            self.text_bytes += text_bytes(said.get("delta"))
        if kind in LAST_OF_RESPONSE:
            self._end(said.get("response"), has_failed=kind == "response.failed")
        return True

    def _end(self, response: Any, *, has_failed: bool) -> None:
        self.is_over, self.has_failed = True, has_failed
        self.text_bytes = max(self.text_bytes, text_bytes(_member(response, "output")))
        self.usage = _usage(self._api, _member(response, "usage"))

    def _record(self, frame: bytes) -> bytes:
        if len(self._recorded) <= MAX_RECORDED_BYTES:
            self._recorded += frame
        return frame


def _frame(kind: bytes, text: bytes) -> bytes:
    line = single_line(text)
    if kind == MESSAGE:
        return b"data: %b\n\n" % line
    if not _KIND.fullmatch(kind):
        raise broken("an event has a name that is none")
    return b"event: %b\ndata: %b\n\n" % (kind, line)


def _object(text: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise broken(f"expected JSON, got {len(text)} bytes that are none") from None
    if not isinstance(said, dict):
        raise broken("expected a JSON object")
    return said


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _usage(api: Api, said: Any) -> Usage | None:
    """What the provider says it used; None when that cannot be."""
    if not isinstance(said, dict):
        return None
    prompt, completion = (said.get(key, 0) if key else 0 for key in _USAGE[api])
    amounts = (prompt, completion)
    if any(type(one) is not int or not 0 <= one <= _MAX_AMOUNT for one in amounts):
        return None
    return Usage(prompt, completion) if _USAGE[api][0] in said else None
