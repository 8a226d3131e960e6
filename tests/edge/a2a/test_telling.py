"""What one call may make the gateway write about tasks is bounded, whatever the peer says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from gateway.domain.model import Act, Call, CallClass, Kind
from gateway.domain.peer_task import Owner, PeerTask
from gateway.domain.refusal import Refused
from gateway.edge.a2a.tasks import MAX_ENTRIES, MAX_TASKS, Tasks, Telling
from tests.fakes import ALICE

pytestmark = pytest.mark.anyio


class Book:
    """Tasks in memory, and how often something was written."""

    def __init__(self) -> None:
        self.tasks: dict[str, PeerTask] = {}
        self.written = 0

    def reseal(self, state_key: bytes) -> None:
        return

    async def find(self, task_id: str, owner: Owner) -> PeerTask | None:
        return self.tasks.get(task_id)

    async def among(self, task_ids: Sequence[str], owner: Owner) -> dict[str, PeerTask]:
        return {one: self.tasks[one] for one in task_ids if one in self.tasks}

    async def count(self, owner: Owner, peer: str, context: str, states: frozenset[str]) -> int:
        return len(self.tasks)

    async def called(self, peer: str, upstream_id: str, owner: Owner) -> PeerTask | None:
        tasks = [task for task in self.tasks.values() if task.upstream_id == upstream_id]
        return tasks[0] if tasks else None

    async def remember(self, task: PeerTask) -> None:
        self.written += 1
        self.tasks[task.id] = task

    async def note(self, task: PeerTask, state: str) -> PeerTask:
        self.written += 1
        self.tasks[task.id] = noted = replace(task, state=state)
        return noted


def _telling(book: Book) -> Telling:
    call = Call(
        id="call-1",
        principal=ALICE,
        method="SendStreamingMessage",
        kind=Kind.PEER,
        server="billing",
        name="quote",
        act=Act.CALL,
        weight=CallClass.FULL,
    )
    return Tasks(book, bytes(32), lambda: 0, lambda: "1").telling(call)


def _event(task_id: str, state: str) -> bytes:
    task = {"id": task_id, "contextId": "c", "status": {"state": f"TASK_STATE_{state}"}}
    return msgspec.json.encode({"task": task})


async def test_a_peer_that_begins_ever_more_tasks_is_cut() -> None:
    book = Book()
    telling = _telling(book)
    for number in range(MAX_TASKS):
        await telling.outward(_event(f"t-{number}", "WORKING"))
    with pytest.raises(Refused, match="upstream_broken"):
        await telling.outward(_event("t-more", "WORKING"))
    assert book.written == MAX_TASKS
    assert telling.is_broken


async def test_a_peer_that_goes_to_and_fro_is_cut() -> None:
    book = Book()
    telling = _telling(book)
    for number in range(MAX_ENTRIES):
        await telling.outward(_event("t-1", "INPUT_REQUIRED" if number % 2 else "WORKING"))
    with pytest.raises(Refused, match="upstream_broken"):
        await telling.outward(_event("t-1", "WORKING"))
    assert book.written == MAX_ENTRIES


async def test_what_only_goes_on_is_not_written_again() -> None:
    book = Book()
    telling = _telling(book)
    for number in range(2 * MAX_ENTRIES):
        await telling.outward(_event("t-1", "SUBMITTED" if number % 2 else "WORKING"))
    await telling.outward(_event("t-1", "COMPLETED"))
    assert book.written == 2
    assert not telling.is_broken
