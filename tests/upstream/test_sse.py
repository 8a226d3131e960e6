"""Events are the same however the stream is cut into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.sse import EventReader

STREAM = (
    b": comment\r\n\r\n"
    b'event: message\r\ndata: {"a":1}\r\n\r\n'
    b"data:no space\n\n"
    b"event: other\ndata: ignored\n\n"
    b"id: 7\nretry: 10\ndata: two\ndata: lines\n\n"
    b"data\n\n"
    b"event: message\n\ndata: after an empty event\r\r"
    b"data: unfinished"
)
EVENTS = [
    (b"message", b'{"a":1}'),
    (b"message", b"no space"),
    (b"other", b"ignored"),
    (b"message", b"two\nlines"),
    (b"message", b"after an empty event"),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_chunks_do_not_matter(cuts: list[int]) -> None:
    reader = EventReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in pairwise(edges) for event in reader.feed(STREAM[start:end])]
    assert found == EVENTS
    assert (reader.last_id, reader.retry_ms) == (b"7", 10)


def test_an_event_without_data_moves_the_place_to_resume_from() -> None:
    reader = EventReader()
    assert reader.feed(b"id: 41\nretry: 250\ndata:\n\nid: 42\n") == []
    assert (reader.last_id, reader.retry_ms) == (b"41", 250)  # 42 is not complete


@pytest.mark.parametrize(
    "line", [b"id: a\0b", b"id: " + b"x" * 2_000, b"retry: soon", b"retry: 99999999999"]
)
def test_a_field_that_is_no_good_is_as_if_it_were_not_there(line: bytes) -> None:
    reader = EventReader()
    reader.feed(line + b"\n\n")
    assert (reader.last_id, reader.retry_ms) == (b"", None)
