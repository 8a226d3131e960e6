"""JSON-RPC messages of an upstream, parsed strictly once; what is passed on stays raw.

{"jsonrpc":"2.0","id":7,"result":{...}}       id, result: raw bytes
{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,...}}
"""

from __future__ import annotations

import msgspec

from gateway.domain import refusal
from gateway.domain.model import Status

METHOD_NOT_FOUND = -32601
_NOTHING = msgspec.Raw()
_OK = Status.OK


class UpstreamFailed(Exception):
    """The upstream gave no usable answer; *code* is a row of domain/refusal.py.

    Becomes an Outcome, of *told* where that says more than *code*. The sentence is for the operator's
    log and holds nothing the caller sent.
    """

    def __init__(self, code: str, sentence: str, told: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.told = told or code


class Ended(UpstreamFailed):
    """The response came to its proper end, and what is waited for was not in it."""


def ended() -> UpstreamFailed:
    return Ended(refusal.UPSTREAM_BROKEN.id, "the response ended without an answer")


def broken(sentence: str) -> UpstreamFailed:
    return UpstreamFailed(refusal.UPSTREAM_BROKEN.id, sentence)


def unreachable(sentence: str) -> UpstreamFailed:
    return UpstreamFailed(refusal.UPSTREAM_UNREACHABLE.id, sentence)


def died(sentence: str) -> UpstreamFailed:
    return UpstreamFailed(refusal.UPSTREAM_DIED.id, sentence)


class Message(msgspec.Struct, gc=False):
    """One message. A request has method and id, a notification only method, an answer only id."""

    id: msgspec.Raw = _NOTHING
    method: str = ""
    params: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _ResultHead(msgspec.Struct):
    is_error: bool = msgspec.field(name="isError", default=False)
    result_type: str = msgspec.field(name="resultType", default="complete")


class _ErrorHead(msgspec.Struct):
    code: int
    message: str


class _CancelledHead(msgspec.Struct):
    request_id: msgspec.Raw = msgspec.field(name="requestId", default=_NOTHING)


class _ProgressHead(msgspec.Struct):
    token: msgspec.Raw = msgspec.field(name="progressToken", default=_NOTHING)


_decode_message = msgspec.json.Decoder(Message).decode
_decode_result = msgspec.json.Decoder(_ResultHead).decode
_decode_error = msgspec.json.Decoder(_ErrorHead).decode
_decode_cancelled = msgspec.json.Decoder(_CancelledHead).decode
_decode_progress = msgspec.json.Decoder(_ProgressHead).decode
decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse(text: bytes) -> Message:
    """One JSON-RPC message: UTF-8, no NaN, no lone surrogates, bounded depth, one object.

    Its parts have no line breaks: between tokens these are only spaces, and in a stream of lines
    or events they would start a message of the upstream's choosing.
    Raises: UpstreamFailed: UPSTREAM_BROKEN.
    """
    try:
        if not text.isascii():
            text.decode()  # raw parts are not looked into later
        message = _decode_message(text)
        if b"\n" in text or b"\r" in text:
            message = _decode_message(single_line(text))
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise broken(f"expected one JSON-RPC message, got {len(text)} bytes: {err}") from None
    except RecursionError:
        raise broken(f"a message of {len(text)} bytes is nested too deeply") from None
    return message


def single_line(text: bytes) -> bytes:
    """The same JSON without line breaks; *text* is valid, so that none is inside a string."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def read_status(result: bytes) -> Status:
    """What a result says of itself. Raises: UpstreamFailed: UPSTREAM_BROKEN."""
    if not result.startswith(b"{"):
        raise broken("the result is not an object")
    # Most results carry neither word: two scans are cheaper than a second parse.
    if b"isError" not in result and b"input_required" not in result:
        return _OK
    try:
        head = _decode_result(result)
    except msgspec.MsgspecError as err:
        raise broken(f"isError or resultType of the result is not valid: {err}") from None
    if head.result_type == "input_required":
        return Status.INPUT_REQUIRED
    return Status.TOOL_ERROR if head.is_error else _OK


def is_complete(result: bytes) -> bool:
    """Whether a result is all of it, and neither a question nor a task."""
    try:
        return _decode_result(result).result_type == "complete"
    except msgspec.MsgspecError:
        return False


def read_error(message: Message) -> bytes:
    """The raw JSON-RPC error. Raises: UpstreamFailed: UPSTREAM_BROKEN when it is not one."""
    error = bytes(message.error)
    try:
        _decode_error(error)
    except msgspec.MsgspecError as err:
        raise broken(f"the error is not a JSON-RPC error: {err}") from None
    return error


def error_code(error: bytes) -> int:
    """The code of an error that `read_error` has accepted."""
    return _decode_error(error).code


def progress_token(message: Message) -> bytes:
    """The raw token of a progress notification; b"" when it carries none."""
    try:
        return bytes(_decode_progress(message.params).token)
    except msgspec.MsgspecError:
        return b""


def cancelled_id(message: Message) -> bytes:
    """The raw id of the request that a notification takes back; b"" when it names none."""
    try:
        return bytes(_decode_cancelled(message.params).request_id)
    except msgspec.MsgspecError:
        return b""
