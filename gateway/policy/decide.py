"""The decision itself: pure functions from what the rules say and the facts to a verdict.

A deny counts unless its conditions are FALSE, an allow only when they are TRUE. Among denies that
count the lowest index decides, among allows the highest: the rules that Casbin names, too. An
approval is needed where every allow that counts demands one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.domain.model import Act, Approval, Call, Kind, Verdict
from gateway.policy.conditions import Conditions, Facts
from gateway.policy.predicates import Truth, all_of
from gateway.policy.rules import Rule
from gateway.policy.view import NEVER, Ruling

DISCOVERER: Final = "system:discover"  # lists what upstreams have; may do nothing else

# What one does with an object of each kind. A deny of it hides the object from lists.
PRIMARY: Final[Mapping[str, str]] = {
    "tool": "call",
    "resource": "read",
    "template": "read",
    "prompt": "get",
    "server": "list",
    "admin": "read",
    "model": "call",
    "peer": "call",
}
_DEFINED: Final = frozenset(
    {Kind.TOOL, Kind.RESOURCE, Kind.TEMPLATE, Kind.PROMPT, Kind.MODEL, Kind.PEER}
)

# Reading a member off an Enum class costs as much as a look-up, several times per call.
_LIST: Final = Act.LIST
_SUBSCRIBE: Final = Act.SUBSCRIBE
_SERVER: Final = Kind.SERVER
_ADMIN: Final = Kind.ADMIN
_RESOURCE: Final = Kind.RESOURCE
_MODEL: Final = Kind.MODEL
_ALLOW: Final = Verdict.ALLOW
_DENY: Final = Verdict.DENY
# %25 is an escaped '%': servers that decode twice exist.
_SLASHES: Final = re.compile(r"\\|%(?:25)*(?:2f|5c)", re.IGNORECASE)
# Escapes of letters, digits and -._~, which mean the same without (RFC 3986 s6.2.2.2).
_NEEDLESS: Final = re.compile(
    "%(?:25)*(?:2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])", re.IGNORECASE
)
_ENDS: Final = re.compile("[/?#]")

Looked = dict[str, Truth]


# What the rules make of the facts: the verdict, the index of the deciding rule (-1: none matched),
# and of NEEDS the roles of each allow that would do. No class: made on the hot path.
Judgement = tuple[Verdict, int, tuple[tuple[str, ...], ...]]
_SILENCE: Final[Judgement] = (Verdict.DENY, -1, ())


def object_of(call: Call) -> str:
    """The name that rules use for what *call* acts on."""
    kind = call.kind
    if kind is _ADMIN or kind is _MODEL:
        return f"{kind._value_}/{call.name}"
    # As domain.model.object_name, which costs as much again to call.
    return "/".join((kind, call.server, call.name))


def facts_of(call: Call, now_us: int) -> Facts:
    """What conditions may look at. Tags of an object that should have a definition and has none
    are unknown, not empty: a guard rail on tags must hold for it as well."""
    if call.definition is not None:
        tags: frozenset[str] | None = call.definition.tags
    else:
        tags = None if call.kind in _DEFINED else frozenset()
    return Facts(call.principal, tags, call.arguments, now_us)


def is_filtered(call: Call) -> bool:
    """The answer holds only what the caller may see anyway, so that asking is always allowed."""
    if call.act is _LIST:
        return call.name == "*" or call.kind is _SERVER
    return call.act is _SUBSCRIBE and call.kind is _SERVER


def is_ambiguous(call: Call) -> bool:
    """Whether a resource's URI is written so that its server may read another one.

    Rules compare URIs as text. `file:///public/../secret` begins with `file:///public/`, and
    `file:///%73ecret` does not begin with `file:///secret`; no client needs to write either.
    """
    if call.kind is not _RESOURCE or ("." not in call.name and "%" not in call.name):
        return False
    if _NEEDLESS.search(call.name):
        return True
    return not {".", ".."}.isdisjoint(_ENDS.split(_SLASHES.sub("/", call.name)))


def judge(ruling: Ruling, facts: Facts, conditions: Conditions, looked: Looked) -> Judgement:
    """The verdict and the deciding rule.

    Each condition that had to be looked at is left in *looked*, once, in that order.
    """
    for rule in ruling.denies:
        if _holds(rule, facts, conditions, looked) is not False:
            return _DENY, rule.index, ()
    if ruling.deny != NEVER:
        return _DENY, ruling.deny, ()
    waiting: list[Rule] = []
    for rule in ruling.allows:
        if _holds(rule, facts, conditions, looked) is True:
            if not rule.approvals:
                return _ALLOW, rule.index, ()
            waiting.append(rule)
    return _needing(waiting) if waiting and ruling.allow < 0 else _plain(ruling)


def _plain(ruling: Ruling) -> Judgement:
    return (_ALLOW, ruling.allow, ()) if ruling.allow >= 0 else _SILENCE


def _needing(waiting: Sequence[Rule]) -> Judgement:
    """Of allows that all demand approvals, highest index first."""
    sets = dict.fromkeys(rule.approvals for rule in reversed(waiting))
    return Verdict.NEEDS, waiting[0].index, tuple(sets)


def recorded(looked: Looked) -> tuple[tuple[str, bool], ...]:
    """The truth values for the log; `name?` is a condition that could not be evaluated."""
    return tuple(
        (name, truth) if truth is not None else (f"{name}?", False)
        for name, truth in looked.items()
    )


def unmet(ruling: Ruling, denial: Rule | None, looked: Looked) -> tuple[str, ...]:
    """What a denied caller could change: the conditions in its way, not all that were looked at.

    *denial* is the deny that decided, if one did; for its conditions the opposite has to hold.
    """
    if denial is not None:
        return (f"not {'+'.join(denial.conditions)}",) if denial.conditions else ()
    names = (name for rule in ruling.allows for name in rule.conditions)
    return tuple(dict.fromkeys(n for n in names if n in looked and looked[n] is not True))


def sees(sight: Ruling, facts: Facts, conditions: Conditions) -> bool:
    """Whether an object is listed, given the ruling on what shows and hides it.

    A deny hides only when no argument or time could lift it; an allow shows it when some could
    satisfy it.
    """
    if sight.deny != NEVER:
        return False
    for rule in sight.denies:
        if _hides(rule, facts, conditions):
            return False
    if sight.allow >= 0:
        return True
    return any(_fixed_truth(rule, facts, conditions) is True for rule in sight.allows)


def listed(call: Call) -> bool:
    """What no list holds is not to be told apart from what does not exist."""
    if call.kind not in _DEFINED:
        return True
    return call.definition is not None and call.definition.approval is Approval.APPROVED


def _holds(rule: Rule, facts: Facts, conditions: Conditions, looked: Looked) -> Truth:
    answer: Truth = True
    for name in rule.conditions:
        if name in looked:
            truth = looked[name]
        else:
            truth = looked[name] = conditions[name].truth(facts)
        if truth is False:
            return False
        if truth is None:
            answer = None
    return answer


def _hides(rule: Rule, facts: Facts, conditions: Conditions) -> bool:
    for name in rule.conditions:
        if conditions[name].is_live:
            return False
    return _fixed_truth(rule, facts, conditions) is not False


def _fixed_truth(rule: Rule, facts: Facts, conditions: Conditions) -> Truth:
    if len(rule.conditions) == 1:
        return conditions[rule.conditions[0]].fixed_truth(facts)
    return all_of(conditions[name].fixed_truth(facts) for name in rule.conditions)
