"""Tokens that were proved lately, so that not every request costs a signature.

To be forgotten costs a token its next proof, and nothing else: whatever it opened stays open.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gateway.domain.model import Principal, Token
from gateway.edge.oauth.keyset import KeySet

TRUSTED_US = 60_000_000  # before the signature of a token is checked again
MAX_TOKENS = 10_000
MAX_TOKENS_OF_ONE = 100  # one who comes with more makes room among its own

Mark = tuple[bytes, str]  # digest of a token, and the profile that proved it


@dataclass(frozen=True, slots=True)
class Proved:
    principal: Principal
    token: Token
    keys: KeySet  # of its issuer, then
    proved_us: int


class Remembered:
    """Bounded in all, and for each subject of an issuer: nobody fills it alone. The oldest go first."""

    def __init__(self) -> None:
        self._proved: OrderedDict[Mark, Proved] = OrderedDict()  # the first was proved first
        self._marks: dict[str, OrderedDict[Mark, None]] = {}  # by subject, in the same order

    def __len__(self) -> int:
        return len(self._proved)

    def find(self, mark: Mark, now_us: int) -> Proved | None:
        """What was proved of the token, if it was within the last minute."""
        known = self._proved.get(mark)
        return known if known is not None and _is_trusted(known, now_us) else None

    def keep(self, mark: Mark, proved: Proved) -> None:
        self._drop(mark)
        while self._proved and not _is_trusted(self._first(), proved.proved_us):
            self._drop(next(iter(self._proved)))
        own = self._marks.get(proved.principal.subject, ())
        if len(own) >= MAX_TOKENS_OF_ONE:
            self._drop(next(iter(own)))
        elif len(self._proved) >= MAX_TOKENS:
            self._drop(next(iter(self._proved)))
        self._proved[mark] = proved
        self._marks.setdefault(proved.principal.subject, OrderedDict())[mark] = None

    def _first(self) -> Proved:
        return next(iter(self._proved.values()))

    def _drop(self, mark: Mark) -> None:
        proved = self._proved.pop(mark, None)
        if proved is None:
            return
        subject = proved.principal.subject
        del self._marks[subject][mark]
        if not self._marks[subject]:
            del self._marks[subject]


def _is_trusted(proved: Proved, now_us: int) -> bool:
    """Lately, by a clock that was not set back, and before the token's end."""
    return 0 <= now_us - proved.proved_us < TRUSTED_US and now_us < proved.token.ends_us
