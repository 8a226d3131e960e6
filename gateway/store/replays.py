"""The same call again, under the same idempotency key: it has one effect, and one result.

A key names a call: its id is made of who calls, the key and the day, so that the log itself tells
whether there was one. What is under way is known in memory; who repeats it meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from gateway.audit import entry as entries
from gateway.domain.model import Call, Outcome, Status
from gateway.domain.refusal import KEY_REUSED, OUTCOME_UNKNOWN, RESULT_GONE, Refused
from gateway.domain.run import KEY_DAY_US as DAY_US
from gateway.domain.run import run_account, run_of_key
from gateway.store.engine import Readers
from gateway.store.keyring import payload_keys
from gateway.store.keys import STATE_KEY
from gateway.store.log import SALT_BYTES
from gateway.store.writer import unseal

# Without the second condition no index is used.
OF_CALL = (
    "SELECT body FROM entries WHERE call_id = ? AND call_id <> ''"
    " AND kind IN ('intent', 'outcome') ORDER BY idx"
)
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_UNKNOWN = frozenset({Status.UNKNOWN, Status.CANCELLED, Status.NOT_SENT})


def outside_its_run(call: Call) -> Call:
    return replace(call, run="")


class Earlier(NamedTuple):
    """The call under its own id; and what came of it, if it was made (None: make it)."""

    call: Call
    leaf: int = 0  # of the intent
    outcome: Outcome | None = None


class _Made(NamedTuple):
    first: entries.Intent
    last: entries.Intent  # of its last round
    outcome: entries.Outcome | None
    result: bytes | None  # None: not kept


@dataclass(slots=True, eq=False)
class _Look:
    """One reading of the log, while the loop goes on."""

    ids: frozenset[str]
    is_stale: bool = False


class Replays:
    def __init__(self, readers: Readers, keys_dir: Path) -> None:
        self._readers = readers
        self._keys_dir = keys_dir
        self._under_way: dict[str, asyncio.Event] = {}  # by call id
        self._looks: set[_Look] = set()

    @staticmethod
    def mark(call: Call) -> str:
        """What two calls under one key have in common if they are the same one."""
        arguments = call.arguments or sorted(call.params.items())
        said = [call.key, call.method, call.object, arguments]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=bytes.hex)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def earlier(self, call: Call, now_us: int) -> Earlier:
        """What came of *call* when it was made before; waits for one that is under way.

        Raises: Refused: KEY_REUSED, OUTCOME_UNKNOWN, RESULT_GONE.
        """
        day = now_us // DAY_US
        ids = _call_id(call, day), _call_id(call, day - 1)
        while True:
            if await self._waited(ids):
                continue
            look = _Look(frozenset(ids))
            self._looks.add(look)
            try:
                made = await asyncio.to_thread(self._read, ids, now_us - DAY_US)
            finally:
                self._looks.discard(look)
            if not look.is_stale:
                break
        if made is None or _came_to_nothing(made):
            return Earlier(replace(call, id=ids[0]))
        if made.first.key != self.mark(call):
            raise Refused(KEY_REUSED, call.id)
        run = self._run(call, made.first.run, now_us)
        again = replace(call, id=made.first.call, run=run)
        return Earlier(again, made.last.i, _outcome(made, call))

    def _run(self, call: Call, begun: str, now_us: int) -> str:
        """The run to tell where an answer is given again; *begun*: what entries call the first call's.

        Where the caller wants a new one, it is the one that its key began, today or the day before; if
        there is none such, none is told, for none is begun.
        """
        who = call.principal
        if not call.run or run_account(who.tenant, call.run) == begun:
            return call.run
        secret = (self._keys_dir / STATE_KEY).read_bytes()
        named = [run_of_key(secret, who, call.key, t) for t in (now_us, now_us - DAY_US)]
        if call.run not in named:
            return call.run
        return next((one for one in named if run_account(who.tenant, one) == begun), "")

    def began(self, call: Call) -> None:
        self._under_way[call.id] = asyncio.Event()
        self._disturb(call.id)

    def ended(self, call: Call) -> None:
        self._disturb(call.id)
        event = self._under_way.pop(call.id, None)
        if event is not None:
            event.set()

    def _disturb(self, call_id: str) -> None:
        """What is being read of this call on another thread may be what was, and not what is."""
        for look in self._looks:
            look.is_stale = look.is_stale or call_id in look.ids

    async def _waited(self, ids: Iterable[str]) -> bool:
        """Whether there was one under way; it is over now."""
        for call_id in ids:
            event = self._under_way.get(call_id)
            if event is not None:
                await event.wait()
                return True
        return False

    def _read(self, ids: Iterable[str], since_us: int) -> _Made | None:
        with self._readers.reading() as connection:
            for call_id in ids:
                made = self._made(connection, call_id, since_us)
                if made is not None:
                    return made
        return None

    def _made(self, connection: sqlite3.Connection, call_id: str, since_us: int) -> _Made | None:
        rows = connection.execute(OF_CALL, (call_id,))
        first: entries.Intent | None = None
        last: entries.Intent | None = None
        outcome: entries.Outcome | None = None
        for (body,) in rows:
            entry = entries.decode(body)
            if isinstance(entry, entries.Intent):
                first, last, outcome = (entry if entry.round == 1 else first), entry, None
            elif isinstance(entry, entries.Outcome) and last is not None and entry.intent == last.i:
                outcome = entry
        if first is None or last is None or first.t < since_us:
            return None
        return _Made(first, last, outcome, self._result(connection, outcome))

    def _result(
        self, connection: sqlite3.Connection, outcome: entries.Outcome | None
    ) -> bytes | None:
        if outcome is None or not outcome.result:
            return b""
        row = connection.execute(
            "SELECT nonce, sealed FROM payloads WHERE leaf = ?", (outcome.i,)
        ).fetchone()
        if row is None:
            return None
        for key in payload_keys(self._keys_dir):
            with suppress(InvalidTag):
                payload = unseal(key, outcome.i, *row)
                is_it = hashlib.sha256(payload).hexdigest() == outcome.result
                return payload[SALT_BYTES:] if is_it else None
        return None


def _came_to_nothing(made: _Made) -> bool:
    """Nothing reached the upstream, so that it can still be made."""
    outcome, intent = made.outcome, made.first
    if outcome is None or outcome.intent != intent.i:
        return False
    return outcome.status is Status.NOT_SENT or intent.hold.calls > outcome.used.calls


def _outcome(made: _Made, call: Call) -> Outcome:
    ended = made.outcome
    if ended is None or ended.status in _UNKNOWN:
        raise Refused(OUTCOME_UNKNOWN, made.first.call)
    if made.result is None:
        raise Refused(RESULT_GONE, made.first.call)
    is_error = ended.status is Status.RPC_ERROR
    return Outcome(
        status=ended.status,
        result=b"" if is_error else made.result,
        error=made.result if is_error else b"",
        code=ended.code,
        received_bytes=ended.bytes,
    )


def _call_id(call: Call, day: int) -> str:
    """As call ids are made (26 characters, sorted by their moment), of who calls and the key."""
    who = call.principal
    named = [who.tenant, who.subject, list(who.actors), call.key, day]
    digest = hashlib.sha256(b"idempotency\n" + json.dumps(named).encode()).digest()
    moment_ms = day * DAY_US // 1000
    number = moment_ms << 80 | int.from_bytes(digest[:10], "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
