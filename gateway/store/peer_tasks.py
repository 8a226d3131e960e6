"""Tasks of other agents, beside the log: each row is sealed, and none is believed that is not.

Rows are written with an entry, before anybody hears of the task:

    task.open   the task is there            task.state  somebody has to act, or it is over

There are too many of them to be held against the log one by one at each start, as agents and keys
are. Instead a row carries a MAC, under a key that is not in the database, over all that is in it and
over the names behind its pseudonyms: an edit from outside opens nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.domain.peer_task import Owner, PeerTask, Taken
from gateway.store.engine import Readers
from gateway.store.ledger import Ledger
from gateway.store.pseudonyms import SUBJECT, TENANT

OPEN, STATE = "task.open", "task.state"
_PURPOSE = b"customhouse tasks of peers 1"
_COLUMNS = (
    "id, peer, upstream_id, context, upstream_context, tenant, owner, actors,"
    " skill, policy_version, call_id, state, created_at, updated_at, seal"
)
_FIELDS = tuple(one.name for one in fields(PeerTask))  # in the order of the columns
# A task that is there already is left as it is: whoever lost the race says the same of it.
_INSERT = "INSERT OR IGNORE INTO peer_tasks VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_UPDATE = "UPDATE peer_tasks SET state = ?, updated_at = ?, seal = ? WHERE id = ?"
_CALLED = f"SELECT {_COLUMNS} FROM peer_tasks WHERE peer = ? AND upstream_id = ?"  # noqa: S608
_COUNT = "SELECT COUNT(*) FROM peer_tasks WHERE owner = ? AND peer = ?"


class PeerTasks:
    def __init__(
        self, readers: Readers, ledger: Ledger, state_key: bytes, clock: Callable[[], int]
    ) -> None:
        self._readers = readers
        self._ledger = ledger
        self._clock = clock
        self._key = _derived(state_key)

    def reseal(self, state_key: bytes) -> None:
        """Believe another key from here on; the rows there are open nothing any more."""
        self._key = _derived(state_key)

    async def find(self, task_id: str, owner: Owner) -> PeerTask | None:
        """The task of that id, if it is *owner*'s."""
        return (await self.among((task_id,), owner)).get(task_id)

    async def among(self, task_ids: Sequence[str], owner: Owner) -> dict[str, PeerTask]:
        """Those of *task_ids* that are *owner*'s, by id."""
        marks = ",".join("?" for _ in task_ids)
        statement = f"SELECT {_COLUMNS} FROM peer_tasks WHERE id IN ({marks})"  # noqa: S608 - marks
        rows = await asyncio.to_thread(self._read, statement, tuple(task_ids))
        found = (self._opened(row, owner) for row in rows)
        return {task.id: task for task in found if task is not None}

    async def count(self, owner: Owner, peer: str, context: str, states: frozenset[str]) -> int:
        """How many *owner* has at *peer*, of *context* and in *states* where these are given."""
        statement, values = _COUNT, [self._ledger.pseudonyms.known(SUBJECT, owner.subject), peer]
        if context:
            statement, values = f"{statement} AND context = ?", [*values, context]
        if states:
            marks = ",".join("?" for _ in states)
            statement, values = f"{statement} AND state IN ({marks})", [*values, *sorted(states)]
        [(n_tasks,)] = await asyncio.to_thread(self._read, statement, tuple(values))
        return int(n_tasks)

    async def called(self, peer: str, upstream_id: str, owner: Owner) -> PeerTask | None:
        """What *peer* calls so, if it is *owner*'s; None: nobody's. Raises: Taken."""
        rows = await asyncio.to_thread(self._read, _CALLED, (peer, upstream_id))
        tasks = [self._opened(row, owner) for row in rows]
        if None in tasks:
            raise Taken
        return tasks[0] if tasks else None

    async def remember(self, task: PeerTask) -> None:
        """Make *task* durable; it is known when this returns. Raises: LogUnavailable."""
        row = self._row(task)
        note = f"{task.id} {task.skill} at {task.peer}, made by call {task.call_id}"
        await self._ledger.change(
            OPEN,
            task.owner.subject,
            digest=digest_of(task.id),
            note=note,
            effects=((_INSERT, (*row, self._seal(row, task.owner))),),
        )

    async def note(self, task: PeerTask, state: str) -> PeerTask:
        """Make the state of *task* durable. Raises: LogUnavailable."""
        noted = replace(task, state=state, updated_us=self._clock())
        seal = self._seal(self._row(noted), task.owner)
        await self._ledger.change(
            STATE,
            task.owner.subject,
            digest=digest_of(task.id),
            note=f"{task.id} {state}",
            effects=((_UPDATE, (state, noted.updated_us, seal, task.id)),),
        )
        return noted

    def _read(self, statement: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        with self._readers.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def _row(self, task: PeerTask) -> tuple[str | int, ...]:
        of, owner = self._ledger.pseudonyms.of, task.owner
        return (
            task.id,
            task.peer,
            task.upstream_id,
            task.context,
            task.upstream_context,
            of(TENANT, owner.tenant),
            of(SUBJECT, owner.subject),
            json.dumps([of(SUBJECT, actor) for actor in owner.actors]),
            task.skill,
            task.policy_version,
            task.call_id,
            task.state,
            task.created_us,
            task.updated_us,
        )

    def _seal(self, row: Sequence[str | int], owner: Owner) -> bytes:
        said = json.dumps([*row, *owner], separators=(",", ":"))
        return hmac.new(self._key, said.encode(), hashlib.sha256).digest()

    def _opened(self, stored: Sequence[Any], owner: Owner) -> PeerTask | None:
        """What a row says, if the gateway wrote it so, for *owner*."""
        *row, seal = stored
        if not isinstance(seal, bytes) or not hmac.compare_digest(seal, self._seal(row, owner)):
            return None
        # The MAC is over the names. Once one was erased, its pseudonym is somebody else's.
        if row[6] != self._ledger.pseudonyms.known(SUBJECT, owner.subject):
            return None
        said = (*row[:5], owner, *row[8:])
        return PeerTask(**dict(zip(_FIELDS, said, strict=True)))


def digest_of(task_id: str) -> str:
    """By which entries about a task are found by whoever knows its id."""
    return hashlib.sha256(b"task/" + task_id.encode()).hexdigest()


def _derived(state_key: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(state_key)
