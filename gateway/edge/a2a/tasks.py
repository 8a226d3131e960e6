"""Tasks on their way across the border: inward by the names their owner has, outward by them again.

A task is in the book before its id is told to anybody; so is a state in which somebody has to act,
and the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gateway.domain.a2a import INTERRUPTED, TERMINAL, state_of, with_ids
from gateway.domain.model import Call, Principal
from gateway.domain.peer_task import Owner, PeerTask, Taken, is_id
from gateway.domain.refusal import UPSTREAM_BROKEN, Refused
from gateway.edge.a2a.errors import NoTask
from gateway.edge.a2a.ids import Ids

_NOTED = TERMINAL | INTERRUPTED
MAX_TASKS = 64  # that one call may begin
MAX_ENTRIES = 200  # about tasks, of one call


class TaskBook(Protocol):
    """What is kept of tasks. What was written is durable when it returns; Raises: LogUnavailable."""

    def reseal(self, state_key: bytes) -> None: ...

    async def find(self, task_id: str, owner: Owner) -> PeerTask | None: ...

    async def among(self, task_ids: Sequence[str], owner: Owner) -> dict[str, PeerTask]:
        """Those of *task_ids* that are *owner*'s."""
        ...

    async def count(self, owner: Owner, peer: str, context: str, states: frozenset[str]) -> int:
        """How many *owner* has at *peer*; "" and no states: whichever."""
        ...

    async def called(self, peer: str, upstream_id: str, owner: Owner) -> PeerTask | None:
        """What *peer* calls so, if it is *owner*'s; None: nobody's. Raises: Taken."""
        ...

    async def remember(self, task: PeerTask) -> None: ...

    async def note(self, task: PeerTask, state: str) -> PeerTask: ...


class Tasks:
    """Whose is what. *clock*: microseconds since the epoch; *policy*: the version in force."""

    def __init__(
        self,
        book: TaskBook,
        state_key: bytes,
        clock: Callable[[], int],
        policy: Callable[[], str],
    ) -> None:
        self.book = book
        self.ids = Ids(state_key)
        self.clock = clock
        self.policy = policy

    def reseal(self, state_key: bytes) -> None:
        """What was made before opens nothing any more."""
        self.ids = Ids(state_key)
        self.book.reseal(state_key)

    async def own(self, who: Principal, peer: str, task_id: object) -> PeerTask:
        """The task that *who* calls so. Raises: NoTask, whatever is wrong with it."""
        owner = Owner.of(who)
        upstream_id = self.ids.upstream_task(owner, peer, task_id)
        task = await self.book.find(str(task_id), owner) if upstream_id is not None else None
        if task is None or (task.upstream_id, task.peer) != (upstream_id, peer):
            raise NoTask
        return task

    def telling(
        self, call: Call, task: PeerTask | None = None, contexts: Mapping[str, str] | None = None
    ) -> Telling:
        """Of one call, about *task*; *contexts*: names that the caller has chosen, by the peer's."""
        return Telling(self, call, task, contexts or {})


