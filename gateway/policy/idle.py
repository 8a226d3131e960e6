"""Rules that change no answer: overridden by a deny, covered by a wider rule, or never true.

Looked for when somebody checks a policy, not when one is loaded: it reads the rules as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.domain.model import Verdict
from gateway.policy.conditions import Condition
from gateway.policy.contradiction import contradiction
from gateway.policy.finding import Finding, warning
from gateway.policy.roles import Roles
from gateway.policy.rules import ANY, Parsed, Rule

_Key = tuple[str, str, str, str]  # subject, tenant, act, object


class Cover:
    """Finds the rules that match whatever another one matches."""

    def __init__(self, parsed: Parsed) -> None:
        self._roles = Roles(parsed.links)
        self._rules: dict[_Key, list[Rule]] = {}
        self._prefixes: set[int] = set()
        for rule in parsed.rules:
            key = (rule.subject, rule.tenant, rule.act, rule.object)
            self._rules.setdefault(key, []).append(rule)
            if rule.object.endswith(ANY):
                self._prefixes.add(len(rule.object) - 1)

    def over(self, rule: Rule) -> Iterator[Rule]:
        """Every other rule that matches all calls which *rule* matches, and under no more conditions."""
        needed = set(rule.terms)
        for subject in self._subjects(rule):
            for tenant in dict.fromkeys((rule.tenant, ANY)):
                for act in dict.fromkeys((rule.act, ANY)):
                    for name in self._objects(rule.object):
                        for other in self._rules.get((subject, tenant, act, name), ()):
                            if other is not rule and needed.issuperset(other.terms):
                                yield other

    def _subjects(self, rule: Rule) -> Sequence[str]:
        """Whoever has the subject of *rule* has these names, too."""
        held = () if rule.tenant == ANY else self._roles.closure(rule.subject, rule.tenant)
        return list(dict.fromkeys((rule.subject, *held, ANY)))

    def _objects(self, name: str) -> Iterator[str]:
        yield name
        stem = name.removesuffix(ANY)
        for length in sorted(self._prefixes, reverse=True):
            wider = stem[:length] + ANY
            if length <= len(stem) and wider != name:
                yield wider


def idle(parsed: Parsed, named: Mapping[str, Condition]) -> Iterator[Finding]:
    """A warning for each rule that could be removed, or mended, without any call noticing."""
    cover = Cover(parsed)
    for rule in parsed.rules:
        known = [named[name] for name in rule.conditions if name in named]
        if why := contradiction(known, rule.tenant):
            yield _never(rule, why)
            continue
        found = _foremost(rule, cover)
        if found is not None:
            yield (
                _overridden(rule, found) if found.effect is Verdict.DENY else _covered(rule, found)
            )


def _foremost(rule: Rule, cover: Cover) -> Rule | None:
    """The deny that overrides *rule*, else the rule of its own effect that makes it superfluous."""
    superfluous: Rule | None = None
    for other in cover.over(rule):
        if _is_same(rule, other):
            continue  # repeated and contradicting lines are told elsewhere
        if other.effect is not rule.effect:
            if other.effect is Verdict.DENY:
                return other
        elif superfluous is None:
            superfluous = other
    return superfluous


def _is_same(rule: Rule, other: Rule) -> bool:
    return (rule.subject, rule.tenant, rule.object, rule.act, rule.terms) == (
        other.subject,
        other.tenant,
        other.object,
        other.act,
        other.terms,
    )


def _never(rule: Rule, why: str) -> Finding:
    return warning(
        rule.file,
        rule.line,
        f"its conditions can never hold together: {why}",
        "the rule never counts"
        if rule.effect is Verdict.ALLOW
        else "the deny bites only where they cannot be evaluated, which is hardly what was meant",
        "correct the conditions, or remove the rule",
    )


def _overridden(rule: Rule, deny: Rule) -> Finding:
    if rule.effect is Verdict.DENY:
        return _covered(rule, deny)
    return warning(
        rule.file,
        rule.line,
        f"never counts: the deny of {deny.place} matches whatever it matches",
        "a deny overrides every allow",
        f"narrow the deny ({deny.text}), or remove this rule",
    )


def _covered(rule: Rule, wider: Rule) -> Finding:
    return warning(
        rule.file,
        rule.line,
        f"changes nothing: {wider.place} says the same of more ({wider.text})",
        "whoever removes the wider rule will not expect that this one remains",
        "remove it, or narrow the wider rule, if that was meant",
    )
