"""ETags: one state, one tag; a header that is no list of tags names no state."""

from __future__ import annotations

import pytest

from gateway.edge.api.etag import encoded, etag_of, is_seen, tags


def test_another_state_has_another_tag() -> None:
    one, other = (etag_of(encoded({"suspended": flag})) for flag in (True, False))
    assert one != other
    assert one == etag_of(b'{"suspended":true}')


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'"a"', {'"a"'}),
        (b'"a", W/"b" ,"c"', {'"a"', 'W/"b"', '"c"'}),
        (b'"a, b"', None),
        (b"a", None),
        (b'"a" "b"', None),
        (b'"a",', None),
        (b'w/"a"', None),
        (b"*", None),
        (b"", None),
        (b'"' + b"x" * 60_000 + b'"', {'"' + "x" * 60_000 + '"'}),
        (b'"",' * 20_000, None),
    ],
)
def test_a_list_of_tags_is_read_strictly(line: bytes, found: set[str] | None) -> None:
    assert tags(line) == found


def test_a_weak_tag_says_that_it_was_seen_and_not_that_it_is_so() -> None:
    assert is_seen(b'W/"a"', '"a"')
    assert '"a"' not in (tags(b'W/"a"') or ())
    assert is_seen(b"*", '"a"')
    assert not is_seen(b'"b"', '"a"')
    assert not is_seen(b"", '"a"')
