"""Events are the same however the stream is cut into chunks."""

from itertools import pairwise

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
EVENTS = [b'{"a":1}', b"no space", b"two\nlines", b"after an empty event"]


@given(st.lists(st.integers(0, len(STREAM))))
def test_chunks_do_not_matter(cuts: list[int]) -> None:
    reader = EventReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in pairwise(edges) for event in reader.feed(STREAM[start:end])]
    assert found == EVENTS
