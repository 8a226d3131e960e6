"""What of the policy in force recorded calls have used: rules, role memberships, and names.

A call that was decided under the policy in force names its rule in the log. One that was decided under
another version is decided again under the policy in force.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from gateway.app.operations.query import Query
from gateway.app.operations.recalling import Decided, Missing, Recall, Recalled, verdict_of
from gateway.app.operations.simulating import asked, asked_of_all
from gateway.audit import entry as entries
from gateway.domain.model import Call, Decision, Principal, Verdict
from gateway.policy.decide import object_of
from gateway.policy.joint import principals
from gateway.policy.narrow import Done, Narrowed, narrowed, narrower, no_line, untold, wider
from gateway.policy.rules import ANY, Link, Rule
from gateway.policy.snapshot import Snapshot
from gateway.store.trail import Trail

_OTHER_RULE = "it names a rule that its policy does not have"
_NOT_ANY_MORE = "the policy in force does not allow it any more"
_ALLOWED_NOW = "the policy in force allows it by now"
_NOBODY = Principal("", "")  # where a rule is for everybody
_UNFIT = "its name cannot stand in a rule"
MAX_NAMES = 100_000  # that suggestions are made of; callers can invent URIs
_TOO_MANY = f"more than {MAX_NAMES} different names"

_Asked = tuple[Done, str]  # and why no rule for it would help, or ""
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class Unused:
    """What decided no recorded call. Only allows and memberships are candidates for removal."""

    calls: int
    allows: list[Rule]
    denies: list[Rule]  # a guard rail that never fired is not useless
    untold: list[Rule | Link]  # may have counted without an entry
    memberships: list[Link]
    not_counted: Counter[str]  # why -> how many

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "rules": list(map(_said, self.allows)),
            "memberships": list(map(_said, self.memberships)),
            "guard_rails": list(map(_said, self.denies)),
            "untold": list(map(_said, self.untold)),
            "not_counted": dict(sorted(self.not_counted.items())),
        }


@dataclass(slots=True)
class Tally:
    calls: int = 0
    call: str = ""  # the newest


@dataclass(frozen=True, slots=True)
class Addition:
    """Something that was refused; its line would allow it, or there is none and a reason."""

    done: Done
    line: str
    why: str
    calls: int
    call: str


@dataclass(slots=True)
class Suggestion:
    """What to write in the place of the allow rules, or beside them. Nothing of it is applied."""

    calls: int = 0
    rules: list[Narrowed] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)
    wider: list[str] = field(default_factory=list)
    not_counted: Counter[str] = field(default_factory=Counter)  # why -> how many

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "rules": list(map(_narrowing, self.rules)),
            "additions": list(map(_addition, self.additions)),
            "wider": self.wider,
            "not_counted": dict(sorted(self.not_counted.items())),
        }


def unused(trail: Trail, recall: Recall, query: Query, snapshot: Snapshot) -> Unused:
    """What of *snapshot*, the policy in force, no recorded call needed."""
    left_out: Counter[str] = Counter()
    deciding: set[int] = set()
    paths: set[tuple[str, str, str]] = set()
    known: dict[tuple[Principal, str], None] = {}
    calls = 0
    for entry in asked_of_all(trail, query, left_out):
        try:
            for who, rule in _ruled(recall, snapshot, entry):
                deciding.add(rule)
                if snapshot.rules[rule].subject != ANY:
                    known[who, snapshot.rules[rule].subject] = None
            calls += 1
        except Missing as missing:
            left_out[str(missing)] += 1
    for who, subject in known:
        paths |= _links(snapshot, who, subject)
    idle = [rule for rule in snapshot.rules if rule.index not in deciding]
    denies = [rule for rule in idle if rule.effect is Verdict.DENY]
    allows = [rule for rule in idle if rule.effect is Verdict.ALLOW]
    links = [link for link in snapshot.links if (link.member, link.role, link.tenant) not in paths]
    silent = [link for link in links if _leads_to_untold(snapshot, link)]
    return Unused(
        calls,
        [rule for rule in allows if not untold(rule)],
        denies,
        [*(rule for rule in allows if untold(rule)), *silent],
        [link for link in links if link not in silent],
        left_out,
    )


def from_used(trail: Trail, recall: Recall, query: Query, snapshot: Snapshot) -> Suggestion:
    """The allow rules of *snapshot*, narrowed to the calls that were admitted, and still would be."""
    found = Suggestion()
    used: Counter[tuple[int, Done]] = Counter()
    for entry in asked(trail, query, found.not_counted):
        if isinstance(entry, entries.Intent):
            try:
                for key in _uses(recall, snapshot, entry):
                    used[_bounded(key, used)] += 1
                found.calls += 1
            except Missing as missing:
                found.not_counted[str(missing)] += 1
    ruled = {use: calls for use, calls in used.items() if use[0] >= 0}
    found.rules = narrowed(snapshot, ruled) if ruled else []
    return found


def from_refused(trail: Trail, recall: Recall, query: Query, snapshot: Snapshot) -> Suggestion:
    """A line for each thing that policy refused, and still refuses for want of a rule."""
    found = Suggestion()
    tallies: dict[_Asked, Tally] = {}
    for entry in asked(trail, query, found.not_counted):
        if verdict_of(entry) is Verdict.DENY:
            try:
                key = _bounded(_want(recall, snapshot, entry), tallies)
            except Missing as missing:
                found.not_counted[str(missing)] += 1
                continue
            found.calls += 1
            tally = tallies.setdefault(key, Tally())
            tally.calls, tally.call = tally.calls + 1, entry.call
    found.additions = [_added(*key, tallies[key]) for key in sorted(tallies)]
    found.wider = wider({one.done: one.line for one in found.additions if one.line})
    return found


def _uses(recall: Recall, snapshot: Snapshot, entry: entries.Intent) -> list[tuple[int, Done]]:
    """What was done under which rule in force; -1: under none, it is open to all.

    A call that was made for others took a right of each of them. Raises: Missing.
    """
    rule, verdict = _ruling(recall, snapshot, entry)
    if verdict is Verdict.DENY:
        raise Missing(_NOT_ANY_MORE)  # taken away since: not to be given back unnoticed
    if not entry.actors:
        return [_use(recall, snapshot, recall.recalled(entry), rule)]
    return [(decision.rule, _done(call)) for call, decision in _parties(recall, snapshot, entry)]


def _use(recall: Recall, snapshot: Snapshot, recalled: Recalled, rule: int) -> tuple[int, Done]:
    for other in narrower(snapshot, recalled.call, rule):
        with suppress(Missing):  # whether it allowed it, too, cannot be told
            if recall.holds(snapshot, recalled, other):
                return other.index, _done(recalled.call)
    return rule, _done(recalled.call)


def _want(recall: Recall, snapshot: Snapshot, entry: Decided) -> _Asked:
    """What was refused, and why no rule for it would help. Raises: Missing."""
    recalled = recall.recalled(entry)
    decision = recall.decide(snapshot, recalled)
    if decision.verdict is not Verdict.DENY:
        raise Missing(_ALLOWED_NOW)
    return _done(recalled.call), no_line(snapshot, recalled.call, decision)


def _bounded(key: _Key, kept: Mapping[_Key, Any]) -> _Key:
    """Raises: Missing: it would be one too many."""
    if key not in kept and len(kept) >= MAX_NAMES:
        raise Missing(_TOO_MANY)
    return key


def _leads_to_untold(snapshot: Snapshot, link: Link) -> bool:
    """Whether all that *link* allows may have counted without an entry."""
    held = snapshot.roles.closure(link.role, link.tenant)
    allowed = [
        rule
        for rule in snapshot.rules
        if rule.effect is Verdict.ALLOW
        and rule.subject in held
        and rule.tenant in (link.tenant, ANY)
    ]
    return bool(allowed) and all(map(untold, allowed))


def _ruled(
    recall: Recall, snapshot: Snapshot, entry: Decided | entries.Single
) -> list[tuple[Principal, int]]:
    """The rules in force that decide *entry*, each with whom it concerns. Raises: Missing."""
    if isinstance(entry, entries.Single):
        rule = snapshot.decide(recall.administered(entry), entry.t).rule
    elif isinstance(entry, entries.Intent) and entry.actors:
        parties = _parties(recall, snapshot, entry)
        return [(call.principal, said.rule) for call, said in parties if said.rule >= 0]
    else:
        rule = _ruling(recall, snapshot, entry)[0]
    if rule < 0:
        return []
    if snapshot.rules[rule].subject == ANY:
        return [(_NOBODY, rule)]
    return [(one, rule) for one in principals(recall.principal(entry))]  # of a refusal: whose it is


def _parties(
    recall: Recall, snapshot: Snapshot, entry: entries.Intent
) -> list[tuple[Call, Decision]]:
    """What the policy in force says of each whose right it took. Raises: Missing."""
    recalled = recall.recalled(entry)
    recall.decide(snapshot, recalled)  # opens the arguments where they matter
    return snapshot.by_party(recalled.call, entry.t)


def _ruling(recall: Recall, snapshot: Snapshot, entry: Decided) -> tuple[int, Verdict | None]:
    """The rule in force that decides *entry*, -1 when none does, and the verdict. Raises: Missing."""
    if entry.policy != snapshot.version:
        decision = recall.decide(snapshot, recall.recalled(entry))
        return decision.rule, decision.verdict
    if entry.rule >= len(snapshot.rules):
        raise Missing(_OTHER_RULE)
    return entry.rule, verdict_of(entry)


def _links(snapshot: Snapshot, who: Principal, subject: str) -> set[tuple[str, str, str]]:
    """The memberships through which a rule for *subject* concerns *who*."""
    path = snapshot.roles.path(who.subject, subject, who.tenant, who.roles)
    return {(member, role, who.tenant) for member, role in pairwise(path)}


def _done(call: Call) -> Done:
    who = call.principal
    return Done(who.subject, who.tenant, object_of(call), str(call.act))


def _added(done: Done, why: str, tally: Tally) -> Addition:
    line = "" if why else done.line()
    return Addition(done, line, why or ("" if line else _UNFIT), tally.calls, tally.call)


def _said(one: Rule | Link) -> dict[str, Any]:
    return {"file": one.file, "line": one.line, "text": one.text}


def _narrowing(one: Narrowed) -> dict[str, Any]:
    return {
        **_said(one.rule),
        "calls": one.calls,
        "instead": list(one.lines),
        "why": one.why,
        "wider": list(one.wider),
    }


def _addition(one: Addition) -> dict[str, Any]:
    return {
        "line": one.line,
        **one.done._asdict(),
        "why": one.why,
        "calls": one.calls,
        "call": one.call,
    }
