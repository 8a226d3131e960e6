"""Recorded calls as they were when policy was asked, as far as the log still holds them.

What it does not hold is never guessed: arguments that were too large or are erased, names that are,
how far the token of a refused call went. `Missing` says which, and callers count it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.app.operations.opening import Opened
from gateway.app.operations.reading import Reading
from gateway.audit import entry as entries
from gateway.domain.asking import ASKS
from gateway.domain.model import (
    Act,
    Call,
    CallClass,
    Decision,
    Definition,
    Kind,
    Principal,
    Verdict,
)
from gateway.domain.refusal import (
    APPROVAL_DENIED,
    APPROVAL_NEEDED,
    DENIED,
    FORBIDDEN,
    INSUFFICIENT_SCOPE,
    UNKNOWN_OBJECT,
)
from gateway.edge.api.routes import ROUTES
from gateway.policy.decide import facts_of, judge
from gateway.policy.rules import Rule
from gateway.policy.snapshot import Snapshot
from gateway.policy.view import ruling
from gateway.store.trail import Trail

Decided = entries.Intent | entries.Refused
Open = Callable[[Decided], Opened | None]
"""What an entry commits to; None when it commits to nothing."""

DENIALS = (DENIED.id, FORBIDDEN.id, INSUFFICIENT_SCOPE.id)
_WAITED = (APPROVAL_NEEDED.id, APPROVAL_DENIED.id)
# What conditions look at: keys of their tables.
TAGGED = frozenset({"tags"})
TIMED = frozenset({"weekdays", "hours_utc", "from", "until"})
_ARGUED, _DELEGATED = frozenset({"arguments"}), frozenset({"actors"})
_SCOPED = frozenset({"scopes"})
ARGUED, LEFT_SEALED = "it depended on arguments", "left sealed"
_NOT_PROVED = "what its token proved is not in the log"
_FOR_WHOM = "on whose behalf it was made is not in the log"
_HOW_FAR = "how far its token went is not in the log"
_NOUNS = {f"api/{route.operation}": route.noun for route in ROUTES} | {"metrics": "metrics"}
_TOKEN = b"token "
_ARGUMENTS = b"\narguments "  # no JSON before it has a line that begins so


class Missing(Exception):
    """Something that the decision depended on is not there; the sentence is the reason."""


@dataclass(slots=True)
class Recalled:
    """One recorded call. Its arguments are opened when a decision first looks at them."""

    entry: Decided
    call: Call
    opened: bool = False


class Recall:
    """Makes calls of entries. *open_payload* is asked only where it matters."""

    def __init__(self, trail: Trail, reading: Reading, open_payload: Open) -> None:
        self._trail = trail
        self._reading = reading
        self._open = open_payload

    def recalled(self, entry: Decided) -> Recalled:
        """Raises: Missing."""
        if entry.kind is None or entry.act is None:
            raise Missing("it was refused before it was known what it was about")
        principal = self.principal(entry)
        kind, server, name = self._object(entry, entry.kind)
        call = Call(
            id=entry.call,
            principal=principal,
            method=entry.method,
            kind=kind,
            server=server,
            name=name,
            act=Act(entry.act),
            weight=CallClass.FULL,
            definition=self._definition(entry, kind, server, name),
        )
        return Recalled(entry, call)

    def decide(self, snapshot: Snapshot, recalled: Recalled) -> Decision:
        """What *snapshot* says of the call, at the time of its entry. Raises: Missing."""
        entry = recalled.entry
        decision = snapshot.decide(recalled.call, entry.t)
        if not recalled.opened and looks_at(snapshot, decision, _ARGUED):
            recalled.call = replace(recalled.call, arguments=self._arguments(entry))
            recalled.opened = True
            decision = snapshot.decide(recalled.call, entry.t)
        if entry.chain and looks_at(snapshot, decision, _SCOPED):
            raise Missing(_NOT_PROVED)
        if isinstance(entry, entries.Refused):
            _demand_known(snapshot, recalled, decision, entry)
        return decision

    def principal(self, entry: Decided | entries.Single) -> Principal:
        """Who made it. Raises: Missing."""
        name, actors = self._trail.name, getattr(entry, "actors", ())
        named = {one: name(one) for one in (entry.who, entry.tenant, entry.team, *actors) if one}
        if any(one == known for one, known in named.items()):
            raise Missing("a name in it was erased")
        principal = Principal(
            tenant=named.get(entry.tenant, ""),
            subject=named.get(entry.who, ""),
            team=named.get(entry.team, "").partition("/")[2],
            actors=tuple(named[actor] for actor in actors),
        )
        if "/" not in principal.subject:
            return principal
        if isinstance(entry, entries.Single):
            raise Missing(_NOT_PROVED)
        return self._proved(entry, principal)

    def administered(self, entry: entries.Single) -> Call:
        """What was asked over the API, or of /metrics. Raises: Missing."""
        noun = _NOUNS.get(entry.method)
        if noun is None:
            raise Missing(f"{entry.method!a:.40} is nothing that this program knows")
        return Call(
            id=entry.call,
            principal=self.principal(entry),
            method=entry.method,
            kind=Kind.ADMIN,
            server="",
            name=noun,
            act=entry.act,
            weight=CallClass.SINGLE,
        )

    def holds(self, snapshot: Snapshot, recalled: Recalled, rule: Rule) -> bool:
        """Whether the conditions of *rule* held. Raises: Missing."""
        named = [snapshot.conditions.get(name) for name in rule.conditions]
        if not recalled.opened and any(c and "arguments" in c.table for c in named):
            recalled.call = replace(recalled.call, arguments=self._arguments(recalled.entry))
            recalled.opened = True
        facts = facts_of(recalled.call, recalled.entry.t)
        verdict, *_ = judge(ruling([rule]), facts, snapshot.conditions, {})
        return verdict is Verdict.ALLOW

    def _proved(self, entry: Decided, who: Principal) -> Principal:
        """With the roles and scopes of its token: no version of the policy holds them."""
        line = self._sealed(entry).split(b"\n", 2)[1]
        if not line.startswith(_TOKEN):
            raise Missing(_NOT_PROVED)
        said = json.loads(line.removeprefix(_TOKEN))
        return replace(who, roles=frozenset(said["roles"]), scopes=frozenset(said["scopes"]))

    def _object(self, entry: Decided, kind: Kind) -> tuple[Kind, str, str]:
        """From the account of the tool, whose name is in the table of names; else from what is
        sealed: of a resource behind a template only that knows the URI."""
        account = self._trail.name(entry.acc[3]) if len(entry.acc) >= 4 else ""
        said = account.partition(" ")[2]
        if not said.startswith(f"{kind}/") or said == f"{kind}/-":
            said = self._sealed(entry).partition(b"\n")[0].decode("utf-8", "surrogateescape")
        _, _, rest = said.partition("/")
        if kind is Kind.MODEL:
            return kind, rest, rest
        server, _, name = rest.partition("/")
        return kind, server, name

    def _definition(self, entry: Decided, kind: Kind, server: str, name: str) -> Definition | None:
        """The definition of today stands in for the one of then: policy looks at its tags only."""
        if isinstance(entry, entries.Intent) and not entry.definition:
            return None
        catalogue = self._reading.registry.catalogue
        if kind is Kind.RESOURCE:
            return catalogue.resource(server, name)
        return catalogue.find(server, kind, name)

    def _arguments(self, entry: Decided) -> Mapping[str, Any]:
        content = self._sealed(self._asked_by(entry))
        _, found, raw = content.partition(_ARGUMENTS)
        if not found:
            return {}
        arguments, _ = json.JSONDecoder().raw_decode(raw.decode())
        return arguments if isinstance(arguments, dict) else {}

    def _asked_by(self, entry: Decided) -> Decided:
        """The call itself; for a question of a server the call that it was part of."""
        if entry.method not in ASKS:
            return entry
        parent = getattr(entry, "parent", "")
        for first in self._trail.of_call(parent):
            if isinstance(first, entries.Intent):
                return first
        raise Missing("it is a question of a server, and the call that it was part of is not known")

    def _sealed(self, entry: Decided) -> bytes:
        opened = self._open(entry)
        if opened is None or opened.problem:
            why = opened.problem if opened is not None else "there are none"
            raise Missing(f"{ARGUED}: {why}")
        return opened.content


def looks_at(snapshot: Snapshot, decision: Decision, facts: frozenset[str]) -> bool:
    """Whether a condition that *decision* looked at depends on one of *facts*."""
    looked = (snapshot.conditions.get(name.removesuffix("?")) for name, _ in decision.conditions)
    return any(not facts.isdisjoint(condition.table) for condition in looked if condition)


def _demand_known(
    snapshot: Snapshot, recalled: Recalled, decision: Decision, entry: entries.Refused
) -> None:
    """Entries of refusals do not repeat how far a token went, and older ones not who acted with it.

    Both only take away: a denial stands whatever they were. So does a yes of the very policy that
    let the call pass before it was refused for something else. Raises: Missing.
    """
    by_token = "/" in recalled.call.principal.subject and not entry.actors
    if not by_token and not entry.chain:
        return
    if not entry.actors and looks_at(snapshot, decision, _DELEGATED):
        raise Missing(_FOR_WHOM)
    passed = entry.policy == snapshot.version and verdict_of(entry) is not Verdict.DENY
    if decision.verdict is not Verdict.DENY and not passed:
        raise Missing(_HOW_FAR if entry.chain else _FOR_WHOM)


def verdict_of(entry: Decided) -> Verdict | None:
    """What policy must have said; None where the refusal does not tell.

    ALLOW of a refusal: that, or NEEDS, where something else stopped it before anybody was asked.
    """
    if isinstance(entry, entries.Intent):
        return Verdict.NEEDS if entry.approval else Verdict.ALLOW
    if entry.code == UNKNOWN_OBJECT.id:
        return None
    if entry.code in _WAITED:
        return Verdict.NEEDS
    return Verdict.DENY if entry.code in DENIALS else Verdict.ALLOW


def agrees(entry: Decided, verdict: Verdict) -> bool:
    """Whether *verdict* is what policy must have said of *entry*, as far as that tells."""
    said = verdict_of(entry)
    if isinstance(entry, entries.Refused) and said is Verdict.ALLOW:
        return verdict is not Verdict.DENY
    return said is None or said is verdict