class Telling:
    """What a peer says in one call, made into what its caller may hear."""

    def __init__(
        self,
        tasks: Tasks,
        call: Call,
        task: PeerTask | None,
        contexts: Mapping[str, str],
    ) -> None:
        self._tasks = tasks
        self._call = call
        self._owner = Owner.of(call.principal)
        self._about = task  # None: the call may begin any number
        self._known = {task.upstream_id: task} if task is not None else {}
        self._contexts = dict(contexts)
        self._n_new = self._n_entries = 0
        self.is_broken = False  # it said what it may not, or too much
        if task is not None:
            self._contexts[task.upstream_context] = task.context

    async def outward(self, said: bytes) -> bytes:
        """*said* as the caller may hear it, once what it tells of tasks is durable.

        Raises: Refused: UPSTREAM_BROKEN. LogUnavailable.
        """
        answer = decoded(said, self._call.id)
        for one in told_tasks(answer):
            await self.heard(one)
        return msgspec.json.encode(self.renamed(answer))

    def renamed(self, answer: Any) -> Any:
        """Raises: Refused: UPSTREAM_BROKEN: an id that is none."""
        return with_ids(answer, self.task_name, self.context_name)

    def unnamed(self, error: bytes) -> bytes:
        """An error of the peer, in which the task has its caller's name."""
        task = self._about
        if task is None or len(task.upstream_id) < 8:  # a short one may be part of any word
            return error
        return error.replace(task.upstream_id.encode(), task.id.encode())

    def learn(self, task: PeerTask) -> None:
        """Hear of a task that is known already."""
        self._known[task.upstream_id] = task
        self._contexts[task.upstream_context] = task.context

    async def heard(self, told: Mapping[str, Any]) -> None:
        """Keep what is told of one task. Raises: as `outward`."""
        upstream_id = told.get("taskId", told.get("id"))
        state = state_of(told)
        task = self._known.get(upstream_id) if isinstance(upstream_id, str) else None
        if task is None:
            task = await self._new(upstream_id, told.get("contextId"), state)
        elif _is_worth_noting(task.state, state):
            task = await self._noted(task, state)
        self._known[task.upstream_id] = task

    async def _new(self, upstream_id: Any, context: Any, state: str) -> PeerTask:
        if self._about is not None and self._call.method not in _BEGIN:
            raise self._broken()  # it was asked about another
        context = context if context is not None else ""
        if not is_id(upstream_id) or not (context == "" or is_id(context)):
            raise self._broken()
        self._n_new += 1
        if self._n_new > MAX_TASKS:
            raise self._broken()
        book = self._tasks.book
        try:
            known = await book.called(self._call.server, upstream_id, self._owner)
        except Taken:
            raise self._broken() from None
        if known is not None:
            return (
                await self._noted(known, state) if _is_worth_noting(known.state, state) else known
            )
        now_us = self._tasks.clock()
        task = PeerTask(
            id=self.task_name(upstream_id),
            peer=self._call.server,
            upstream_id=upstream_id,
            context=self.context_name(context) if context else "",
            upstream_context=context,
            owner=self._owner,
            skill=self._call.name,
            policy_version=self._tasks.policy(),
            call_id=self._call.id,
            state=state,
            created_us=now_us,
            updated_us=now_us,
        )
        self._count()
        await book.remember(task)
        return task

    async def _noted(self, task: PeerTask, state: str) -> PeerTask:
        self._count()
        return await self._tasks.book.note(task, state)

    def _count(self) -> None:
        """One entry more. Raises: Refused: UPSTREAM_BROKEN: a peer may not fill the log."""
        self._n_entries += 1
        if self._n_entries > MAX_ENTRIES:
            raise self._broken()

    def admitted(self, call: Call) -> None:
        """The call is known as *call* in the log: a key gives it another id."""
        self._call = call

    def task_name(self, upstream_id: str) -> str:
        if not is_id(upstream_id):
            raise self._broken()
        return self._tasks.ids.task(self._owner, self._call.server, upstream_id)

    def context_name(self, upstream_context: str) -> str:
        own = self._contexts.get(upstream_context)
        if own is not None:
            return own
        if not is_id(upstream_context):
            raise self._broken()
        return self._tasks.ids.context(self._owner, self._call.server, upstream_context)

    def _broken(self) -> Refused:
        self.is_broken = True
        return Refused(UPSTREAM_BROKEN, self._call.id)


_BEGIN = frozenset({"SendMessage", "SendStreamingMessage", "tools/call"})


def decoded(said: bytes, call_id: str) -> Any:
    """Raises: Refused: UPSTREAM_BROKEN."""
    try:
        return msgspec.json.decode(said)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Refused(UPSTREAM_BROKEN, call_id) from None


def told_tasks(answer: Any) -> Iterator[Mapping[str, Any]]:
    """Each task that an answer or an event is about, as far as it tells of it."""
    if not isinstance(answer, dict):
        return
    for member in ("task", "statusUpdate", "artifactUpdate"):
        if isinstance(answer.get(member), dict):
            yield answer[member]
    if isinstance(answer.get("message"), dict) and answer["message"].get("taskId"):
        said = answer["message"]
        yield {"taskId": said["taskId"], "contextId": said.get("contextId")}
    if "status" in answer and "id" in answer:
        yield answer


def _is_worth_noting(known: str, state: str) -> bool:
    if not state or state == known or known in TERMINAL:
        return False
    return state in _NOTED or known in INTERRUPTED
