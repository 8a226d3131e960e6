"""Plain Casbin over the same files: the judge of the compiled snapshot, in tests and at start-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import casbin
from casbin.persist import Adapter, load_policy_line

from gateway.domain.model import Call, Verdict
from gateway.policy import rules
from gateway.policy.conditions import Conditions, Facts
from gateway.policy.decide import facts_of, object_of
from gateway.policy.draw import Draw
from gateway.policy.files import MODEL, PolicySource
from gateway.policy.rules import ANY, APPROVAL, BINDINGS_FILE, Link, Rule
from gateway.policy.snapshot import Snapshot

# Casbin goes through all rules for each answer. What one answer costs bounds how many are asked.
_ANSWER_US: Final = 150.0
_RULE_US: Final = 7.0
_SPENT_US: Final = 60_000.0
_ASKED: Final = 200  # requests of a self-test
_WHOLE: Final = 300  # up to so many rules and links, Casbin gets the files as they are
_CONDITION: Final = 4  # the place of the condition among the cells of a rule, after its `p`
_GROUPS: Final = 3  # else the rules on so many objects, one after the other

# Its loggers print requests and the whole policy; a request may hold what must not be logged.
for _name in ("casbin", "casbin.policy", "casbin.enforcer", "casbin.role"):
    logging.getLogger(_name).disabled = True


class Disagreement(Exception):
    """The snapshot and Casbin answer one request differently: neither may be trusted."""


class _Lines(Adapter):  # type: ignore[misc]  # casbin ships no types
    """Feeds Casbin's own reader, line by line, in the order of the files."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines

    def load_policy(self, model: Any) -> None:
        for line in self._lines:
            load_policy_line(line, model)


@dataclass(frozen=True, slots=True)
class Part:
    """The rules and role links that can concern some calls of one tenant on one object."""

    rules: tuple[Rule, ...]
    links: tuple[Link, ...]

    @classmethod
    def concerning(cls, snapshot: Snapshot, calls: Sequence[Call]) -> Part:
        """Chosen without the snapshot's own indexes, which are what is being tested."""
        tenant, name = calls[0].principal.tenant, object_of(calls[0])
        subjects = {call.principal.subject for call in calls}
        links = _upwards([link for link in snapshot.links if link.tenant == tenant], subjects)
        subjects |= {ANY, *(link.role for link in links)}
        rules = tuple(
            rule
            for rule in snapshot.rules
            if rule.tenant in (tenant, ANY) and rule.subject in subjects
            if _covers(rule.object, name)
        )
        return cls(rules, tuple(links))


class Oracle:
    """Casbin's `Enforcer` with the model file, some rule lines, and the conditions."""

    def __init__(
        self, model: bytes, lines: Iterable[str], indexes: Sequence[int], conditions: Conditions
    ) -> None:
        text = casbin.Enforcer.new_model(text=model.decode("utf-8"))
        self._enforcer = casbin.Enforcer(text, _Lines(lines), enable_log=False)
        self._approved: frozenset[str] = frozenset()
        self._enforcer.add_function("cond", self._condition_function(conditions))
        loaded = self._enforcer.get_model()["p"]["p"].policy
        self._indexes = {id(row): index for row, index in zip(loaded, indexes, strict=True)}
        self.roles = frozenset(role for row in loaded for role in _approvers(row[_CONDITION]))

    @classmethod
    def whole(cls, source: PolicySource, snapshot: Snapshot) -> Oracle:
        """Casbin over every line of the files, and the bindings after them."""
        lines = [line for f in source.rule_files() for _, line in rules.lines(source.files[f])]
        lines += [_line(link) for link in snapshot.links if link.file == BINDINGS_FILE]
        every = [rule.index for rule in snapshot.rules]
        return cls(source.files[MODEL], lines, every, snapshot.conditions)

    @classmethod
    def narrow(cls, source: PolicySource, snapshot: Snapshot, part: Part) -> Oracle:
        """Casbin over a part of the policy only, with the numbering of the whole."""
        lines = [rule.text for rule in part.rules] + [_line(link) for link in part.links]
        indexes = [rule.index for rule in part.rules]
        return cls(source.files[MODEL], lines, indexes, snapshot.conditions)

    def decide(self, call: Call, now_us: int) -> tuple[Verdict, int]:
        """Casbin's verdict and the index of the rule that it names, -1 for none.

        NEEDS is what it denies by default, and allows once every approval is taken for given.
        """
        verdict, rule = self.decide_with(call, now_us, frozenset())
        if verdict is Verdict.DENY and rule < 0 and self.roles:
            approved, by = self.decide_with(call, now_us, self.roles)
            if approved is Verdict.ALLOW:
                return Verdict.NEEDS, by
        return verdict, rule

    def decide_with(self, call: Call, now_us: int, approved: frozenset[str]) -> tuple[Verdict, int]:
        """The same once somebody with each of the roles in *approved* has approved."""
        self._approved = approved
        principal = call.principal
        allowed, row = self._enforcer.enforce_ex(
            principal.subject,
            principal.tenant,
            object_of(call),
            call.act.value,
            facts_of(call, now_us),
        )
        verdict = Verdict.ALLOW if allowed else Verdict.DENY
        return verdict, self._indexes[id(row)] if row else -1

    def _condition_function(self, conditions: Conditions) -> Callable[[str, str, Facts], bool]:
        """The matcher's `cond`: whether a rule of this effect counts, by its joined conditions."""

        def cond(names: str, effect: str, facts: Facts) -> bool:
            if not self._approved.issuperset(_approvers(names)):
                return False
            plain = [name for name in names.split("+") if not name.startswith(APPROVAL)]
            truths = [conditions[name].truth(facts) for name in plain]
            if False in truths:
                return False
            return effect == "deny" or None not in truths

        return cond


