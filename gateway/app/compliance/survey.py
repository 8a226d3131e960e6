"""One pass over the log, which gathers what several questions need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.audit import entry as entries
from gateway.domain.model import Act, Kind
from gateway.store.trail import Trail

GRACE_US = 1_000_000  # a revocation is in force within a second
_REVOKING = frozenset({"key.revoke", "agent.disable", "agent.remove", "token.revoke"})
_RESTORING = frozenset({"agent.enable", "agent.add"})


@dataclass(slots=True)
class Survey:
    """What was seen. Leaves are samples for proofs as well."""

    first_us: int = 0
    last_us: int = 0
    size: int = 0
    opened: list[list[int]] = field(default_factory=list)  # [from, to] of each process
    calls: list[int] = field(default_factory=list)  # the first intent, and the two newest
    by_recovery: int = 0
    longest_doubt_us: int = 0
    oldest_in_flight_us: int = 0  # 0: none
    last_call_us: dict[str, int] = field(default_factory=dict)  # agent -> its newest
    without_definition: list[int] = field(default_factory=list)
    other_tenant: list[int] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    change_leaves: list[int] = field(default_factory=list)
    authors: dict[str, int] = field(default_factory=dict)  # pseudonym -> a change of theirs
    without_author: list[int] = field(default_factory=list)
    reasons: int = 0
    revocations: list[int] = field(default_factory=list)
    after_revocation: list[int] = field(default_factory=list)
    erasures: list[entries.Change] = field(default_factory=list)
    key_since_us: int = 0  # when the signing key came into use


def survey(trail: Trail, size: int) -> Survey:
    """Read the first *size* entries."""
    seen, looker = Survey(size=size), _Looker(trail)
    for entry in _first(trail, size):
        seen.first_us = seen.first_us or entry.t
        seen.last_us = entry.t
        looker.look(seen, entry)
    if looker.open_intents:
        seen.oldest_in_flight_us = min(looker.open_intents.values())
    return seen


def _first(trail: Trail, size: int) -> Iterator[entries.Entry]:
    for entry in trail.after(-1):
        if entry.i >= size:
            return
        yield entry


class _Looker:
    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self._revoked: dict[str, int] = {}  # key/ID or agent/NAME -> since
        self.open_intents: dict[int, int] = {}

    def look(self, seen: Survey, entry: entries.Entry) -> None:
        if isinstance(entry, entries.Open):
            seen.opened.append([entry.t, entry.t])
            seen.key_since_us = seen.key_since_us or entry.t
        elif seen.opened:
            seen.opened[-1][1] = entry.t
        if isinstance(entry, entries.Intent | entries.Single):
            self._called(seen, entry)
        elif isinstance(entry, entries.Outcome):
            self._ended(seen, entry)
        elif isinstance(entry, entries.Refused):
            seen.refusals[entry.code] += 1
        elif isinstance(entry, entries.Folded):
            seen.refusals.update(entry.codes)
        elif isinstance(entry, entries.Change):
            self._changed(seen, entry)

    def _called(self, seen: Survey, entry: entries.Intent | entries.Single) -> None:
        agent = self._trail.name(entry.who)
        seen.last_call_us[agent] = entry.t
        since = [
            self._revoked.get(f"agent/{agent}", 0),
            self._revoked.get(f"key/{self._trail.name(entry.cred)}", 0),
        ]
        if any(at_us and entry.t > at_us + GRACE_US for at_us in since):
            seen.after_revocation.append(entry.i)
        if entry.acc and entry.acc[0] != entry.tenant:
            seen.other_tenant.append(entry.i)
        if not isinstance(entry, entries.Intent):
            return
        self.open_intents[entry.i] = entry.t
        if entry.kind is Kind.TOOL and entry.act is Act.CALL and not entry.definition:
            seen.without_definition.append(entry.i)
        seen.calls = [*seen.calls[:1], *seen.calls[1:][-1:], entry.i]

    def _ended(self, seen: Survey, entry: entries.Outcome) -> None:
        began_us = self.open_intents.pop(entry.intent, entry.t)
        if entry.by == "recovery":
            seen.by_recovery += 1
            seen.longest_doubt_us = max(seen.longest_doubt_us, entry.t - began_us)

    def _changed(self, seen: Survey, entry: entries.Change) -> None:
        seen.changes[entry.what] += 1
        seen.change_leaves = [*seen.change_leaves[:1], *seen.change_leaves[1:][-1:], entry.i]
        seen.reasons += bool(entry.note)
        if entry.author:
            seen.authors.setdefault(entry.author, entry.i)
        else:
            seen.without_author.append(entry.i)
        subject = self._trail.name(entry.subject)
        if entry.what in _REVOKING:
            seen.revocations.append(entry.i)
            self._revoked[subject] = entry.t
        elif entry.what in _RESTORING:
            self._revoked.pop(subject, None)
        if entry.erased is not None:
            seen.erasures.append(entry)
        if entry.rotation is not None:
            seen.key_since_us = entry.t
