"""What an API answers, as the result of a tool: text for the model, JSON objects as they are too."""

from __future__ import annotations

import msgspec

from gateway.upstream.exchange import Exchange
from gateway.upstream.message import Message, single_line
from gateway.upstream.response import Response

MAX_ERROR_CHARS = 4_000


class Answer:
    """One call, from where its connection sees it."""

    __slots__ = ("_status", "exchange")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._status = 0

    @property
    def max_wire_bytes(self) -> int:
        return self.exchange.max_wire_bytes

    def begun(self) -> None:
        self.exchange.sent = True

    def headed(self, response: Response) -> bool:
        self._status = response.status
        if response.status == 401 or 300 <= response.status < 400:
            raise response.failure()
        # Whatever type the body is said to be of, it is one message, which ends with the body.
        response.is_json, response.events = True, None
        return False

    def count(self, n_bytes: int) -> bool:
        return self.exchange.count(n_bytes)

    def take(self, kind: bytes, text: bytes) -> bool:
        result = result_of(self._status, text)
        self.exchange.deliver(Message(result=msgspec.Raw(result)))
        return True

    def fail(self, failure: Exception) -> None:
        self.exchange.fail(failure)


def result_of(status: int, body: bytes) -> bytes:
    """The result of a call that was answered with *body*, whatever it is said to be."""
    text = _text(body)
    if status >= 400:
        said = f"HTTP {status}: {text[:MAX_ERROR_CHARS]}" if text else f"HTTP {status}"
        return error_result(said)
    if text is None:
        return error_result(f"HTTP {status}: {len(body)} bytes that are no text")
    parts: dict[str, object] = {"content": [{"type": "text", "text": text or f"HTTP {status}"}]}
    if _is_object(body):
        parts["structuredContent"] = msgspec.Raw(single_line(body.strip()))
    return msgspec.json.encode(parts)


def error_result(sentence: str) -> bytes:
    return msgspec.json.encode({"content": [{"type": "text", "text": sentence}], "isError": True})


def _text(body: bytes) -> str | None:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (msgspec.MsgspecError, RecursionError):
        return False
