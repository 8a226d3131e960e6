"""Searching the log: calls with their outcomes, refusals and changes, the newest of what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from gateway.app.operations import reading
from gateway.app.operations.describe import IN_FLIGHT, Row, describe
from gateway.app.operations.query import Query, Term
from gateway.audit import entry as entries
from gateway.domain.run import is_run_account, is_run_id, run_account
from gateway.policy.rules import Rule
from gateway.store.pseudonyms import OBJECT, SERVER, SUBJECT, TEAM, TENANT
from gateway.store.trail import Interrupted, Slice, Trail

# Described kind -> kinds of entries. Outcomes come with their intents.
_KINDS = {
    "call": "intent",
    **{k: k for k in ("single", "refused", "folded", "change", "open", "close", "recovery")},
}
_PSEUDONYMS = {
    "agent": SUBJECT,
    "actors": SUBJECT,
    "author": SUBJECT,
    "tenant": TENANT,
    "team": TEAM,
    "server": SERVER,
}
_ONLY_IF_ASKED = ("open", "close")
_OF_CALLS = ("intent", "single", "refused", "folded")
_OF_THE_OUTCOME = ("status", "code", "by")
PAGE_PIECE = 2_000  # entries
# Fields whose values stand in the entry as they are.
_VERBATIM = ("call", "parent", "method", "what", "policy", "chain", "approval")
MAX_RUNS = 64  # looked for in the text of an entry before it is decoded


def search(trail: Trail, query: Query, most: int) -> list[Row]:
    """At most *most* of the newest entries that fit, oldest first."""
    found = [row for _, row in islice(matching(trail, query, trail.newest_first), most)]
    found.reverse()
    return found


@dataclass(frozen=True, slots=True)
class Page:
    """The newest of what fits, newest first, and the leaf below which there may be more; 0: none."""

    rows: list[Row]
    below: int


def page(
    trail: Trail,
    query: Query,
    below: int,
    most: int,
    in_time: Callable[[], bool],
    tenant: str | None = None,
) -> Page:
    """At most *most* entries below the leaf *below*; fewer when it is not *in_time* any more.

    With a *tenant*, those of its calls; how long that takes depends on nothing of another one.
    Read in pieces, so that what fits nothing does not keep a thread for as long as the log is.

    Raises: Interrupted: time was over before the first piece was read.
    """
    if tenant is not None:
        query = replace(query, terms=(Term("tenant", (tenant,)), *query.terms))
    with trail.while_true(in_time):
        wanted = _slice(trail, query) if tenant is None else _slice_of(trail, query, tenant)
        if wanted is None:
            return Page([], 0)
        first, end = trail.span(wanted)
    between = partial(trail.newest_between, wanted)
    return _down(trail, query, between, (first, min(below, end)), most, in_time)


def _down(
    trail: Trail,
    query: Query,
    between: Callable[[int, int], Iterator[entries.Entry]],
    span: tuple[int, int],
    most: int,
    in_time: Callable[[], bool],
) -> Page:
    rows: list[Row] = []
    first, start = span
    reached = end = start
    while end > first:
        low = max(first, end - PAGE_PIECE)
        try:
            with trail.while_true(in_time):
                for entry, row in _fitting(trail, query, between(low, end)):
                    rows.append(row)
                    reached = entry.i
                    if len(rows) == most:
                        return Page(rows, reached)
        except Interrupted:
            if reached == start:
                raise
            return Page(rows, reached)
        reached = end = low
        if not in_time():
            return Page(rows, end if end > first else 0)
    return Page(rows, 0)


Read = Callable[[Slice], Iterator[entries.Entry]]


def matching(trail: Trail, query: Query, read: Read) -> Iterator[tuple[entries.Entry, Row]]:
    """Every entry that fits with its description, in the order in which *trail* reads them."""
    wanted = _slice(trail, query)
    if wanted is not None:
        yield from _fitting(trail, query, read(wanted))


def _fitting(
    trail: Trail, query: Query, found: Iterator[entries.Entry]
) -> Iterator[tuple[entries.Entry, Row]]:
    early = [term for term in query.terms if term.field not in _OF_THE_OUTCOME]
    late = [term for term in query.terms if term.field in _OF_THE_OUTCOME]
    for entry in found:
        row = describe(entry, trail.name)
        if not _fits(row, early):
            continue
        row = _with_outcome(trail, entry, row)
        if _fits(row, late):
            yield entry, row


def decided(trail: Trail, query: Query) -> Iterator[entries.Entry]:
    """Every call, refusal or fold of refusals that fits, oldest first; described only if *query* asks."""
    wanted = _slice(trail, query)
    kinds = tuple(kind for kind in wanted.kinds if kind in _OF_CALLS) if wanted else ()
    if wanted is None or not kinds:
        return
    early = [term for term in query.terms if term.field not in _OF_THE_OUTCOME]
    late = [term for term in query.terms if term.field in _OF_THE_OUTCOME]
    for entry in trail.oldest_first(replace(wanted, kinds=kinds)):
        row = describe(entry, trail.name) if query.terms else {}
        if _fits(row, early) and (not late or _fits(_with_outcome(trail, entry, row), late)):
            yield entry


def with_rules(trail: Trail, rows: Sequence[Row]) -> list[Row]:
    """*rows*, each with the deciding rule as it stood in the policy that decided: place and text."""
    rules: dict[str, Sequence[Rule]] = {}
    return [row | _ruled(trail, row, rules) for row in rows]


def _ruled(trail: Trail, row: Row, rules: dict[str, Sequence[Rule]]) -> Row:
    version, index = row.get("policy", ""), row.get("rule", "")
    if not version or not index:
        return {}
    if version not in rules:
        rules[version] = reading.rules_of(trail, version)
    if int(index) >= len(rules[version]):
        return {}
    rule = rules[version][int(index)]
    return {"rule_place": rule.place, "rule_text": rule.text}


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


def _with_outcome(trail: Trail, entry: entries.Entry, row: Row) -> Row:
    """Looked up last: it costs more than the rest together."""
    if not isinstance(entry, entries.Intent):
        return row
    outcome = trail.outcome_of(entry)
    return describe(entry, trail.name, outcome) if outcome else row | {"status": IN_FLIGHT}


def _fits(row: Row, terms: Sequence[Term]) -> bool:
    return all(term.holds(_values(row, term)) for term in terms)


def _values(row: Row, term: Term) -> Sequence[str]:
    value: Any = row.get(term.field)
    if isinstance(value, list):
        return value
    if value is not None and term.field == "run":
        # Which of the ids that are asked for it has, in its own tenant.
        tenant = row.get("tenant", "")
        ids = (one for one in term.values if _is_id(one) and run_account(tenant, one) == value)
        return (value, *ids)
    return (str(value),) if value is not None else ()


def _slice(trail: Trail, query: Query) -> Slice | None:
    """What SQLite can leave out before anything is decoded; None when nothing can fit."""
    containing: list[tuple[str, ...]] = []
    for field, kind in _PSEUDONYMS.items():
        names = query.exact(field)
        if names is not None:
            containing.append(tuple(filter(None, (trail.pseudonym(kind, n) for n in names))))
    objects = query.exact("object")
    if objects is not None:
        containing.append(_accounts(trail, objects))
    runs = query.exact("run")
    if runs is not None:
        containing.append(_runs(trail, query, runs))
    if () in containing:
        return None
    containing += [values for f in _VERBATIM if (values := query.exact(f)) is not None]
    kinds = query.exact("kind") or [kind for kind in _KINDS if kind not in _ONLY_IF_ASKED]
    statuses = query.exact("status") or ()
    return Slice(
        since_us=query.since_us,
        until_us=query.until_us,
        kinds=tuple(_KINDS.get(kind, kind) for kind in kinds),
        containing=tuple(containing),
        codes=query.exact("code") or (),
        statuses=() if IN_FLIGHT in statuses else statuses,
    )


def _slice_of(trail: Trail, query: Query, tenant: str) -> Slice | None:
    """What is of *tenant*, and nothing finer: other names are judged by its rows alone, so that time
    does not tell which of them others use."""
    known = trail.pseudonym(TENANT, tenant)
    if not known:
        return None
    return Slice(query.since_us, query.until_us, _OF_CALLS, ((known,),))


def _runs(trail: Trail, query: Query, runs: Sequence[str]) -> tuple[str, ...]:
    """What entries call these runs: an id means another one in each tenant."""
    ids = [one for one in runs if _is_id(one)]
    tenants = query.exact("tenant") or [name for _, name in trail.pseudonyms(TENANT)]
    if len(runs) + len(ids) * len(tenants) > MAX_RUNS:
        return ('"run":"',)
    return (
        *(one for one in runs if is_run_account(one)),
        *(run_account(tenant, one) for tenant in tenants for one in ids),
    )


def _is_id(run: str) -> bool:
    return is_run_id(run) and not is_run_account(run)


def _accounts(trail: Trail, objects: Sequence[str]) -> tuple[str, ...]:
    """The accounts of these tools; they are named `TENANT KIND/SERVER/NAME`."""
    return tuple(
        pseudonym
        for pseudonym, name in trail.pseudonyms(OBJECT)
        if name.partition(" ")[2] in objects
    )
