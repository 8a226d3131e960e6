"""Call ids sort by time and cannot be guessed."""

from __future__ import annotations

import re

from gateway.edge.ids import new_call_id
from tests.edge.people import NOW_US


def test_a_call_id_has_26_characters_of_crockford_base32() -> None:
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", new_call_id(NOW_US))


def test_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    moments = [0, 1_000, NOW_US, NOW_US + 1_000, NOW_US + 86_400_000_000, (1 << 48) * 1000 - 1]
    ids = [new_call_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert len({made[:10] for made in ids}) == len(moments)


def test_ids_of_one_moment_share_nothing_but_the_moment() -> None:
    made = {new_call_id(NOW_US) for _ in range(2_000)}
    assert len(made) == 2_000
    for place in range(10, 26):
        assert len({call_id[place] for call_id in made}) == 32
