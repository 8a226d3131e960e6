"""Searching the log: calls with their outcomes, refusals and changes, the newest of what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.app.operations.describe import IN_FLIGHT, Row, describe
from gateway.app.operations.query import Query
from gateway.audit import entry as entries
from gateway.store.pseudonyms import SERVER, SUBJECT, TEAM, TENANT
from gateway.store.trail import Slice, Trail

# Described kind -> kinds of entries. Outcomes come with their intents.
_KINDS = {
    "call": "intent",
    **{k: k for k in ("single", "refused", "folded", "change", "open", "close", "recovery")},
}
_PSEUDONYMS = {
    "agent": SUBJECT,
    "author": SUBJECT,
    "tenant": TENANT,
    "team": TEAM,
    "server": SERVER,
}
_ONLY_IF_ASKED = ("open", "close")
# Fields whose values stand in the entry as they are, other than status and code, which an
# intent's outcome holds.
_VERBATIM = ("call", "method", "what", "policy")


def search(trail: Trail, query: Query, most: int) -> list[Row]:
    """At most *most* of the newest entries that fit, oldest first."""
    found: list[Row] = []
    wanted = _slice(trail, query)
    if wanted is None:
        return found
    for entry in trail.newest_first(wanted):
        row = _described(trail, entry)
        if all(term.holds(_values(row, term.field)) for term in query.terms):
            found.append(row)
            if len(found) == most:
                break
    found.reverse()
    return found


def follow(trail: Trail, leaf: int) -> Iterator[Row]:
    """Everything that was entered behind *leaf*, as it was entered."""
    for entry in trail.after(leaf):
        if not isinstance(entry, entries.Counters):
            yield describe(entry, trail.name)


def one_call(trail: Trail, call_id: str) -> list[tuple[entries.Entry, Row]]:
    """All entries of one call, each with its description, in order."""
    found = trail.of_call(call_id)
    ended = {entry.intent for entry in found if isinstance(entry, entries.Outcome)}
    rows = [(entry, describe(entry, trail.name)) for entry in found]
    for entry, row in rows:
        if isinstance(entry, entries.Intent) and entry.i not in ended:
            row["status"] = IN_FLIGHT
    return rows


def _described(trail: Trail, entry: entries.Entry) -> Row:
    if not isinstance(entry, entries.Intent):
        return describe(entry, trail.name)
    outcome = trail.outcome_of(entry)
    row = describe(entry, trail.name, outcome)
    return row if outcome else row | {"status": IN_FLIGHT}


def _values(row: Row, field: str) -> Sequence[str]:
    value: Any = row.get(field)
    if isinstance(value, list):
        return value
    return (str(value),) if value is not None else ()


def _slice(trail: Trail, query: Query) -> Slice | None:
    """What SQLite can leave out before anything is decoded; None when nothing can fit."""
    containing: list[tuple[str, ...]] = []
    for field, kind in _PSEUDONYMS.items():
        names = query.exact(field)
        if names is not None:
            ids = tuple(p for p in (trail.pseudonym(kind, name) for name in names) if p)
            if not ids:
                return None
            containing.append(ids)
    containing += [values for f in _VERBATIM if (values := query.exact(f)) is not None]
    kinds = query.exact("kind")
    if kinds is None:
        chosen = tuple(_KINDS[kind] for kind in _KINDS if kind not in _ONLY_IF_ASKED)
    else:
        chosen = tuple(_KINDS.get(kind, kind) for kind in kinds)
    codes = query.exact("code") or ()
    return Slice(query.since_us, query.until_us, chosen, tuple(containing), codes)
