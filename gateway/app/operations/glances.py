"""Looks at what lies on disk, the log and the policy folder: in threads, with an end to each.

An entry belongs to a tenant when it is of a call, made or refused, of one of its principals. All
others (changes, folded refusals of strangers, the log's own) are for who looks after every tenant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations import payloads as looking
from gateway.app.operations.entering import unknown
from gateway.app.operations.opening import Opened, Ring, open_payload, payload_key
from gateway.app.operations.query import Query, parse
from gateway.app.operations.search import one_call, page
from gateway.audit import copy
from gateway.audit.entry import Entry
from gateway.audit.prover import Prover
from gateway.audit.statements import Head
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.edge.api.desk import EVERY_TENANT, Errand, Found, Withdrawn
from gateway.policy import files, lint
from gateway.policy.rules import Rule
from gateway.store.engine import reading
from gateway.store.trail import Interrupted, opened

PAGE_S: Final = 2.0  # then a page is what was found so far
PROOF_S: Final = 30.0
MAX_VALUES: Final = 16  # of one term, when asked from elsewhere
REST_S: Final = 0.001  # between blocks that are hashed: calls go first
_FAR: Final = 1 << 62

Row = dict[str, Any]
Part = tuple[Entry, Row]


async def entries_page(house: House, errand: Errand) -> Found:
    query = _bounded(parse(errand.args.get("q", ()), wall_us()))
    below = int(errand.after or _FAR)
    tenant = None if errand.tenant == EVERY_TENANT else errand.tenant
    rules, version = house.policies.current.rules, house.policies.current.version

    def read() -> Found:
        goes_on = _until(house, PAGE_S)
        with opened(house.config.data_dir) as trail:
            found = page(trail, query, below, errand.most, goes_on, tenant)
        rows = [row | _ruled(row, version, rules) for row in found.rows if _is_of(row, errand)]
        return Found(rows, str(found.below) if found.below else "")

    try:
        return await asyncio.to_thread(read)
    except Interrupted as err:
        raise OperationRefused(
            f"the log was not read within {PAGE_S:.0f} s",
            "the gateway is busy, or about to stop",
            "ask for less, as with since:1h, or repeat it in a moment",
            Exit.UNREACHABLE,
        ) from err


async def call(house: House, errand: Errand) -> Found:
    parts = await asyncio.to_thread(_parts, house, errand)
    return Found(_told(errand, [row for _, row in parts]))


async def payloads(house: House, errand: Errand) -> Found:
    """The look is durable before anything is opened, and who lost the right by then sees nothing."""
    parts = await asyncio.to_thread(_parts, house, errand)
    await looking.read(house, errand.author, {"subject": f"call/{errand.args['call']}"})
    if not errand.holds():
        raise Withdrawn

    def read() -> list[Row]:
        ring = payload_key(house.config.keys_dir)
        return [row | _opened(house, ring, entry) for entry, row in parts]

    return Found(_told(errand, await asyncio.to_thread(read)))


async def proof(house: House, errand: Errand) -> Found:
    parts = await asyncio.to_thread(_parts, house, errand)
    leaves = [entry.i for entry, _ in parts]
    proofs = await asyncio.to_thread(_proofs, house, leaves)
    return Found({"call": errand.args["call"], "leaves": leaves, "proofs": proofs})


async def checkpoint(house: House, errand: Errand) -> Found:
    head = await asyncio.to_thread(_head, house)
    return Found({"note": head.note.decode()})


async def findings(house: House, errand: Errand) -> Found:
    """What `policy check` says. They have no order of their own, so one page holds them all."""
    folder, bindings = house.config.policies, house.identity.bindings()
    if not folder.is_dir():
        raise OperationRefused(
            "there is no policy folder", "everything is denied", "configure policies", Exit.INVALID
        )
    found = await asyncio.to_thread(lambda: lint.check(files.read(folder), bindings))
    keys = ("file", "line", "level", "what", "why", "fix")
    start = int(errand.after or 0)
    rows = [{key: getattr(one, key) for key in keys} for one in found[start : start + errand.most]]
    end = start + len(rows)
    return Found(rows, str(end) if end < len(found) else "")


def _bounded(query: Query) -> Query:
    """*query* without doubles. Raises: OperationRefused: each entry would be held against too much."""
    terms = tuple(replace(term, values=tuple(dict.fromkeys(term.values))) for term in query.terms)
    for term in terms:
        if len(term.values) > MAX_VALUES:
            raise usage(f"{term.field}: has more than {MAX_VALUES} values", "ask for fewer at once")
    return replace(query, terms=terms)


def _until(house: House, most_s: float) -> Callable[[], bool]:
    """Whether a look goes on: for *most_s*, and not while the gateway waits for it to stop."""
    until_s = time.monotonic() + most_s
    return lambda: time.monotonic() < until_s and "drain" not in house.ledger.closed_by


def _is_of(row: Row, errand: Errand) -> bool:
    return errand.tenant == EVERY_TENANT or row.get("tenant") == errand.tenant


def _parts(house: House, errand: Errand) -> list[Part]:
    """All entries of one call. Raises: OperationRefused: there is none in the asker's reach."""
    call_id = errand.args["call"]
    with opened(house.config.data_dir) as trail:
        found = one_call(trail, call_id)
    tenants = [row["tenant"] for _, row in found if "tenant" in row]
    if not tenants or not all(errand.reaches(tenant) for tenant in tenants):
        raise unknown("call", call_id, "look for it in the list of entries")
    return found


def _told(errand: Errand, rows: Sequence[Row]) -> Row:
    return {"call": errand.args["call"], "entries": list(rows)}


def _ruled(row: Row, version: str, rules: Sequence[Rule]) -> Row:
    """The deciding rule in words, while the policy that it stands in is in force."""
    index = int(row.get("rule", -1))
    if row.get("policy") != version or not 0 <= index < len(rules):
        return {}
    return {"rule_place": rules[index].place, "rule_text": rules[index].text}


def _opened(house: House, ring: Ring, entry: Entry) -> Row:
    with opened(house.config.data_dir) as trail:
        found = open_payload(trail, ring, entry)
    return {} if found is None else {f"{found.of}_opened": _said(found)}


def _said(found: Opened) -> str:
    if found.problem:
        return f"({found.problem})"
    return found.content.decode("utf-8", "backslashreplace")


def _head(house: House) -> Head:
    with reading(house.database) as connection:
        head = copy.head(connection)
    if head is None:
        raise OperationRefused(
            "the log has no signed head", "it is empty", "repeat it in a moment", Exit.UNREACHABLE
        )
    return head


def _proofs(house: House, leaves: Sequence[int]) -> list[str]:
    """One standard proof for each leaf, all under the same head; the log is hashed once."""
    goes_on = _until(house, PROOF_S)
    head = _head(house)
    with reading(house.database) as connection:

        def bodies(low: int, high: int) -> list[bytes]:
            if not goes_on():
                raise OperationRefused(
                    f"the log is too long to be hashed in {PROOF_S:.0f} s",
                    "calls go first",
                    "on the gateway's machine: customhouse audit prove CALL",
                    Exit.UNREACHABLE,
                )
            time.sleep(REST_S)
            return copy.bodies(connection, low, high)

        prover = Prover(bodies, head.note)
        return [prover.prove_leaf(leaf) for leaf in leaves]
