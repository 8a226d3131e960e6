"""How deep and how wide a body is, counted in its bytes: held against the tree it would become."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.refusal import Refused
from gateway.edge.shape import MAX_CONTAINERS, MAX_VALUES, Overgrown, check_width, depth, skeleton
from gateway.edge.strict import parse

WRAPPED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":%b}}'
FULL = 4 * 1024 * 1024 - 200

_text = st.text(st.sampled_from('"\\[]{},:a\n\u00fc'), max_size=8)
_values = st.recursive(
    st.none() | st.integers() | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=20,
)


def _deepest(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    return 1 + max(map(_deepest, value), default=0)


def _containers(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_containers, value)) if isinstance(value, list) else 0


@settings(max_examples=300, deadline=None)
@given(_values, st.booleans(), st.sampled_from([None, 1]))
def test_brackets_are_counted_where_they_nest_and_not_in_strings(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    bones = skeleton(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())
    assert depth(bones) == _deepest(value)
    assert bones.count(b"[") + bones.count(b"{") == _containers(value)


def _repeated(piece: bytes) -> bytes:
    return b"[" + piece * ((FULL - 200) // len(piece)) + b"0]"


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(_repeated(b"{},"), id="empty objects"),
        pytest.param(_repeated(b'{"":0},'), id="small objects"),
        pytest.param(_repeated(b"[],"), id="empty lists"),
        pytest.param(_repeated(b"1,"), id="integers"),
        pytest.param(_repeated(b"1e1,"), id="fractions"),
        pytest.param(_repeated(b'"",'), id="empty strings"),
        pytest.param(_repeated(b"[" * 55 + b"]" * 55 + b","), id="chains"),
    ],
)
def test_a_body_of_millions_of_values_is_refused_before_it_becomes_a_tree(inner: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse(WRAPPED % inner)
    assert refused.value.refusal.id == "too_large_request"
    assert "than" in str(refused.value.detail["problem"])


def test_as_many_values_as_allowed_are_allowed_and_one_more_is_not() -> None:
    most = b"[" + b"1," * (MAX_VALUES - 4) + b"1]"
    check_width(skeleton(most))
    with pytest.raises(Overgrown):
        check_width(skeleton(b"[" + b"1," * MAX_VALUES + b"1]"))
    boxes = b"[" + b"{}," * (MAX_CONTAINERS - 1)
    check_width(skeleton(boxes + b"1]"))
    with pytest.raises(Overgrown):
        check_width(skeleton(boxes + b"{}]"))


def test_a_long_text_full_of_brackets_and_commas_is_one_value() -> None:
    text = ('{"a": [1, 2], "b": "\\\\"}\n' * 100_000)[: FULL // 2]
    assert parse(WRAPPED % json.dumps(text).encode()).params["x"] == text
