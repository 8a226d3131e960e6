"""One reading of every body: held against a reader written by hand."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.refusal import MALFORMED, UNPARSABLE, Refused
from gateway.edge.strict import MAX_DEPTH, Message, parse
from tests.edge.reference_json import NotStrict, read

WRAPPED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":%b}}'
WRAPPING = 2  # objects around x

_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_values = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
# Fragments that sit where readers are known to disagree.
_ODD = st.sampled_from(
    [
        b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":{"b":1,"b":1}}', b"NaN", b"-Infinity", b"Infinity",
        b"1e999", b"-1e999", b"1e-999", b"9" * 308, b"9" * 309, b"9" * 400, b"-" + b"9" * 400, b'"' + b"9" * 400 + b'"',
        b"9" * 5000, b"0" * 320, b"01", b"1.", b".5", b"+1", b"1e", b"0x1", b"-0", b"-0.0", b"1E+2", b"--1",
        b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\ude00\\ud83d"', b'"\\\\ud800"', b'"\\uD800x"', b'"\\ud800\\u0041"',
        b'"\xed\xa0\x80"', b'"\xff"', b'"\x00"', b'"\n"', b'"\\x41"', b'"\\u12"', b'"\xc3\xbc"', b'"\xf0\x9f\x98\x80"',
        b"\xef\xbb\xbf1", b"tru", b"nulll", b"[1,]", b"[,1]", b'{"a":1,}', b"{,}", b"{1:2}", b"[1 2]", b"'a'", b"",
        b"[" * 62 + b"]" * 62, b"[" * 63 + b"]" * 63, b"[" * 64 + b"]" * 64, b'{"a":' * 63 + b"1" + b"}" * 63,
        b'"' + b"[" * 200 + b'"', b"[" * 40 + b"]" * 40, b" 1 ", b"\t[ 1 , 2 ]\r\n", b"1\x0b", b"\xc2\xa01", b"/**/1",
    ]
)  # fmt: skip


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """A rendered value, spelled in one of several ways, sometimes with a byte changed."""
    value = draw(_values)
    body = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    ).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=2) | _ODD) + body[at + draw(st.integers(0, 2)) :]
    return body


def _ours(body: bytes) -> Message | None:
    try:
        return parse(body)
    except Refused as refused:
        if refused.refusal not in (UNPARSABLE, MALFORMED):
            raise
        return None


def _by_hand(body: bytes) -> Any:
    try:
        return read(body, MAX_DEPTH)
    except NotStrict:
        return None


@settings(max_examples=500, deadline=None)
@given(st.one_of(_bodies(), _ODD))
@example(b'1}},"extra":{"a":{"b":2')
@example(b'1},"params":{"y":2')
@example(b'1,"x":2')
def test_a_body_is_read_as_the_reader_by_hand_reads_it_or_refused_by_both(inner: bytes) -> None:
    body = WRAPPED % inner
    ours, by_hand = _ours(body), _by_hand(body)
    assert (ours is None) == (by_hand is None), body
    if ours is not None:
        assert repr(ours.params) == repr(by_hand["params"])  # repr: 1, 1.0 and True are not one


_ESCAPES = st.sampled_from(
    [b"\\ud83d", b"\\uDBff", b"\\ude00", b"\\uDC00", b"\\\\", b"\\u0041", b"ud800", b"\\n", b"a", b'\\"']
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(_ESCAPES, max_size=7))
@example([b"\\ud83d", b"\\\\", b"\\ude00"])
def test_halves_of_pairs_are_refused_and_pairs_are_not(pieces: list[bytes]) -> None:
    body = WRAPPED % (b'"' + b"".join(pieces) + b'"')
    assert (_ours(body) is None) == (_by_hand(body) is None), body


@settings(max_examples=250, deadline=None)
@given(_bodies())
def test_the_raw_bytes_that_are_sent_on_say_what_the_decoded_values_say(inner: bytes) -> None:
    ours = _ours(WRAPPED % inner)
    if ours is not None:
        raw = bytes(ours.raw["x"])
        assert repr(read(raw, MAX_DEPTH)) == repr(ours.params["x"])
        assert raw == inner.strip(b" \t\r\n") or raw == inner


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_a_refusal(body: bytes) -> None:
    """And what the reader by hand does not read is refused."""
    for whole in (body, b'{"jsonrpc":"2.0","method":"a","id":' + body + b"}"):
        ours = _ours(whole)
        assert ours is None or _by_hand(whole) is not None


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        pytest.param(b"[" + WRAPPED % b"1" + b"]", "malformed", id="a batch"),
        pytest.param(b"[]", "malformed", id="an empty batch"),
        pytest.param(b"", "unparsable", id="nothing"),
        pytest.param(b"{", "unparsable", id="a truncated body"),
        pytest.param(WRAPPED % b"1" + b"{}", "unparsable", id="something behind the message"),
        pytest.param(b"\xef\xbb\xbf" + WRAPPED % b"1", "unparsable", id="a byte order mark"),
        pytest.param((WRAPPED % b"1").decode().encode("utf-16"), "unparsable", id="UTF-16"),
        pytest.param(b"[" * 1_000_000, "malformed", id="a million brackets"),
        pytest.param(WRAPPED % (b"[" * 1_000_000), "unparsable", id="a million brackets inside"),
        pytest.param(WRAPPED % (b"[" * 9000 + b"]" * 9000), "unparsable", id="closed, and deep"),
        pytest.param(b'{"jsonrpc":"1.0","id":1,"method":"a"}', "malformed", id="another version"),
        pytest.param(b'{"id":1,"method":"a"}', "malformed", id="no version"),
        pytest.param(b'{"jsonrpc":"2.0","id":1}', "malformed", id="no method"),
        pytest.param(b'{"jsonrpc":"2.0","id":null,"method":"a"}', "malformed", id="id null"),
        pytest.param(b'{"jsonrpc":"2.0","id":true,"method":"a"}', "malformed", id="id true"),
        pytest.param(b'{"jsonrpc":"2.0","id":1.5,"method":"a"}', "malformed", id="id a fraction"),
        pytest.param(b'{"jsonrpc":"2.0","id":[1],"method":"a"}', "malformed", id="id a list"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":"' + b"x" * 1100 + b'","method":"a"}', "malformed", id="id endless"
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":1}', "malformed", id="method a number"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}', "malformed", id="params a list"
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"a","result":{}}', "malformed", id="request and result"
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"result":{}}', "malformed", id="a response"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}', "unparsable", id="two ids"
        ),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"a","\\u006dethod":"b"}', "unparsable", id="two methods"
        ),
    ],
)  # fmt: skip
def test_what_is_not_one_message_is_refused(body: bytes, refusal: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(body)
    assert refused.value.refusal.id == refusal


def test_a_message_without_an_id_is_a_notification_and_an_empty_id_is_not() -> None:
    assert parse(b'{"jsonrpc":"2.0","method":"a"}').id == b""
    assert parse(b'{"jsonrpc":"2.0","method":"a","id":""}').id == b'""'


def test_an_id_is_kept_as_it_was_spelled() -> None:
    message = parse(b'{"jsonrpc":"2.0","method":"a","id" : "\\u0061b" }')
    assert (message.id, message.key) == (b'"\\u0061b"', "ab")


def test_the_depth_that_is_allowed_is_allowed_also_where_strings_hold_brackets() -> None:
    inner = b"[" * (MAX_DEPTH - WRAPPING) + b'"[[["' + b"]" * (MAX_DEPTH - WRAPPING)
    assert parse(WRAPPED % inner).params["x"]
    with pytest.raises(Refused):
        parse(WRAPPED % (b"[" + inner + b"]"))


def test_neither_parser_is_strict_enough_alone() -> None:
    """msgspec alone would take the last of two keys; the scanner alone has no raw bytes."""
    body = b'{"a":1,"a":2}'
    assert msgspec.json.decode(body) == {"a": 2}
    with pytest.raises(Refused):
        parse(WRAPPED % body)
