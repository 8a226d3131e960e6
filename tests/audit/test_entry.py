"""Entries: golden bytes, and the one form that both of their readers accept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import grammar
from gateway.audit.entry import (
    BadEntry,
    Change,
    Close,
    Counters,
    Entry,
    Refused,
    decode,
    encode,
)
from gateway.audit.grammar import MAX_BODY_BYTES
from gateway.audit.merkle import leaf_hash
from tests.audit.samples import ANY_ENTRY, AT_US, SAMPLES

GOLDEN: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "entries.json").read_text()
)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_entry_has_the_very_bytes_and_leaf_hash_it_always_had(name: str) -> None:
    body = encode(SAMPLES[name])
    assert body.decode() == GOLDEN[name]["body"]
    assert leaf_hash(body).hex() == GOLDEN[name]["leaf"]


def test_every_kind_of_entry_has_a_sample() -> None:
    kinds = {str(json.loads(golden["body"])["k"]) for golden in GOLDEN.values()}
    assert {kind.encode() for kind in kinds} == set(grammar.KINDS)


@given(ANY_ENTRY)
def test_an_entry_comes_back_from_its_bytes(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(ANY_ENTRY)
def test_any_json_library_writes_the_same_bytes_again(entry: Entry) -> None:
    body = encode(entry)
    again = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    assert again.encode() == body


@given(ANY_ENTRY)
def test_what_the_gateway_writes_the_offline_verifier_reads(entry: Entry) -> None:
    body = encode(entry)
    kind = json.loads(body)["k"].encode()
    assert grammar.kind_of(body) == kind
    line = grammar.read(kind, body)
    assert line is not None
    assert (line.kind, line.leaf, line.at_us) == (kind.decode(), entry.i, entry.t)
    assert line.call.decode() == getattr(entry, "call", "")


def _insert(body: bytes, at: int, byte: int) -> bytes:
    return body[:at] + bytes([byte]) + body[at:]


def _replace(body: bytes, at: int, byte: int) -> bytes:
    return body[:at] + bytes([byte]) + body[at + 1 :]


def _cut(body: bytes, at: int, byte: int) -> bytes:
    return body[:at] + body[at + 1 + byte % 8 :]


def _double(body: bytes, at: int, byte: int) -> bytes:
    return body[: at + byte] + body[at:]


def _reads(kind: bytes, body: bytes) -> tuple[bool, bool]:
    """Return whether the verifier and whether the gateway takes *body* for an entry of *kind*."""
    try:
        entry = decode(body)
    except BadEntry:
        return grammar.read(kind, body) is not None, False
    same_kind = str(entry.__struct_config__.tag).encode() == kind
    return grammar.read(kind, body) is not None, same_kind


_INTERESTING = st.sampled_from(b'{}[]",:0123456789.-+eE truefalsn\\u\x00\x7f\xc3') | st.integers(
    0, 255
)


@given(
    ANY_ENTRY | st.sampled_from(list(SAMPLES.values())),
    st.sampled_from([_insert, _replace, _cut, _double]),
    st.integers(0, 2000),
    _INTERESTING,
)
def test_the_two_readers_agree_on_every_distorted_entry(
    entry: Entry, distort: Callable[[bytes, int, int], bytes], at: int, byte: int
) -> None:
    body = encode(entry)
    kind = json.loads(body)["k"].encode()
    verifier, gateway = _reads(kind, distort(body, at % len(body), byte))
    assert verifier == gateway


INTENT = encode(SAMPLES["intent"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="no object"),
        pytest.param(b"{}", id="no kind"),
        pytest.param(INTENT + b"\n", id="a newline behind"),
        pytest.param(INTENT.replace(b'"allow":true', b'"allow":false'), id="intent not allowed"),
        pytest.param(INTENT.replace(b'"allow":true,', b""), id="required field missing"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":1.0'), id="float"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":1e0'), id="exponent"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":-1'), id="negative"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":-0'), id="negative zero"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":true'), id="boolean for number"),
        pytest.param(INTENT.replace(b'"round":1', b'"round":10000000000000000'), id="17 digits"),
        pytest.param(INTENT.replace(b'"round":1', b'"round": 1'), id="space"),
        pytest.param(INTENT.replace(b'"v":1', b'"v":2'), id="another version"),
        pytest.param(INTENT.replace(b"}", b',"x":1}', 1), id="unknown field"),
        pytest.param(INTENT.replace(b'"server":"s0', b'"server":"\\u0073'), id="escape"),
        pytest.param(INTENT.replace(b'"team":"g0', b'"team":"\xc3\xbc'), id="not ASCII"),
        pytest.param(INTENT.replace(b'"team":"g0', b'"team":"\x1f'), id="control character"),
        pytest.param(INTENT.replace(b'"team":"g0', b'"team":"\x7f'), id="delete character"),
        pytest.param(INTENT.replace(b'"kind":"tool"', b'"kind":"tools"'), id="unknown object kind"),
        pytest.param(INTENT.replace(b'"call":', b'"call":"twice","call":'), id="key twice"),
        pytest.param(
            INTENT.replace(
                b'{"office_hours":false,"small_refund":true}',
                b'{"small_refund":true,"office_hours":false}',
            ),
            id="conditions not sorted",
        ),
        pytest.param(
            INTENT.replace(b'"small_refund"', b'"office_hours"'), id="one condition twice"
        ),
        pytest.param(
            INTENT.replace(b'"conds":{', b'"conds":{},"x":{'), id="empty, so to be absent"
        ),
    ],
)
def test_what_is_not_the_one_form_is_no_entry_for_either_reader(body: bytes) -> None:
    assert body != INTENT
    with pytest.raises(BadEntry):
        decode(body)
    assert grammar.read(b"intent", body) is None


OF_ROWS = encode(SAMPLES["change of rows"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"o0123456789abcdef":', b'"k":', id="a key that looks like a field"),
        pytest.param(b'"o0123456789abcdef":', b'"s0123456789abcdef":', id="no subject"),
        pytest.param(b'"o00000000000000ff":', b'"o0123456789abcdef":', id="one row twice"),
        pytest.param(b'"o00000000000000ff":', b'"offffffffffffffff":', id="rows not sorted"),
        pytest.param(b"9a9a", b"9A9A", id="capitals"),
        pytest.param(b"9a9a", b"9a", id="a short digest"),
    ],
)
def test_rows_of_a_change_have_one_form_for_either_reader(old: bytes, new: bytes) -> None:
    body = OF_ROWS.replace(old, new, 1)
    assert body != OF_ROWS
    with pytest.raises(BadEntry):
        decode(body)
    assert grammar.read(b"change", body) is None


@pytest.mark.parametrize(
    "text",
    ["caf\u00e9", "\u202e", 'quote "', "back\\slash", "new\nline", "\x00", "\x7f", "\U0001f600"],
)
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda text: Change(i=1, t=AT_US, what=text, author="o1"), id="in a field"),
        pytest.param(
            lambda text: Refused(i=1, t=AT_US, call="c", code="x", detail={text: 1}), id="in a key"
        ),
    ],
)
def test_text_that_is_not_plain_never_reaches_the_log(
    made: Callable[[str], Entry], text: str
) -> None:
    with pytest.raises(BadEntry, match="not plain ASCII"):
        encode(made(text))


def test_a_lone_surrogate_never_reaches_the_log() -> None:
    with pytest.raises((BadEntry, UnicodeEncodeError)):
        encode(Counters(i=1, t=AT_US, digest="\ud800"))


def test_an_entry_longer_than_a_tile_can_hold_is_refused() -> None:
    longest = "x" * (MAX_BODY_BYTES - len(encode(Counters(i=1, t=AT_US, digest=""))))
    body = encode(Counters(i=1, t=AT_US, digest=longest))
    assert len(body) == MAX_BODY_BYTES
    assert grammar.read(b"counters", body) is not None
    assert grammar.read(b"counters", body.replace(b"xx", b"xxx", 1)) is None
    with pytest.raises(BadEntry, match="at most"):
        encode(Counters(i=1, t=AT_US, digest=longest + "x"))


def test_an_entry_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(AttributeError):
        msgspec.structs.replace(Close(i=1, t=AT_US)).i = 2  # type: ignore[misc]  # the test's point


def test_a_body_made_to_make_the_verifier_search_is_refused_in_linear_time() -> None:
    # Every quantifier of the grammar is possessive: a near miss is given up, not tried again.
    many = b'"a",' * 16_000
    body = INTENT.replace(b'"acc":[', b'"acc":[' + many).replace(b'"v":1', b'"v":2')
    assert grammar.read(b"intent", body) is None
