"""Erasing what lies beside the log: of a call, of a subject, or of a time long ago.

The entry that says so commits with it, and every proof stays what it was: leaves hold random ids
and commitments, which mean nothing without what is destroyed here.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import conflict, to_the_end, unknown
from gateway.app.operations.opening import Ring, unsealed
from gateway.app.operations.remains import Part, Remains, remains_of, scrubbed
from gateway.audit import entry as entries
from gateway.domain.operator import OperationRefused, usage
from gateway.domain.revocation import all_tokens
from gateway.store import erasure, reopening
from gateway.store.changes import put_change
from gateway.store.engine import reading
from gateway.store.erasure import Step
from gateway.store.keyring import payload_keys
from gateway.store.ledger import LogUnavailable
from gateway.store.log import SALT_BYTES
from gateway.store.petitions import ASK, Asked
from gateway.store.pseudonyms import SUBJECT
from gateway.store.writer import Effect, WriteFailed

WHAT = "audit.erase"


@dataclass(frozen=True, slots=True)
class _Order:
    """Who erases, why, and under which pseudonym it is entered."""

    author: str
    note: str
    about: str = ""
    subject: str = ""


async def erase(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Erase a `call`, a `subject`, or all payloads older than `before_us`: a part of it, bounded.

    The answer says from where to go on (`next`), until that is -1. A subject that is a registered
    agent needs `registered`; `policies` lets stored policy versions go that name it.
    """
    args = Args(given, "call", "subject", "before_us", "from", "registered", "policies", "reason")
    if sum(args.has(key) for key in ("call", "subject", "before_us")) != 1:
        raise usage("erase one of: a call, a subject, what is older", "say one of them")
    await _on_disk(house)
    house.upstreams.kept.forget_all()  # what is erased must not be answered again
    if args.has("call"):
        return await _call(house, author, args)
    if args.has("subject"):
        return await _subject(house, author, args)
    return await _older(house, author, args)


async def _call(house: House, author: str, args: Args) -> Any:
    call_id, note = args.text("call"), args.text("reason", "")

    def look() -> tuple[frozenset[str], Step, bool]:
        with reading(house.database) as connection:
            calls = erasure.family(connection, call_id)
            ring = tuple(payload_keys(house.house_keys.folder))
            made_a_task = any(
                _is_task(ring, *row) for row in erasure.results_of(connection, call_id)
            )
            asked = _asks_of(connection, ring, calls)
            step = erasure.of_calls(connection, calls)
            return calls, Step(tuple(sorted({*step.leaves, *asked}))), made_a_task

    calls, step, made_a_task = await asyncio.to_thread(look)
    if not calls:
        raise await _nothing(house, "call", call_id)
    under_way = (permit.call for permit in house.ledger.in_flight.values())
    if any(call.id in calls or call.parent in calls for call in under_way):
        raise _in_flight(f"call {call_id}")
    if step.leaves:
        await _empty(house, _Order(author, note, subject=f"call/{call_id}"), step.leaves)
    done = _answer(house, payloads=len(step.leaves), scrubbed=await scrubbed(house))
    return {**done, "made_a_task": made_a_task}


def _asks_of(connection: sqlite3.Connection, ring: Ring, calls: Collection[str]) -> Iterator[int]:
    """The leaves of what was asked to be approved because of *calls*: their arguments are there."""
    for leaf, nonce, sealed in erasure.notes_of(connection, (ASK,)):
        payload = unsealed(ring, leaf, nonce, sealed) or b""
        with suppress(msgspec.MsgspecError):
            if msgspec.json.decode(payload[SALT_BYTES:], type=Asked).call in calls:
                yield leaf


def _is_task(ring: Ring, leaf: int, nonce: bytes, sealed: bytes) -> bool:
    """Whether a result is a task: what its owner asks of that is a later round of the same call."""
    payload = unsealed(ring, leaf, nonce, sealed) or b""
    with suppress(ValueError):
        result = json.loads(payload[SALT_BYTES:])
        return isinstance(result, dict) and result.get("resultType") == "task"
    return False


