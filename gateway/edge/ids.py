"""Call ids: 26 characters of Crockford base32 that sort by the millisecond they were made in.

01JDB52Y0092J3WF17R8ZRH502    10 characters of time, 16 of chance
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from gateway.store.entropy import Entropy

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_CHANCE = Struct("8H").unpack
_ENTROPY = Entropy()  # of the event loop's thread, where every id is made


def new_call_id(now_us: int) -> str:
    """An id that nobody can guess, even who knows the moment: 80 random bits."""
    a, b, c, d, e, f, g, h = _CHANCE(_ENTROPY.take(16))
    pairs = _PAIRS
    return (
        f"{_moment(now_us // 1000)}{pairs[a & 1023]}{pairs[b & 1023]}{pairs[c & 1023]}"
        f"{pairs[d & 1023]}{pairs[e & 1023]}{pairs[f & 1023]}{pairs[g & 1023]}{pairs[h & 1023]}"
    )


@lru_cache(maxsize=8)
def _moment(moment_ms: int) -> str:
    return "".join(_PAIRS[moment_ms >> shift & 1023] for shift in (40, 30, 20, 10, 0))
