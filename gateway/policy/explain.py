"""Why a call is decided as it is: every rule that matches, and for a 'no' the rules that nearly do.

For people who may read the policy. A caller never sees this: it names rules, roles and objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.domain.model import Call, Decision, Kind, Verdict
from gateway.policy import joint
from gateway.policy.conditions import Facts
from gateway.policy.decide import facts_of, is_ambiguous, is_filtered, object_of
from gateway.policy.predicates import Truth
from gateway.policy.rules import ANY, Rule

if TYPE_CHECKING:  # the snapshot offers this as a method
    from gateway.policy.snapshot import Snapshot

NEAREST_SHOWN = 3
# What is easiest to mend comes first.
_PARTS = ("condition", "subject", "act", "object", "tenant")


@dataclass(frozen=True, slots=True)
class Match:
    """A rule whose subject, tenant, object and act match the call."""

    rule: Rule
    path: tuple[str, ...]  # from the caller to the rule's subject, through roles
    conditions: tuple[tuple[str, Truth], ...]
    counts: bool  # its conditions make it count


@dataclass(frozen=True, slots=True)
class Near:
    """An allow that fails in one part only."""

    rule: Rule
    part: str  # one of _PARTS
    sentence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision with its reasons. `sentence` is the short answer, `fix` what could be done."""

    decision: Decision
    subject: str
    tenant: str
    object: str
    act: str
    sentence: str
    fix: str
    matches: tuple[Match, ...] = ()
    nearest: tuple[Near, ...] = ()

    def say(self) -> str:
        """A few lines for a terminal."""
        who = f"{self.subject} -> {self.act} {self.object} in tenant {self.tenant}"
        told = [f"{self.decision.verdict}  {who}", f"  by: {self.sentence}"]
        told += [f"  rule: {_said(match)}" for match in self.matches]
        told += [f"  near: {near.sentence}" for near in self.nearest]
        return "\n".join([*told, f"  fix: {self.fix}"] if self.fix else told)


def explain(snapshot: Snapshot, call: Call, now_us: int) -> Explanation:
    """Decide *call* and say why; goes through every rule, so it is not for the hot path."""
    decision = snapshot.decide(call, now_us)
    principal = call.principal
    decided = snapshot.by_party(call, now_us)
    alike = (party for party, said in decided if said.verdict is decision.verdict)
    party = next(alike, None)  # None: each of them may, and the token's scope does not cover it
    matches, nearest = _rules_on(snapshot, party or call, decision, now_us)
    if party is None:
        sentence, fix = _beyond(call)
    else:
        sentence, fix = _reason(snapshot, party, decision, matches, nearest)
        if party is not call:
            sentence = f"it acts for '{party.principal.subject}', of whom this is said: {sentence}"
    return Explanation(
        decision,
        principal.subject,
        principal.tenant,
        object_of(call),
        call.act.value,
        sentence,
        fix,
        matches,
        nearest if party else (),
    )


def _rules_on(
    snapshot: Snapshot, call: Call, decision: Decision, now_us: int
) -> tuple[tuple[Match, ...], tuple[Near, ...]]:
    """The rules that match, and for a 'no' those that nearly do."""
    facts, names = facts_of(call, now_us), _names(snapshot, call)
    matches = tuple(_matches(snapshot, call, facts, names))
    if decision.verdict is not Verdict.DENY:
        return matches, ()
    return matches, tuple(_nearest(snapshot, call, facts, names))


def _beyond(call: Call) -> tuple[str, str]:
    """Policy lets everybody concerned, and a token does not."""
    name = object_of(call)
    short = (g.objects for g in call.principal.grants if not joint.covers((g,), name))
    scope = " ".join(next(short, ()))
    return (
        f"the scope of its token, or of one that this came from, does not cover it: {scope}",
        f"have a token made whose scope has {name}",
    )


def _names(snapshot: Snapshot, call: Call) -> frozenset[str]:
    principal = call.principal
    held = snapshot.roles.closure(principal.subject, principal.tenant, principal.roles)
    return frozenset((*held, ANY))


def _matches(
    snapshot: Snapshot, call: Call, facts: Facts, names: frozenset[str]
) -> Iterator[Match]:
    for rule in snapshot.rules:
        if not any(_missed(rule, call, names)):
            truths = tuple(
                (name, snapshot.conditions[name].truth(facts)) for name in rule.conditions
            )
            values = {truth for _, truth in truths}
            is_deny = rule.effect is Verdict.DENY
            counts = False not in values if is_deny else values <= {True}
            yield Match(rule, _path(snapshot, call, rule), truths, counts)


def _nearest(snapshot: Snapshot, call: Call, facts: Facts, names: frozenset[str]) -> list[Near]:
    """The allows that fail in exactly one part, easiest to mend first, most alike first."""
    found: list[tuple[int, int, int, Near]] = []
    wanted = object_of(call)
    for rule in snapshot.rules:
        if rule.effect is Verdict.DENY:
            continue
        missed = [part for part in _missed(rule, call, names) if part]
        if not missed:
            if not any(snapshot.conditions[name].unmet(facts) for name in rule.conditions):
                continue  # it matches whole; a deny stands above it
            missed = ["condition"]
        if len(missed) == 1 and (missed != ["object"] or _same_server(wanted, rule.object)):
            near = Near(rule, missed[0], _near_sentence(snapshot, call, facts, rule, missed[0]))
            alike = _alike(wanted, rule.object)
            found.append((_PARTS.index(missed[0]), -alike, rule.index, near))
    return [near for _, _, _, near in sorted(found, key=lambda row: row[:3])[:NEAREST_SHOWN]]


