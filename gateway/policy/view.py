"""The rules as one subject of one tenant sees them, indexed by act and object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from gateway.domain.model import Verdict
from gateway.policy.rules import ANY, Rule

NEVER: Final = 1 << 62  # the index of a deny that does not exist
LIST: Final = "list"
_SHOWING: Final = (ANY, LIST, "call", "read", "get", "complete")


class Ruling(NamedTuple):
    """All that the rules say of one act on one object, before any condition is looked at.

    `deny` is the lowest unconditional deny, `allow` the highest unconditional allow: the rules that
    Casbin reports. Conditional rules are kept only where they could still change that answer; one
    that waits for an approval counts as conditional.
    A tuple, not a dataclass: made on the hot path.
    """

    deny: int = NEVER
    allow: int = -1
    denies: tuple[Rule, ...] = ()  # conditional, lowest index first
    allows: tuple[Rule, ...] = ()  # conditional, highest index first


SILENCE: Final = Ruling()


class Shelf:
    """The rules about one act, in one probe for names and one for each length of prefix."""

    __slots__ = ("_exact", "_lengths", "_prefixes")

    def __init__(self, rules: Iterable[Rule]) -> None:
        exact: dict[str, list[Rule]] = {}
        prefixes: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.object.endswith(ANY):
                prefixes.setdefault(rule.object[:-1], []).append(rule)
            else:
                exact.setdefault(rule.object, []).append(rule)
        self._exact = {name: ruling(found) for name, found in exact.items()}
        self._prefixes = {name: ruling(found) for name, found in prefixes.items()}
        self._lengths = tuple(sorted({len(prefix) for prefix in prefixes}))

    def rule_on(self, name: str) -> Ruling:
        """What the rules of this shelf say of the object *name*."""
        exact = self._exact.get(name)
        found = [exact] if exact is not None else []
        limit = len(name)
        for length in self._lengths:
            if length > limit:
                break
            hit = self._prefixes.get(name[:length])
            if hit is not None:
                found.append(hit)
        if len(found) == 1:
            return found[0]
        return merged(found) if found else SILENCE


class View:
    """The rules that can concern one set of names in one tenant; shelves are made when asked for."""

    __slots__ = ("_rules", "_shelves", "_sights")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        # Acts are the gateway's own words, never the caller's: there are at most eight of each.
        self._shelves: dict[str, Shelf] = {}
        self._sights: dict[str, Shelf] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def rule_on(self, act: str, name: str) -> Ruling:
        """What the rules say of *act* on the object *name*."""
        shelf = self._shelves.get(act)
        if shelf is None:
            shelf = Shelf(rule for rule in self._rules if rule.act in (act, ANY))
            self._shelves[act] = shelf
        return shelf.rule_on(name)

    def denies_below(self, act: str, prefix: str) -> bool:
        """Whether a deny of *act* speaks of some object that begins with *prefix*."""
        return any(
            rule.effect is Verdict.DENY
            and rule.act in (act, ANY)
            and rule.object.startswith(prefix)
            for rule in self._rules
        )

    def sight_of(self, primary: str, name: str) -> Ruling:
        """What shows and what hides the object *name*, whose main act is *primary*.

        A right to do anything with it shows it; a deny of listing it or of its main act hides it.
        """
        shelf = self._sights.get(primary)
        if shelf is None:
            hiding = (ANY, LIST, primary)
            shelf = Shelf(
                rule
                for rule in self._rules
                if rule.act in (hiding if rule.effect is Verdict.DENY else _SHOWING)
            )
            self._sights[primary] = shelf
        return shelf.rule_on(name)


def ruling(rules: Iterable[Rule]) -> Ruling:
    """Combine rules that all match."""
    deny, allow = NEVER, -1
    denies: list[Rule] = []
    allows: list[Rule] = []
    for rule in rules:
        is_deny = rule.effect is Verdict.DENY
        if rule.terms:
            (denies if is_deny else allows).append(rule)
        elif is_deny:
            deny = min(deny, rule.index)
        else:
            allow = max(allow, rule.index)
    return _pruned(deny, allow, tuple(denies), tuple(allows))


def merged(rulings: Iterable[Ruling]) -> Ruling:
    """Combine rulings on the same act and object."""
    deny, allow = NEVER, -1
    denies: tuple[Rule, ...] = ()
    allows: tuple[Rule, ...] = ()
    for found in rulings:
        if found.deny < deny:
            deny = found.deny
        if found.allow > allow:
            allow = found.allow
        denies += found.denies
        allows += found.allows
    return _pruned(deny, allow, denies, allows)


def _pruned(deny: int, allow: int, denies: tuple[Rule, ...], allows: tuple[Rule, ...]) -> Ruling:
    """Leave out the conditional rules that cannot decide, and put the others in order."""
    if denies and (len(denies) > 1 or denies[0].index > deny):
        denies = tuple(sorted((rule for rule in denies if rule.index < deny), key=_index))
    if allows and (len(allows) > 1 or allows[0].index < allow):
        later = (rule for rule in allows if rule.index > allow)
        allows = tuple(sorted(later, key=_index, reverse=True))
    return Ruling(deny, allow, denies, allows)


_index = attrgetter("index")
