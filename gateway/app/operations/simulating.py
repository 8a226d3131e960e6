"""A proposed policy over recorded calls: each is decided under the policy in force and under the
proposed one, at the time of its entry, so that nothing but the policy makes a difference.

Tags of tools are those of today, as they would count if the proposed policy were applied: a change that
rests on them says so. What else the log does not hold is counted by its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeGuard

from gateway.app.operations.query import Query
from gateway.app.operations.recalling import (
    DENIALS,
    TAGGED,
    Decided,
    Missing,
    Recall,
    Recalled,
    agrees,
    looks_at,
)
from gateway.app.operations.search import decided
from gateway.audit import entry as entries
from gateway.domain.model import Decision, Kind, Verdict
from gateway.domain.refusal import UNKNOWN_OBJECT
from gateway.domain.window import when
from gateway.policy import conditions
from gateway.policy.decide import object_of
from gateway.policy.files import CONDITIONS, unbundle
from gateway.policy.snapshot import Snapshot
from gateway.store.trail import Trail

_VERSIONS = 64  # of which the conditions are kept: calls come in the order of time
_TAGLESS = frozenset({Kind.ADMIN, Kind.SERVER})
_FREEDOM = (Verdict.DENY, Verdict.NEEDS, Verdict.ALLOW)  # less of it first
_FOLDED = "it was refused among so many that refusals were only counted"
OWN_PAGE = "it read figures of the gateway, and entries do not say which"
_NO_SUCH_THING = "there was nothing of the name that it asked for"
_NO_TAGS = "it depends on tags of something that is not listed any more"
_NOT_ALIKE = "the policy that decided it would decide otherwise now: tags or the clock changed"


class Sum(NamedTuple):
    """What a change is counted under."""

    agent: str
    tenant: str
    object: str
    act: str
    gains: bool


@dataclass(slots=True)
class Changed:
    """Calls of one agent on one object that the proposed policy decides otherwise."""

    call: str  # the newest of them
    leaf: int
    at_us: int
    by: str  # what decides under the proposed policy
    calls: int = 0
    on_tags: bool = False


@dataclass(slots=True)
class Simulation:
    """What came of it."""

    calls: int = 0
    gained: int = 0
    lost: int = 0
    changed: dict[Sum, Changed] = field(default_factory=dict)
    not_simulated: Counter[str] = field(default_factory=Counter)  # why -> how many

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "alike": self.calls - self.gained - self.lost,
            "gained": self.gained,
            "lost": self.lost,
            "not_simulated": dict(sorted(self.not_simulated.items())),
            "changes": [_change(*one) for one in sorted(self.changed.items(), key=_weight)],
        }


def simulate(
    trail: Trail, recall: Recall, query: Query, before: Snapshot, after: Snapshot
) -> Simulation:
    """Decide every recorded call that fits *query* under both policies."""
    done = Simulation()
    tables = lru_cache(_VERSIONS)(partial(_tables, trail))
    for entry in asked(trail, query, done.not_simulated):
        try:
            recalled = recall.recalled(entry)
            old, new = _both(recall, recalled, before, after)
        except Missing as missing:
            done.not_simulated[str(missing)] += 1
            continue
        done.calls += 1
        if old.verdict is not new.verdict:
            looked = {**_tagged(before, old), **_tagged(after, new)}
            gains = _FREEDOM.index(new.verdict) > _FREEDOM.index(old.verdict)
            changed = _count(done, recalled, gains, ruled_by(after, new))
            changed.on_tags |= bool(looked) and not _told(entry, looked, tables(entry.policy))
    return done


def asked(trail: Trail, query: Query, untold: Counter[str]) -> Iterator[Decided]:
    """The recorded calls about which policy decided; what is not one of them whole is counted."""
    for entry in asked_of_all(trail, query, untold):
        if isinstance(entry, entries.Single):
            untold[OWN_PAGE] += 1
        else:
            yield entry


def asked_of_all(
    trail: Trail, query: Query, untold: Counter[str]
) -> Iterator[Decided | entries.Single]:
    """The same, with requests for what the gateway says of itself, and to administer it."""
    for entry in decided(trail, query):
        if isinstance(entry, entries.Single):
            if entry.kind is Kind.ADMIN:  # lists are open to all, and filtered
                yield entry
        elif isinstance(entry, entries.Intent) or _is_policy_refusal(entry):
            yield entry
        elif (untold_of := _untold(entry))[1]:
            untold[untold_of[0]] += untold_of[1]


def reaches_back(trail: Trail) -> str:
    """When the first entry of the log was made."""
    first = next(trail.after(-1), None)
    return when(first.t) if first else ""


def ruled_by(snapshot: Snapshot, decision: Decision) -> str:
    """What decides, in words."""
    if decision.rule < 0:
        return "no rule allows it"
    rule = snapshot.rules[decision.rule]
    return f"{rule.place} ({rule.text})"


def _is_policy_refusal(entry: entries.Entry) -> TypeGuard[entries.Refused]:
    """Refused after policy was asked, and of something there is: callers invent names, too."""
    return isinstance(entry, entries.Refused) and (
        bool(entry.policy) and entry.code != UNKNOWN_OBJECT.id
    )


def _untold(entry: entries.Entry) -> tuple[str, int]:
    """Why the log does not say enough of *entry*, and how many calls it stands for; 0: no matter."""
    if isinstance(entry, entries.Folded):
        return _FOLDED, sum(entry.codes.get(code, 0) for code in DENIALS)
    if isinstance(entry, entries.Refused):
        return _NO_SUCH_THING, int(entry.code == UNKNOWN_OBJECT.id)
    return "", 0


def _both(
    recall: Recall, recalled: Recalled, before: Snapshot, after: Snapshot
) -> tuple[Decision, Decision]:
    """Raises: Missing."""
    old, new = recall.decide(before, recalled), recall.decide(after, recalled)
    call, entry = recalled.call, recalled.entry
    on_tags = looks_at(before, old, TAGGED) or looks_at(after, new, TAGGED)
    if on_tags and call.definition is None and call.kind not in _TAGLESS:
        raise Missing(_NO_TAGS)
    if entry.policy == before.version and not agrees(entry, old.verdict):
        raise Missing(_NOT_ALIKE)
    return old, new


def _count(done: Simulation, recalled: Recalled, gains: bool, by: str) -> Changed:
    call, entry = recalled.call, recalled.entry
    done.gained += gains
    done.lost += not gains
    who = call.principal
    key = Sum(who.subject, who.tenant, object_of(call), str(call.act), gains)
    changed = done.changed.setdefault(key, Changed("", 0, 0, ""))
    changed.call, changed.leaf, changed.at_us = entry.call, entry.i, entry.t
    changed.by = by
    changed.calls += 1
    return changed


# -- tags ------------------------------------------------------------------------------------------

_Table = Mapping[str, Any]
_Looked = dict[tuple[str, bool], _Table]  # (name, whether it held) of a condition on tags


def _tagged(snapshot: Snapshot, decision: Decision) -> _Looked:
    """The conditions on tags that *decision* looked at, and what they say."""
    named = {one: snapshot.conditions.get(one[0].removesuffix("?")) for one in decision.conditions}
    return {one: c.table for one, c in named.items() if c and not TAGGED.isdisjoint(c.table)}


def _told(entry: Decided, looked: _Looked, tables: Mapping[str, _Table]) -> bool:
    """Whether the entry itself has each of these conditions, the same and of the same truth."""
    return all(
        entry.conds.get(name) is held and tables.get(name) == table
        for (name, held), table in looked.items()
    )


def _tables(trail: Trail, version: str) -> dict[str, _Table]:
    """What the conditions of one version of the policy say; none where it cannot be read."""
    bundle = trail.policy_bundle(version)
    try:
        files = unbundle(bundle)[0].files if bundle else {}
    except ValueError:
        return {}
    named, _ = conditions.parse(files.get(CONDITIONS, b""), CONDITIONS)
    return {name: condition.table for name, condition in named.items()}


# -- for people and programs -----------------------------------------------------------------------


def _weight(one: tuple[Sum, Changed]) -> tuple[Any, ...]:
    """What is lost first, then what concerns most calls."""
    key, changed = one
    return key.gains, -changed.calls, key


def _change(key: Sum, changed: Changed) -> dict[str, Any]:
    return {
        "change": "gains" if key.gains else "loses",
        "agent": key.agent,
        "tenant": key.tenant,
        "object": key.object,
        "act": key.act,
        "calls": changed.calls,
        "call": changed.call,
        "leaf": changed.leaf,
        "at": when(changed.at_us),
        "by": changed.by,
        "on_tags_of_today": changed.on_tags,
    }
