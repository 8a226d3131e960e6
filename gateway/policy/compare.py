"""What a policy says of somebody and something without a call: yes, no, or under which conditions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.domain.model import Act, Definition, Principal
from gateway.policy.conditions import Facts
from gateway.policy.rules import APPROVAL, Rule
from gateway.policy.snapshot import Snapshot
from gateway.policy.view import NEVER

YES, NO = "yes", "no"


class Standing(NamedTuple):
    """`answer` is "yes", "no", or "if small_refund, unless destructive"; `rule` decides, -1: none."""

    answer: str
    rule: int = -1


class Change(NamedTuple):
    """One thing that one principal may do under one policy otherwise than under another."""

    principal: Principal
    object: str
    act: Act
    before: str
    after: str

    @property
    def gains(self) -> bool:
        return self.before == NO or (self.before != YES and self.after == YES)


def standing(
    snapshot: Snapshot, principal: Principal, act: Act, definition: Definition
) -> Standing:
    """What *snapshot* says, whatever the arguments and the time; tags and who asks are known."""
    found = snapshot.ruling(principal, act, definition.object)
    if found is None:
        return Standing(NO)
    facts = Facts(principal, definition.tags, {}, 0)
    denies = [
        (rule, left) for rule in found.denies if (left := _left(snapshot, rule, facts)) is not None
    ]
    allows = [
        (rule, left) for rule in found.allows if (left := _left(snapshot, rule, facts)) is not None
    ]
    certain = next((rule.index for rule, left in denies if not left), found.deny)
    if certain != NEVER:
        return Standing(NO, certain)
    unless = ["+".join(left) for _, left in denies]
    certain = next((rule.index for rule, left in allows if not left), found.allow)
    if certain >= 0:
        return _worded([], unless, certain)
    if not allows:
        return Standing(NO)
    return _worded(["+".join(left) for _, left in allows], unless, allows[0][0].index)


def changes(
    before: Snapshot,
    after: Snapshot,
    principals: Iterable[Principal],
    things: Iterable[tuple[Act, Definition]],
) -> Iterator[Change]:
    """Everything among *things* on which the two policies differ, for each principal in order."""
    asked = list(things)
    for principal in principals:
        for act, definition in asked:
            old = standing(before, principal, act, definition).answer
            new = standing(after, principal, act, definition).answer
            if old != new:
                yield Change(principal, definition.object, act, old, new)


def _left(snapshot: Snapshot, rule: Rule, facts: Facts) -> list[str] | None:
    """The conditions that arguments, time or people decide; None when another fails for good."""
    left: list[str] = []
    for name in rule.conditions:
        condition = snapshot.conditions[name]
        fixed = condition.fixed_truth(facts)
        if fixed is False:
            return None
        if condition.is_live or fixed is None:
            left.append(name)
    return [*left, *(f"{APPROVAL}{role}" for role in rule.approvals)]


def _worded(able: list[str], unless: list[str], rule: int) -> Standing:
    words = [f"if {' or '.join(sorted(able))}"] if able else []
    words += [f"unless {' or '.join(sorted(unless))}"] if unless else []
    return Standing(", ".join(words) or YES, rule)


def changed_lines(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    """("-" or "+", line) of rules, roles and conditions, in the order of their files."""
    old, new = dict.fromkeys(_lines(before)), dict.fromkeys(_lines(after))
    removed = [("-", text) for text in old if text not in new]
    return removed + [("+", text) for text in new if text not in old]


def _lines(policy: Snapshot) -> list[str]:
    conditions = (
        f"[{name}] {json.dumps(condition.table, sort_keys=True, default=str)}"
        for name, condition in sorted(policy.conditions.items())
    )
    return [*(r.text for r in policy.rules), *(k.text for k in policy.links), *conditions]