async def _older(house: House, author: str, args: Args) -> Any:
    before_us, note = args.whole("before_us", 0), args.text("reason", "")

    def look() -> tuple[int, Step]:
        with reading(house.database) as connection:
            end = erasure.first_since(connection, before_us, house.ledger.log.next_leaf)
            return end, erasure.before(connection, end)

    end, step = await asyncio.to_thread(look)
    if step.leaves:
        done = step.next_leaf if step.next_leaf >= 0 else end
        order = _Order(author, note)
        await _empty(house, order, step.leaves, done, (erasure.clear_effect(done),))
    last = step.next_leaf < 0
    return _answer(
        house,
        payloads=len(step.leaves),
        next_leaf=step.next_leaf,
        scrubbed=await scrubbed(house) if last else None,
    )


# -- a subject ------------------------------------------------------------------------------------


async def _subject(house: House, author: str, args: Args) -> Any:
    name, first = args.text("subject"), args.whole("from", 0)
    who = house.ledger.pseudonyms.known(SUBJECT, name)  # "": it never called, or not any more
    _refuse_surprise(house, name, args)
    end = house.ledger.log.next_leaf
    step = await _calls_of(house, name, who, first, end) if who else Step(())
    order = _Order(author, args.text("reason", ""), about=who)
    if step.leaves:
        await _empty(house, order, step.leaves)
    if step.next_leaf >= 0:
        return _answer(house, payloads=len(step.leaves), next_leaf=step.next_leaf)
    remains = await remains_of(house, name, who, policies=args.has("policies"))
    if not who and remains.is_nothing:
        raise await _nothing(house, "subject", name)
    await _let_go(house, order, remains)
    late = await _what_came_meanwhile(house, order, who, end) if who else 0
    done = _answer(
        house,
        payloads=len(step.leaves) + remains.count_of_notes + late,
        names=remains.count_of_names,
        policies=len(remains.policies),
        policies_kept=remains.policies_kept,
        scrubbed=await scrubbed(house, rows=True, policies=bool(remains.policies)),
    )
    return {**done, "stays_revoked": all_tokens(name) in house.identity.keys}


async def _calls_of(house: House, name: str, who: str, first: int, end: int) -> Step:
    """What the calls of *who* left. Raises: OperationRefused: it administered this gateway."""

    def look() -> tuple[bool, Step]:
        with reading(house.database) as connection:
            accountable = erasure.is_author(connection, who)
            return accountable, erasure.of_subject(connection, who, first, end)

    accountable, step = await asyncio.to_thread(look)
    if accountable:
        raise conflict(
            f"{name!a:.80} has administered this gateway",
            "who changed what is what the log is for, so it stays",
            "erase single calls of it: customhouse audit erase call:ID",
        )
    return step


def _refuse_surprise(house: House, name: str, args: Args) -> None:
    if name in house.identity.agents and not args.has("registered"):
        raise conflict(
            f"agent {name} is still registered",
            "it would stay, with its live keys, under a new id; its rates and budgets would begin "
            "anew, and nobody could name any more who made its earlier calls",
            "say --yes if this is meant, or first: customhouse agent remove " + name,
        )


async def _let_go(house: House, order: _Order, remains: Remains) -> None:
    """Destroy the names, and bind what stays to new ones, in as few entries as can hold it.

    Raises: OperationRefused: a call of the subject is under way; nothing happened.
    """

    async def entered() -> None:
        if _is_calling(house, remains):
            raise _in_flight(f"a call of {remains.name}")
        if house.ledger.log.closed:
            raise LogUnavailable("the log is closed: nothing was erased")
        writes = [_put_names(house, order, part) for part in remains.parts]
        await _durable(writes)
        for key_id in remains.dead_keys:
            house.identity.forget_key(key_id)

    await to_the_end(entered())


def _put_names(house: House, order: _Order, part: Part) -> asyncio.Future[None]:
    """In one step: a name that is let go here is given anew to what is written with it."""
    ledger = house.ledger
    forgotten = ledger.pseudonyms.forget(part.names)
    try:
        return put_change(
            ledger.log,
            ledger.pseudonyms,
            WHAT,
            order.author,
            about=order.about,
            note=order.note,
            erased=entries.Erased(names=part.names, payloads=len(part.notes), before=0),
            effects=(*erasure.empty_effects(part.notes), *part.effects),
        )
    except ValueError:
        ledger.pseudonyms.restore(forgotten)
        raise


