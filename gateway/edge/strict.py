"""Bytes to one JSON-RPC message, or a refusal: what is judged cannot be read in two ways later.

    {"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":1}}}

Two parsers read the same bytes. msgspec finds where each parameter begins and ends, so that raw
bytes can be hashed and sent on; the standard library's scanner decodes the values that are judged
and shows every pair of every object, so that a duplicate key cannot hide.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from gateway.domain.refusal import MALFORMED, TOO_LARGE_REQUEST, UNPARSABLE, Refused
from gateway.edge.shape import SURELY_NARROW_BYTES, Overgrown, check_width, depth, skeleton

MAX_DEPTH = 64
_MAX_ID_BYTES = 1024  # it is echoed, and kept while the request is open
_MAX_FINITE_DIGITS = 308  # an integer with more may be beyond what a double can hold
_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_DIGITS = b"0" * (_MAX_FINITE_DIGITS + 1)
# An escape of the first half without one of the second behind it, or the other way round.
_HALF_PAIR = re.compile(
    r"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F](?<!\\u[dD][89abAB]..\\u[dD][c-fC-F]))"
)
_SPACE = " \t\n\r"


class Ambiguous(ValueError):
    """JSON that two readers may read differently."""


UNREADABLE = (ValueError, RecursionError, msgspec.DecodeError)


class _Raw(msgspec.Struct):
    jsonrpc: str
    method: str
    id: msgspec.Raw = msgspec.Raw()
    params: dict[str, msgspec.Raw] | None = None


class _RawResponse(msgspec.Struct):
    jsonrpc: str
    id: msgspec.Raw
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct):
    code: int
    message: str


class Response(msgspec.Struct, frozen=True):
    """A caller's answer to a request of ours: exactly one of *result* and *error*, raw objects."""

    key: str | int
    result: bytes
    error: bytes


class Message(msgspec.Struct, frozen=True):
    """One JSON-RPC request, or a notification when *id* is empty."""

    method: str
    id: bytes  # raw JSON, a string or an integer
    key: str | int  # the same, decoded
    raw: Mapping[str, msgspec.Raw]  # the members of params, as they came
    params: Mapping[str, Any]  # the same, decoded


def parse(body: bytes) -> Message:
    """Read one JSON-RPC request or notification.

    Raises: Refused: UNPARSABLE (not strict JSON), MALFORMED (JSON, but not such a message), or
    TOO_LARGE_REQUEST (of more values than a message may hold).
    """
    try:
        raw = _DECODER.decode(body)
        tree = scan(body)
    except msgspec.ValidationError:
        raise _malformed(
            "expected one object with jsonrpc, method, and an object as params"
        ) from None
    except UNREADABLE as err:
        raise unreadable(err) from None
    return _message(raw, tree)


def parse_response(body: bytes) -> Response | None:
    """Read what `parse` refuses as MALFORMED: one JSON-RPC response, or None when it is none."""
    try:
        raw = _RESPONSES.decode(body)
        tree = scan(body)
        if raw.error:
            _ERRORS.decode(raw.error)
    except UNREADABLE:
        return None
    key = tree.get("id")
    if raw.jsonrpc != "2.0" or "method" in tree or type(key) not in (str, int):
        return None
    if ("result" in tree) is ("error" in tree) or not (bytes(raw.result) or b"{").startswith(b"{"):
        return None
    return Response(key, bytes(raw.result), bytes(raw.error))


def scan(body: bytes) -> Any:
    """Decode strict JSON: the values, once nothing in them is ambiguous.

    Raises: ValueError or RecursionError (what follows the first value is not looked at).
    """
    text = body.decode()
    if text.count("{") + text.count("[") > MAX_DEPTH or len(text) > SURELY_NARROW_BYTES:
        _check_shape(body)
    if not text.startswith("{"):
        text = text.lstrip(_SPACE)
    if len(body) > _MAX_FINITE_DIGITS and _LONG_DIGITS in body.translate(_AS_ZERO):
        value = _scan_long(text, 0)[0]
    else:
        value = _scan_short(text, 0)[0]
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_pairs(text)
    return value


def scan_whole(body: bytes) -> Any:
    """The one value of *body*, with nothing behind it. Raises: Refused: see `unreadable`."""
    try:
        msgspec.json.decode(body)
        return scan(body)
    except UNREADABLE as err:
        raise unreadable(err) from None


def unreadable(err: Exception) -> Refused:
    """What is said of a body that is not strict JSON; *err*: one of `UNREADABLE`."""
    row = TOO_LARGE_REQUEST if isinstance(err, Overgrown) else UNPARSABLE
    is_ours = isinstance(err, Overgrown | Ambiguous)
    return Refused(row, detail={"problem": str(err)} if is_ours else {})


def _message(raw: _Raw, tree: Mapping[str, Any]) -> Message:
    params = tree.get("params") or {}
    key = tree.get("id", "")
    # The exact type: True is an int to Python, and not to JSON-RPC.
    if type(key) is not str and type(key) is not int:
        raise _malformed("id must be a string or an integer")
    if len(raw.id) > _MAX_ID_BYTES:
        raise _malformed(f"id is longer than {_MAX_ID_BYTES} bytes")
    if raw.jsonrpc != "2.0":
        raise _malformed("jsonrpc must be 2.0")
    if "result" in tree or "error" in tree:
        raise _malformed("a message is a request or a response, not both")
    members = raw.params or {}
    if raw.method != tree["method"] or members.keys() != params.keys():
        raise Refused(UNPARSABLE)
    return Message(raw.method, bytes(raw.id), key, members, params)


def _malformed(problem: str) -> Refused:
    return Refused(MALFORMED, detail={"problem": problem})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Ambiguous("a key appears twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise Ambiguous("a number is not finite")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Ambiguous("a number is not finite")
    return value


def _finite_int(digits: str) -> int:
    if len(digits) > _MAX_FINITE_DIGITS:
        _finite(digits)
    return int(digits)


def _check_shape(body: bytes) -> None:
    """Before there is a tree: what is too wide or too deep would cost more than it may."""
    bones = skeleton(body)
    check_width(bones)
    if depth(bones) > MAX_DEPTH:
        raise Ambiguous(f"nested deeper than {MAX_DEPTH}")


def _refuse_half_pairs(text: str) -> None:
    """*text* is JSON already, so that what follows a backslash is an escape, and whole."""
    # Escaped backslashes leave a gap: what stood apart must not become neighbours.
    if _HALF_PAIR.search(text.replace("\\\\", "  ") if "\\\\" in text else text):
        raise Ambiguous("a string holds half a surrogate pair")


_DECODER = msgspec.json.Decoder(_Raw)
_RESPONSES = msgspec.json.Decoder(_RawResponse)
_ERRORS = msgspec.json.Decoder(_Error)


def _scanner(parse_int: Callable[[str], int]) -> Callable[[str, int], tuple[Any, int]]:
    """The scanner itself, in C: `decode` would add two regular expressions and a slice."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_without_duplicates,
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=parse_int,
    )
    scan_once: Callable[[str, int], tuple[Any, int]] = vars(decoder)["scan_once"]
    return scan_once


# A hook for integers costs as much as the rest, and only long ones can be too large.
_scan_short, _scan_long = _scanner(int), _scanner(_finite_int)
