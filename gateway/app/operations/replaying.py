"""Deciding recorded calls once more, each under the policy version that it was decided under.

What the log does not hold cannot be replayed, and is counted by its reason instead of being guessed:
arguments that were too large or are erased, tags that have changed since.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from gateway.app.operations.opening import Opened
from gateway.app.operations.query import Query
from gateway.app.operations.reading import Reading
from gateway.app.operations.search import matching
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
from gateway.domain.refusal import DENIED, FORBIDDEN, INSUFFICIENT_SCOPE, UNKNOWN_OBJECT
from gateway.policy.files import unbundle
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import compile as compile_policy
from gateway.policy.snapshot import Snapshot, builtin_deny_all
from gateway.store.log import CLOCK_TOLERANCE_US
from gateway.store.trail import Trail

Decided = entries.Intent | entries.Refused
Open = Callable[[Decided], Opened | None]
"""What an entry commits to; None when it commits to nothing."""

MAX_SHOWN = 100
_SHOWN = ("leaf", "at", "call", "agent", "object")
_DENIALS = (DENIED.id, FORBIDDEN.id, INSUFFICIENT_SCOPE.id)
_VERSIONS = 16  # kept compiled: calls come in the order of time
_ARGUED, _TAGGED = frozenset({"arguments"}), frozenset({"tags"})
_TIMED = frozenset({"weekdays", "hours_utc", "from", "until"})
_TOKEN = b"token "
_ARGUMENTS = b"\narguments "  # no JSON before it has a line that begins so


@dataclass(slots=True)
class Replay:
    """What came of it."""

    agree: int = 0
    differ: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)  # at most MAX_SHOWN
    not_replayed: Counter[str] = field(default_factory=Counter)  # why -> how many

    def as_json(self) -> dict[str, Any]:
        return {
            "agree": self.agree,
            "differ": self.differ,
            "not_replayed": dict(sorted(self.not_replayed.items())),
            "differences": self.differences,
        }


class _Missing(Exception):
    """Something that the decision depended on is not there; the sentence is the reason."""


def replay(trail: Trail, reading: Reading, query: Query, open_payload: Open) -> Replay:
    """Decide every call that fits *query* again. *open_payload* is asked only where it matters."""
    replayed = Replay()
    judge = _Judge(trail, reading, open_payload)
    for entry, row in matching(trail, query, trail.oldest_first):
        if not isinstance(entry, entries.Intent | entries.Refused) or not entry.policy:
            continue  # refused before policy was asked, or no call
        try:
            difference = judge.difference(entry)
        except _Missing as missing:
            replayed.not_replayed[str(missing)] += 1
            continue
        if not difference:
            replayed.agree += 1
            continue
        replayed.differ += 1
        if len(replayed.differences) < MAX_SHOWN:
            known: dict[str, Any] = {key: row[key] for key in _SHOWN if key in row}
            replayed.differences.append({**known, "policy": entry.policy, **difference})
    return replayed


class _Judge:
    def __init__(self, trail: Trail, reading: Reading, open_payload: Open) -> None:
        self._trail = trail
        self._reading = reading
        self._open = open_payload
        self._compiled = lru_cache(_VERSIONS)(self._compile)

    def difference(self, entry: Decided) -> dict[str, Any]:
        """What is decided otherwise now; nothing when all is as the log has it.

        Raises: _Missing.
        """
        snapshot, call = self._snapshot(entry.policy), self._call(entry)
        decision = snapshot.decide(call, entry.t)
        if _looks_at(snapshot, decision, _ARGUED):
            call = self._with_arguments(entry, call)
            decision = snapshot.decide(call, entry.t)
        found = _differing(entry, decision)
        if found and _looks_at(snapshot, decision, _TIMED):
            # It was decided a moment before it was entered, at most by what the clock may be off.
            early = snapshot.decide(call, entry.t - CLOCK_TOLERANCE_US)
            found = found if _differing(entry, early) else {}
        if found:
            self._excuse(snapshot, call, decision)
        return found

    def _excuse(self, snapshot: Snapshot, call: Call, decision: Decision) -> None:
        """Raises: _Missing: what the log does not hold may be the whole difference."""
        if _looks_at(snapshot, decision, _TAGGED):
            raise _Missing("it depended on tags of the tool, which are not in the log")

    def _snapshot(self, version: str) -> Snapshot:
        compiled = self._compiled(version)
        if isinstance(compiled, str):
            raise _Missing(compiled)
        return compiled

    def _compile(self, version: str) -> Snapshot | str:
        """The policy of that version, or why there is none."""
        bundle = self._trail.policy_bundle(version)
        if bundle is None:
            built_in = builtin_deny_all()
            return built_in if built_in.version == version else "its policy version is not stored"
        try:
            snapshot = compile_policy(*unbundle(bundle))
        except (PolicyInvalid, ValueError):
            return "its policy version cannot be read by this program"
        is_it = snapshot.version == version
        return snapshot if is_it else "what is stored of its policy version is not that version"

    # -- the call as it was -----------------------------------------------------------------------

    def _call(self, entry: Decided) -> Call:
        if entry.kind is None or entry.act is None:
            raise _Missing("it was refused before it was known what it was about")
        principal = self._principal(entry)
        if "/" in principal.subject:
            principal = self._proved(entry, principal)
        kind, server, name = self._object(entry, entry.kind)
        return Call(
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

    def _principal(self, entry: Decided) -> Principal:
        name, actors = self._trail.name, getattr(entry, "actors", ())
        named = {one: name(one) for one in (entry.who, entry.tenant, entry.team, *actors) if one}
        if any(one == known for one, known in named.items()):
            raise _Missing("a name in it was erased")
        return Principal(
            tenant=named.get(entry.tenant, ""),
            subject=named.get(entry.who, ""),
            team=named.get(entry.team, "").partition("/")[2],
            actors=tuple(named[actor] for actor in actors),
        )

    def _proved(self, entry: Decided, who: Principal) -> Principal:
        """With the roles and scopes of its token: no version of the policy holds them."""
        line = self._sealed(entry).split(b"\n", 2)[1]
        if not line.startswith(_TOKEN):
            raise _Missing("what its token proved is not in the log")
        said = json.loads(line.removeprefix(_TOKEN))
        return replace(who, roles=frozenset(said["roles"]), scopes=frozenset(said["scopes"]))

    def _object(self, entry: Decided, kind: Kind) -> tuple[Kind, str, str]:
        """From the account of the tool, whose name is in the table of names; else from what is
        sealed: of a resource behind a template only that knows the URI."""
        account = self._trail.name(entry.acc[3]) if len(entry.acc) == 4 else ""
        said = account.partition(" ")[2]
        if not said.startswith(f"{kind}/") or said == f"{kind}/-":
            said = self._sealed(entry).partition(b"\n")[0].decode("utf-8", "surrogateescape")
        _, _, rest = said.partition("/")
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

    def _with_arguments(self, entry: Decided, call: Call) -> Call:
        content = self._sealed(self._asked_by(entry))
        _, found, raw = content.partition(_ARGUMENTS)
        arguments: Mapping[str, Any] = {}
        if found:
            arguments, _ = json.JSONDecoder().raw_decode(raw.decode())
        return replace(call, arguments=arguments)

    def _asked_by(self, entry: Decided) -> Decided:
        """The call itself; for a question of a server the call that it was part of."""
        if entry.method not in ASKS:
            return entry
        parent = getattr(entry, "parent", "")
        for first in self._trail.of_call(parent):
            if isinstance(first, entries.Intent):
                return first
        raise _Missing(
            "it is a question of a server, and the call that it was part of is not known"
        )

    def _sealed(self, entry: Decided) -> bytes:
        opened = self._open(entry)
        if opened is None or opened.problem:
            why = opened.problem if opened is not None else "there are none"
            raise _Missing(f"it depended on arguments: {why}")
        return opened.content


def _looks_at(snapshot: Snapshot, decision: Decision, facts: frozenset[str]) -> bool:
    looked = (snapshot.conditions.get(name.removesuffix("?")) for name, _ in decision.conditions)
    return any(not facts.isdisjoint(condition.table) for condition in looked if condition)


def _differing(entry: Decided, decision: Decision) -> dict[str, Any]:
    """What of the decision is not as the entry has it, as pairs of then and now."""
    pairs: dict[str, tuple[Any, Any]] = {
        "rule": (entry.rule, decision.rule),
        "conditions": (dict(entry.conds), dict(decision.conditions)),
    }
    verdict = _verdict_of(entry)
    if verdict is not None:
        pairs["verdict"] = (str(verdict), str(decision.verdict))
    return {key: {"then": a, "now": b} for key, (a, b) in pairs.items() if a != b}


def _verdict_of(entry: Decided) -> Verdict | None:
    """What policy must have said; None where the refusal does not tell."""
    if isinstance(entry, entries.Intent):
        return Verdict.ALLOW
    if entry.code == UNKNOWN_OBJECT.id:
        return None
    return Verdict.DENY if entry.code in _DENIALS else Verdict.ALLOW
