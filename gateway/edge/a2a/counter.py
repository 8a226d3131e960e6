"""What a peer tells of a task, brought to whoever asked to be told: a call of its own in the log.

The word in the URL is the credential: only the gateway makes one, and it stands for one caller at
one peer. It is good for as long as what the caller came with is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import Any, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.domain.a2a import PUSHED
from gateway.domain.model import Act, Call, CallClass, Kind, Outcome, Status
from gateway.domain.peer_task import Owner, PeerTask
from gateway.domain.refusal import (
    BY_ID,
    MALFORMED,
    NOT_AUTHENTICATED,
    RATE_LIMITED,
    STOPPED,
    UNKNOWN_METHOD,
    UNPARSABLE,
    UPSTREAM_UNREACHABLE,
    Refused,
)
from gateway.edge.a2a.asked import check_type, is_pushed, object_in, place_of
from gateway.edge.a2a.calls import Calls
from gateway.edge.a2a.errors import rest_answer, said_of
from gateway.edge.a2a.pace import Pace
from gateway.edge.a2a.push import Pushes, Target
from gateway.edge.a2a.tasks import Tasks, told_tasks
from gateway.edge.arrival import body_within, read_body
from gateway.edge.head import Head
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import respond, retry_after
from gateway.edge.reply import Answer

MAX_PUSH_BYTES = 1_048_576
_TAKEN = Answer(HTTPStatus.OK, b"{}")


class Undelivered(Exception):
    """Nobody was told; *code* is a row of domain/refusal.py."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Deliver(Protocol):
    async def __call__(self, peer: str, target: Target, body: bytes) -> None:
        """Tell the caller. Raises: Undelivered."""
        ...


@dataclass(slots=True)
class _Delivery:
    """One event on its way, between the two commits."""

    work: Callable[[], Awaitable[None]]
    n_bytes: int
    code: str = UPSTREAM_UNREACHABLE.id  # of what went wrong
    done: bool = False
    took_s: float = 0.0

    async def run(self) -> None:
        began_s = perf_counter()
        try:
            await self.work()
            self.done = True
        except Undelivered as failed:
            self.code = failed.code
        finally:
            self.took_s = perf_counter() - began_s

    def outcome(self) -> Outcome:
        if self.done:
            return Outcome(Status.OK, received_bytes=self.n_bytes, upstream_s=self.took_s)
        return Outcome(Status.FAILED, code=self.code, upstream_s=self.took_s)


class PushCounter:
    def __init__(
        self,
        house: House,
        settings: Settings,
        tasks: Tasks,
        pushes: Pushes,
        calls: Calls,
        deliver: Deliver,
    ) -> None:
        self._house = house
        self._settings = settings
        self._tasks = tasks
        self._pushes = pushes
        self._calls = calls
        self._deliver = deliver
        self._pace = Pace()

    def has(self, path: str) -> bool:
        place = place_of(path)
        return place is not None and is_pushed(place)

    async def serve(self, scope: Scope, receive: Receive, send: Send, head: Head) -> None:
        """Raises: Refused: whoever it is has no such word, or it is good for nothing any more."""
        place = place_of(scope["path"])
        word = place.rest.partition("/")[2] if place is not None else ""
        target = self._pushes.target(place.peer, word) if place is not None else None
        if place is None or target is None or not self._is_good(target, place.peer):
            raise Refused(NOT_AUTHENTICATED)
        if scope["method"] != "POST":
            raise Refused(UNKNOWN_METHOD)
        try:
            self._pace.take(place.peer, word, monotonic())
            event = await self._event(place.peer, receive, head)
            await self._told(place.peer, target, event)
        except Refused as refused:
            if not refused.call_id:
                refused.call_id = await self._refused(refused, target, scope)
            await respond(send, rest_answer(said_of(refused)), retry_after(refused))
            return
        await respond(send, _TAKEN, [])

    async def _refused(self, refused: Refused, target: Target, scope: Scope) -> str:
        """Enter it; what comes too soon is folded: it shall not hide what its owner is refused."""
        who = None if refused.refusal is RATE_LIMITED else target.who
        address = (scope.get("client") or ("",))[0]
        return await self._house.pipeline.refuse(refused.refusal, who, address, PUSHED)

    async def _told(self, peer: str, target: Target, event: bytes) -> None:
        """Raises: Refused: the peer may try it again, or never, as its status says."""
        task = await self._task(peer, target, event)
        call = self._call(peer, target, task, event)
        telling = self._tasks.telling(call, task)

        async def tell() -> None:
            await self._deliver(peer, target, await telling.outward(event))

        delivery = _Delivery(tell, len(event))
        await self._house.pipeline.attend(call, delivery)
        if not delivery.done:
            raise Refused(BY_ID[delivery.code], call.id)

    def _is_good(self, target: Target, peer: str) -> bool:
        house = self._house
        if not house.identity.is_live(target.who, house.clock()):
            return False
        if house.is_stopped(target.who, target.run, peer):
            raise Refused(STOPPED)
        return True

    async def _event(self, peer: str, receive: Receive, head: Head) -> bytes:
        check_type(head)
        async with body_within(self._settings.body_deadline_s):
            body = await read_body(receive, head, self._most(peer), lambda _n: None)
        object_in(body)
        return body

    def _most(self, peer: str) -> int:
        """Bytes of one event: no more than *peer* may answer."""
        view = self._house.catalogue().servers.get(peer)
        declared = view.rules.max_bytes if view is not None and view.rules is not None else 0
        return min(declared or MAX_PUSH_BYTES, MAX_PUSH_BYTES)

    async def _task(self, peer: str, target: Target, event: bytes) -> PeerTask:
        """The one task that *event* is about. Raises: Refused: none of whom it would be told to."""
        owner = Owner.of(target.who)
        try:
            said = msgspec.json.decode(event)
        except msgspec.DecodeError:
            raise Refused(UNPARSABLE) from None
        found: PeerTask | None = None
        for told in told_tasks(said):
            upstream_id: Any = told.get("taskId", told.get("id"))
            if not isinstance(upstream_id, str) or (found and found.upstream_id != upstream_id):
                break
            found = await self._tasks.book.find(
                self._tasks.ids.task(owner, peer, upstream_id), owner
            )
        if found is None:
            raise Refused(MALFORMED, detail={"problem": "it is about no task of whom it is for"})
        return found

    def _call(self, peer: str, target: Target, task: PeerTask, event: bytes) -> Call:
        return Call(
            id=new_call_id(self._house.clock()),
            principal=target.who,
            method=PUSHED,
            kind=Kind.PEER,
            server=peer,
            name=task.skill,
            act=Act.CALL,
            weight=CallClass.FULL,
            params={"event": event},
            definition=self._calls.skill(target.who, peer, task.skill),
            parent=task.call_id,
            round=2,  # not counted, and held to no budget: a part of what was asked for
        )