def _same_server(one: str, other: str) -> bool:
    """Whether two objects have kind and server in common (models: the kind): others are not near."""
    return one.split("/", 2)[:-1] == other.split("/", 2)[:-1]


def _alike(one: str, other: str) -> int:
    """How many characters two names have in common from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _missed(rule: Rule, call: Call, names: frozenset[str]) -> Iterator[str]:
    """For each part of the rule its name when it does not match, "" when it does."""
    wanted = object_of(call)
    yield "" if rule.subject in names else "subject"
    yield "" if rule.tenant in (ANY, call.principal.tenant) else "tenant"
    yield "" if rule.act in (ANY, call.act.value) else "act"
    if rule.object.endswith(ANY):
        yield "" if wanted.startswith(rule.object[:-1]) else "object"
    else:
        yield "" if wanted == rule.object else "object"


def _near_sentence(snapshot: Snapshot, call: Call, facts: Facts, rule: Rule, part: str) -> str:
    where = f"{rule.place} ({rule.text})"
    if part == "subject":
        return f"would be allowed with role '{rule.subject}': {where}"
    if part == "condition":
        unmet = [
            f"{name} ({'; '.join(reasons)})"
            for name in rule.conditions
            if (reasons := snapshot.conditions[name].unmet(facts))
        ]
        return f"would be allowed if {', '.join(unmet)} held: {where}"
    actual = {
        "act": call.act.value,
        "object": object_of(call),
        "tenant": call.principal.tenant,
    }[part]
    return f"all but the {part} matches, which is not '{actual}': {where}"


def _reason(
    snapshot: Snapshot,
    call: Call,
    decision: Decision,
    matches: tuple[Match, ...],
    nearest: tuple[Near, ...],
) -> tuple[str, str]:
    """The short answer and what could be done about it."""
    if decision.rule >= 0:
        rule = snapshot.rules[decision.rule]
        sentence = f"{rule.place} ({rule.text}){_through(_path(snapshot, call, rule))}"
        if decision.verdict is Verdict.NEEDS:
            return (
                f"{sentence}; {_who_approves(decision)}",
                "have it approved, then repeat the call",
            )
        denied = decision.verdict is Verdict.DENY
        fix = "a deny overrides every allow; change that rule, if it should not hold here"
        return sentence, fix if denied else ""
    if decision.verdict is Verdict.ALLOW:
        if is_filtered(call):
            return "asking is open to all; the answer holds only what the caller may see", ""
        return "the gateway's own right to list what upstreams have", ""
    if not snapshot.rules:
        return "the built-in policy, which denies everything", "configure a policy folder"
    return _denied(snapshot, call, matches) or ("default deny: no rule allows it", _mend(nearest))


def _denied(snapshot: Snapshot, call: Call, matches: tuple[Match, ...]) -> tuple[str, str] | None:
    """Why it is denied although rules may allow it."""
    principal = call.principal
    if snapshot.roles.is_role(principal.subject, principal.tenant):
        return (
            f"'{principal.subject}' is the name of a role, and a role cannot call",
            "give the agent a name of its own and grant it the role",
        )
    if is_ambiguous(call):
        return (
            "the URI has dot segments or needless escapes, so it may name another",
            "write the plain URI",
        )
    if call.kind is Kind.PEER and call.name == ANY and any(m.counts for m in matches):
        return (
            "the message names no skill, and may be about one that is denied",
            "name the skill that it is about",
        )
    return None


def _who_approves(decision: Decision) -> str:
    """Which roles have to approve: 'a' and 'b', or 'c'."""
    sets = (" and ".join(f"'{role}'" for role in roles) for roles in decision.approvals)
    return f"somebody with the role {', or '.join(sets)} has to approve it"


def _mend(nearest: tuple[Near, ...]) -> str:
    first = nearest[0] if nearest else None
    if first is not None and first.part == "subject":
        return f"grant the role '{first.rule.subject}', if it should be allowed"
    if first is not None and first.part == "condition":
        return f"call it so that {' and '.join(first.rule.conditions)} holds"
    return "add a rule, if it should be allowed"


def _path(snapshot: Snapshot, call: Call, rule: Rule) -> tuple[str, ...]:
    if rule.subject == ANY:
        return (call.principal.subject, ANY)
    who = call.principal
    return snapshot.roles.path(who.subject, rule.subject, who.tenant, who.roles)


def _through(path: tuple[str, ...]) -> str:
    return f" through {' -> '.join(path)}" if len(path) > 1 else ""


def _said(match: Match) -> str:
    words = {True: "is true", False: "is false", None: "cannot be evaluated"}
    told = [f"{name} {words[truth]}" for name, truth in match.conditions]
    conditions = ", ".join([*told, *(f"'{role}' approves" for role in match.rule.approvals)])
    state = "" if match.counts else " [does not count]"
    noted = f"; {conditions}" if conditions else ""
    return f"{match.rule.place} ({match.rule.text}){_through(match.path)}{noted}{state}"