async def _what_came_meanwhile(house: House, order: _Order, who: str, first: int) -> int:
    """Payloads of calls that ended while it was looked: from here on nobody is called *who*."""
    await _on_disk(house)
    end, count = house.ledger.log.next_leaf, 0

    def look(first: int) -> Step:
        with reading(house.database) as connection:
            return erasure.of_subject(connection, who, first, end)

    while first >= 0:
        step = await asyncio.to_thread(look, first)
        if step.leaves:
            await _empty(house, order, step.leaves)
        first, count = step.next_leaf, count + len(step.leaves)
    return count


# -- pieces ---------------------------------------------------------------------------------------


async def _empty(
    house: House,
    order: _Order,
    leaves: Sequence[int],
    before: int = 0,
    also: Sequence[Effect] = (),
) -> None:
    """Destroy payloads, and enter it, in one commit. Raises: LogUnavailable: nothing happened."""

    async def entered() -> None:
        if house.ledger.log.closed:
            raise LogUnavailable("the log is closed: nothing was erased")
        written = put_change(
            house.ledger.log,
            house.ledger.pseudonyms,
            WHAT,
            order.author,
            subject=order.subject,
            about=order.about,
            note=order.note,
            erased=entries.Erased(names=(), payloads=len(leaves), before=before),
            effects=(*erasure.empty_effects(leaves), *also),
        )
        await _durable([written])

    await to_the_end(entered())


async def _durable(writes: Sequence[asyncio.Future[None]]) -> None:
    try:
        await asyncio.gather(*writes)
    except WriteFailed as err:
        raise LogUnavailable("it is not known to be erased: look at the log, then repeat") from err


async def _on_disk(house: House) -> None:
    """What was put so far, or would be in a moment, can be read. Raises: LogUnavailable."""
    if not house.ledger.log.closed:  # a fold that is written later would bring a name back
        house.ledger.refusals.flush_all(house.ledger.log.stamp())
    try:
        await house.ledger.log.carry_out(())
    except WriteFailed as err:
        raise LogUnavailable("the log cannot be written, so nothing was erased") from err


def _is_calling(house: House, remains: Remains) -> bool:
    holds = house.ledger.counters.purses.open_holds().values()
    if remains.who and any(remains.who in hold.accounts for hold in holds):
        return True
    permits = house.ledger.in_flight.values()
    return any(remains.name in permit.call.principal.actors for permit in permits)


def _in_flight(what: str) -> OperationRefused:
    return conflict(
        f"{what} is under way",
        "what it answers would be kept after the erasure",
        "repeat the command when it has ended; customhouse agent disable NAME lets none begin",
    )


async def _nothing(house: House, kind: str, name: str) -> OperationRefused:
    """That there is no such call or subject, once the files are swept: it may have been erased a
    moment ago, by a process that was killed before it could."""
    of_subjects = kind == "subject"
    if not await scrubbed(house, rows=of_subjects, policies=of_subjects):
        return conflict(
            f"the log knows no {kind} {name!a:.80}, and its files may",
            "somebody is reading the database as it was, so older states of it have to stay",
            "repeat the command when nobody reads it any more",
        )
    old = reopening.set_aside(house.config.data_dir)
    if old:
        return unknown(kind, name, f"what is in {', '.join(old)} is not erased: delete the files")
    if of_subjects:
        return unknown(kind, name, "the log knows nobody of this name, or not any more")
    return unknown(kind, name, "look for it: customhouse audit query since:1h")


def _answer(
    house: House,
    *,
    payloads: int,
    next_leaf: int = -1,
    names: int = 0,
    policies: int = 0,
    policies_kept: int = 0,
    scrubbed: bool | None = None,
) -> dict[str, Any]:
    return {
        "payloads": payloads,
        "names": names,
        "policies": policies,
        "policies_kept": policies_kept,
        "next": next_leaf,
        "scrubbed": scrubbed,
        "set_aside": reopening.set_aside(house.config.data_dir),
    }