def self_test(snapshot: Snapshot, source: PolicySource, seed: int = 0) -> int:
    """Ask the snapshot and Casbin up to `_ASKED` of the same random requests; return how many.

    Bounded to well under 150 ms: fewer requests when there are many rules, and of a large policy
    only the rules on a few objects. Raises: Disagreement: on the first different answer.
    """
    if not snapshot.rules:
        return 0
    draw = Draw(snapshot, Random(seed))  # noqa: S311 - a sample to compare, nothing secret
    if len(snapshot.rules) + len(snapshot.links) <= _WHOLE:
        asked = min(_ASKED, max(1, _affordable(len(snapshot.rules), _SPENT_US)))
        calls = [draw.call() for _ in range(asked)]
        return _compare(snapshot, Oracle.whole(source, snapshot), calls, draw)
    return sum(_compare_group(snapshot, source, draw, _ASKED // _GROUPS) for _ in range(_GROUPS))


def _compare_group(snapshot: Snapshot, source: PolicySource, draw: Draw, n: int) -> int:
    """Requests of several subjects on one object; none when too many rules concern them."""
    calls = draw.group(max(1, n))
    part = Part.concerning(snapshot, calls)
    asked = _affordable(len(part.rules), _SPENT_US / _GROUPS)
    if asked == 0:
        return 0
    return _compare(snapshot, Oracle.narrow(source, snapshot, part), calls[:asked], draw)


def _affordable(rules: int, spent_us: float) -> int:
    return int(spent_us / (_ANSWER_US + _RULE_US * rules))


def _compare(snapshot: Snapshot, oracle: Oracle, calls: Sequence[Call], draw: Draw) -> int:
    for call in calls:
        now_us = draw.moment_us()
        decision = snapshot.judge(call, now_us)
        verdict, rule = oracle.decide(call, now_us)
        if (decision.verdict, decision.rule) != (verdict, rule):
            who = call.principal
            raise Disagreement(
                f"{who.subject} in {who.tenant}, {call.act} {object_of(call)}: compiled policy says"
                f" {decision.verdict} by rule {decision.rule}, Casbin {verdict} by rule {rule};"
                f" policy version {snapshot.version}"
            )
    return len(calls)


def _approvers(names: str) -> list[str]:
    """The roles that a condition column demands an approval of."""
    terms = names.split("+")
    return [term.removeprefix(APPROVAL) for term in terms if term.startswith(APPROVAL)]


def _line(link: Link) -> str:
    return f"g, {link.member}, {link.role}, {link.tenant}"


def _covers(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith(ANY) else name == pattern


def _upwards(links: Sequence[Link], subjects: set[str]) -> list[Link]:
    """The links on any chain that begins at one of *subjects*: Casbin is slow with many."""
    reached, found = set(subjects), dict[Link, None]()
    grown = True
    while grown:
        fresh = [k for k in links if k.member in reached and k not in found]
        found.update(dict.fromkeys(fresh))
        reached.update(link.role for link in fresh)
        grown = bool(fresh)
    return list(found)
