"""How names look, and who had a look first: so that no newcomer passes for one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from gateway.domain.model import Kind
from gateway.domain.names import blur, called_as, likenesses, wire_name

Place = tuple[str, Kind, str]  # server, kind, name
NAMED = (
    Kind.TOOL,
    Kind.PROMPT,
    Kind.PEER,
)  # called by a name of ours; a URI is compared to the letter


@dataclass(frozen=True, slots=True)
class Looks:
    """How a name looks on the wire, and as its server writes it behind the prefix."""

    plain: frozenset[str] = frozenset()  # who shares one of these cannot be told apart
    at_a_glance: frozenset[str] = frozenset()  # who shares one of these can be mistaken


NO_LOOKS = Looks()


def looks_of(prefix: str, kind: Kind, name: str) -> Looks:
    if kind not in NAMED:
        return NO_LOOKS
    drawn = {wire_name(prefix, name), f"{prefix}_{name}"}
    plain = frozenset(key for each in drawn for key in likenesses(each))
    return Looks(plain, frozenset(map(blur, drawn)))


@dataclass(slots=True)
class LookBook:
    """Which places have which look; the first to have it is its owner."""

    _looks: dict[Place, Looks] = field(default_factory=dict)
    _plain: dict[tuple[Kind, str], dict[Place, None]] = field(default_factory=dict)
    _glance: dict[tuple[Kind, str], dict[Place, None]] = field(default_factory=dict)

    def knows(self, place: Place) -> bool:
        return place in self._looks

    def add(self, place: Place, looks: Looks) -> None:
        if place in self._looks:
            return
        self._looks[place] = looks
        for index, keys in ((self._plain, looks.plain), (self._glance, looks.at_a_glance)):
            for key in keys:
                index.setdefault((called_as(place[1]), key), {})[place] = None

    def drop(self, place: Place) -> None:
        looks = self._looks.pop(place, NO_LOOKS)
        for index, keys in ((self._plain, looks.plain), (self._glance, looks.at_a_glance)):
            for key in keys:
                owners = index[called_as(place[1]), key]
                del owners[place]
                if not owners:
                    del index[called_as(place[1]), key]

    def alike(self, place: Place) -> Iterator[Place]:
        """Who else cannot be told apart from *place*."""
        for key in self._looks.get(place, NO_LOOKS).plain:
            alike = self._plain[called_as(place[1]), key]
            yield from (other for other in alike if other != place)

    def alike_before(self, place: Place) -> Iterator[Place]:
        """Those of them that had the look first."""
        for key in self._looks.get(place, NO_LOOKS).plain:
            yield from takewhile(place.__ne__, self._plain[called_as(place[1]), key])

    def owners(self, kind: Kind, looks: Looks) -> list[Place]:
        """Who had each of *looks* first, at a glance."""
        found = (self._glance.get((called_as(kind), key)) for key in looks.at_a_glance)
        return [next(iter(places)) for places in found if places]
