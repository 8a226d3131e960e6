"""What several may do together: whoever acts for others, with tokens that say how far.

The right in force is what the subject and each actor may by themselves, and what each grant of the
token covers. One no is a no; whoever is missing an approval has to be given it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gateway.domain.model import Call, Decision, Grant, Principal, Verdict
from gateway.policy.rules import ANY


def principals(who: Principal) -> Iterator[Principal]:
    """The subject with all that its credential proves; each actor by its name alone.

    Roles and scopes of a token are its bearer's: nothing proves that the actors have them, too.
    """
    yield replace(who, grants=())
    for actor in who.actors:
        yield Principal(who.tenant, actor)


def parties(call: Call) -> Iterator[Call]:
    """*call* as the subject makes it, then as each actor would."""
    yield call
    for actor in call.principal.actors:
        yield replace(call, principal=Principal(call.principal.tenant, actor))


def covers(grants: Iterable[Grant], name: str) -> bool:
    """Whether each of *grants* that names objects names this one."""
    return all(_covers_one(grant.objects, name) for grant in grants)


def _covers_one(objects: tuple[str, ...], name: str) -> bool:
    if not objects:
        return True
    return any(
        name.startswith(each[:-1]) if each.endswith(ANY) else name == each for each in objects
    )


def joined(decisions: Sequence[Decision], covered: bool) -> Decision:
    """One decision of those of all parties, the subject's first.

    The rule is that of the first party that does not allow it, else the subject's. Conditions are
    those of the parties up to the first that denies: replaying looks at no more either. Where
    several need an approval, each has its first alternative demanded.
    """
    first = next((at for at, d in enumerate(decisions) if d.verdict is Verdict.DENY), None)
    asked = decisions if first is None else decisions[: first + 1]
    conditions = _together(asked)
    visible = covered and all(decision.visible for decision in decisions)
    if first is not None:
        denied = decisions[first]
        told = denied.unmet if visible else ()
        return replace(denied, conditions=conditions, visible=visible, unmet=told)
    if not covered:
        return Decision(Verdict.DENY, decisions[0].policy_version, conditions=conditions)
    waiting = [decision for decision in decisions if decision.verdict is Verdict.NEEDS]
    if not waiting:
        return replace(decisions[0], conditions=conditions, visible=visible)
    sets = waiting[0].approvals
    if len(waiting) > 1:
        sets = (tuple(dict.fromkeys(role for d in waiting for role in d.approvals[0])),)
    return replace(waiting[0], conditions=conditions, visible=visible, approvals=sets)


def _together(decisions: Iterable[Decision]) -> tuple[tuple[str, bool], ...]:
    """Each condition once, as the last of them had it: that is the one that decided."""
    return tuple({name: held for each in decisions for name, held in each.conditions}.items())
