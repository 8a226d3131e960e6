"""Rules that allow what was done and no more, as lines that are read back as exactly that.

Names come from the log, and with them from callers: a name that a rule could take for anything but
itself (`*` at its end, a comma, a line break) gets no line. Nothing here widens a policy: a narrowed
rule allows a part of what its rule allowed, under the same conditions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final, NamedTuple

from gateway.domain.model import Call, Decision, Verdict
from gateway.domain.unseen import is_unseen
from gateway.policy import rules
from gateway.policy.decide import is_ambiguous, object_of
from gateway.policy.files import POLICY, PolicySource
from gateway.policy.rules import ANY, NO_CONDITION, Rule
from gateway.policy.snapshot import Snapshot

MAX_LINES: Final = 100  # instead of one rule: more names than people would read stay one rule
OFFERED_FROM: Final = 8  # names with a common beginning
_LIST: Final = "list"
_ADMIN: Final = "admin/"
_MODEL: Final = "model/"
# A star means more than itself, quotes are read differently by other readers of CSV, and
# spreadsheets compute what begins so.
_UNFIT: Final = frozenset('*"')
_FORMULA: Final = ("=", "+", "-", "@")

UNTOLD = "kept: the log does not tell which lists or figures of the gateway it opened"
UNFIT = "kept: a name that was used under it cannot stand in a rule"
TOO_MANY = f"kept: more than {MAX_LINES} names were used under it"


class Done(NamedTuple):
    """What somebody did, or would have done."""

    subject: str
    tenant: str
    object: str
    act: str

    def line(self, conditions: Iterable[str] = ()) -> str:
        """The rule that allows it; "" when no line would say exactly that."""
        joined = "+".join(conditions) or NO_CONDITION
        line = ", ".join(("p", *self, joined, "allow"))
        return line if _is_plain(self) and _reads_back(line, self) else ""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """One allow rule in force, and the lines that would do in its place; none: it was not used."""

    rule: Rule
    calls: int
    lines: tuple[str, ...]
    why: str = ""  # all or a part of it stays, although nobody is known to have done that
    wider: tuple[str, ...] = ()  # lines that allow more than was seen, for a person to choose


def narrowed(snapshot: Snapshot, used: Mapping[tuple[int, Done], int]) -> list[Narrowed]:
    """For each allow rule of *snapshot* what of it was *used*: (its index, what was done) -> calls."""
    by_rule: dict[int, dict[Done, int]] = defaultdict(dict)
    for (index, done), calls in used.items():
        by_rule[index][done] = calls
    allows = [rule for rule in snapshot.rules if rule.effect is Verdict.ALLOW]
    return [_narrow(rule, by_rule[rule.index]) for rule in allows]


def narrower(snapshot: Snapshot, call: Call, deciding: int) -> list[Rule]:
    """Allows with conditions that match *call* beside the one without that decided it.

    Those of the narrowest objects first. Whether their conditions held is for the caller to find out.
    """
    if deciding < 0 or snapshot.rules[deciding].terms:
        return []
    who, name = call.principal, object_of(call)
    subjects = {*snapshot.roles.closure(who.subject, who.tenant, who.roles), ANY}
    found = [
        rule
        for rule in snapshot.rules
        if rule.conditions
        and not rule.approvals  # nobody was asked, and nobody need have said yes
        and rule.effect is Verdict.ALLOW
        and rule.subject in subjects
        and rule.tenant in (who.tenant, ANY)
        and rule.act in (call.act, ANY)
        and (rule.object == name or (rule.object[-1:] == ANY and name.startswith(rule.object[:-1])))
    ]
    return sorted(found, key=lambda rule: (rule.object != name, -len(rule.object)))


def untold(rule: Rule) -> bool:
    """Whether it may count without any entry that says so: for what is listed, and for figures."""
    return rule.act == _LIST or _opens_figures(rule)


def no_line(snapshot: Snapshot, call: Call, decision: Decision) -> str:
    """Why a rule for *call*, which *decision* denied, would not help, or help too much; "" if it would.

    A deny above it stays above it; an allow with conditions was meant to have them.
    """
    if decision.rule >= 0:
        rule = snapshot.rules[decision.rule]
        return f"a deny stands above it: {rule.place} ({rule.text})"
    who = call.principal
    if who.actors:
        return "it was made for others, each of whom needs a right to it as well"
    ruling = snapshot.ruling(who, call.act, object_of(call))
    if ruling is None:
        return "its caller has the name of a role, and a role cannot call"
    if is_ambiguous(call):
        return "its URI may name another resource, and is denied whatever the rules say"
    if ruling.allows:
        places = ", ".join(f"{rule.place} ({rule.text})" for rule in ruling.allows)
        return f"it is allowed under conditions, which did not hold: {places}"
    return ""


def wider(lines: Mapping[Done, str], conditions: Iterable[str] = (), but: str = "") -> list[str]:
    """Lines with a prefix for many names that begin alike; *but* is the object of the rule in force."""
    groups: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for done in lines:
        groups[done.subject, done.tenant, done.act, _shelf(done.object)].append(done.object)
    joined = "+".join(conditions) or NO_CONDITION
    offers = []
    for (subject, tenant, act, shelf), names in groups.items():
        prefix = _common(names) + ANY
        if len(names) >= OFFERED_FROM and len(prefix) > len(shelf) and prefix != but:
            offers.append(", ".join(("p", subject, tenant, prefix, act, joined, "allow")))
    return offers


def _narrow(rule: Rule, used: Mapping[Done, int]) -> Narrowed:
    calls = sum(used.values())
    if rule.act == _LIST or rule.object.startswith(_ADMIN):
        return Narrowed(rule, calls, (rule.text,), UNTOLD)
    exact = dict.fromkeys(sorted(_within(rule, done) for done in used))
    if len(exact) > MAX_LINES:
        return Narrowed(rule, calls, (rule.text,), TOO_MANY)
    lines = {done: done.line(rule.terms) for done in exact}
    if not all(lines.values()):
        return Narrowed(rule, calls, (rule.text,), UNFIT)
    offers = tuple(wider(lines, rule.terms, rule.object))
    if _opens_figures(rule):
        figures = replace(rule, object=_ADMIN + ANY).text
        return Narrowed(rule, calls, (*lines.values(), figures), UNTOLD, offers)
    return Narrowed(rule, calls, tuple(lines.values()), wider=offers)


def _opens_figures(rule: Rule) -> bool:
    """Reading figures of the gateway is an entry that does not name them."""
    about = rule.object.startswith(_ADMIN) or (
        rule.object.endswith(ANY) and _ADMIN.startswith(rule.object[:-1])
    )
    return about and rule.act in (ANY, "read", "admin")


def _within(rule: Rule, done: Done) -> Done:
    """*done* as the columns of a rule that allows no more than *rule* does."""
    return Done(
        done.subject if rule.subject == ANY else rule.subject,
        done.tenant if rule.tenant == ANY else rule.tenant,
        done.object,
        done.act,
    )


def _common(names: list[str]) -> str:
    """What all begin with: the first and the last in order differ the earliest."""
    first, last = min(names), max(names)
    pairs = zip(first, last, strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _shelf(name: str) -> str:
    """kind/server/ of an object's name, model/ of a model's."""
    if name.startswith(_MODEL):
        return _MODEL
    return "".join(f"{part}/" for part in name.split("/", 2)[:2])


def _is_plain(done: Done) -> bool:
    return all(_plain_cells(done))


def _plain_cells(done: Done) -> Iterator[bool]:
    for cell in done:
        yield _UNFIT.isdisjoint(cell) and not cell.startswith(_FORMULA)
        yield not any(map(is_unseen, cell))


def _reads_back(line: str, done: Done) -> bool:
    """Whether the parser of rule files sees one rule in *line*, with these very names."""
    parsed = rules.parse(PolicySource({POLICY: line.encode("utf-8", "surrogateescape")}))
    found = [Done(r.subject, r.tenant, r.object, r.act) for r in parsed.rules]
    return found == [done] and not parsed.links and not parsed.findings
