"""ListTasks: the caller's own, out of what the peer lists.

The peer lists what all callers of the gateway have there. A page of it is asked for, and what is
not in the book as the caller's is left out; so a page may hold fewer than were asked for, and the
next is where the peer says it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.domain.a2a import INTERRUPTED, TERMINAL, members_of
from gateway.domain.model import Call, Reply, Status
from gateway.domain.peer_task import Owner, is_id
from gateway.domain.refusal import BAD_CURSOR, UPSTREAM_BROKEN, Refused, bad_params
from gateway.edge.a2a.calls import ANY_SKILL, Calls, Request, raw
from gateway.edge.a2a.tasks import Tasks, Telling, decoded, told_tasks

MAX_PAGES = 10  # of the peer, for one of ours
_NOTED = TERMINAL | INTERRUPTED

Govern = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class _Page:
    tasks: list[Any]
    size: int
    next: str  # as the peer says it


class Listing:
    def __init__(self, tasks: Tasks, calls: Calls, new_call_id: Callable[[], str]) -> None:
        self._tasks = tasks
        self._calls = calls
        self._new_call_id = new_call_id

    async def listed(self, request: Request, call: Call, govern: Govern) -> Reply | bytes:
        """A page of what the caller has; or the reply in which the peer gave none.

        Raises: Refused: BAD_CURSOR, BAD_PARAMS; whatever *govern* refuses.
        """
        owner = Owner.of(request.principal)
        params = self._inward(request, owner)
        chosen = request.asked.params.get("contextId")
        contexts = {params["contextId"]: str(chosen)} if "contextId" in params else {}
        call = replace(call, definition=self._calls.card(request.peer), round=2)
        telling = self._tasks.telling(call, contexts=contexts)
        for _ in range(MAX_PAGES):
            reply = await govern(replace(call, params=raw(params)))
            if reply.outcome.status is not Status.OK:
                return reply
            page = _page(reply)
            own = await self._own(request, owner, telling, page)
            if own or not page.next:
                break
            params["pageToken"] = page.next
            call = replace(call, id=self._new_call_id())
        return msgspec.json.encode(
            {
                "tasks": own,
                "nextPageToken": self._cursor(owner, request.peer, page.next),
                "pageSize": page.size,
                "totalSize": await self._total(request, owner),
            }
        )

    def _inward(self, request: Request, owner: Owner) -> dict[str, Any]:
        said = request.asked.params
        params = {name: value for name, value in said.items() if name != "tenant"}
        ids, peer = self._tasks.ids, request.peer
        if params.get("contextId"):
            if not is_id(params["contextId"]):
                raise bad_params("contextId is no name of a context")
            params["contextId"] = ids.upstream_context(owner, peer, params["contextId"])
        else:
            params.pop("contextId", None)
        if params.get("pageToken"):
            token = ids.upstream_cursor(owner, peer, params["pageToken"])
            if token is None:
                raise Refused(BAD_CURSOR)
            params["pageToken"] = token
        return params

    async def _own(
        self, request: Request, owner: Owner, telling: Telling, page: _Page
    ) -> list[Any]:
        """Those of *page* that are the caller's, and of skills that it may still use."""
        ids, listed = self._tasks.ids, {}
        for one in page.tasks:
            if isinstance(one, dict) and is_id(one.get("id")):
                listed[ids.task(owner, request.peer, one["id"])] = one
        book = self._tasks.book
        known = await book.among(tuple(listed), owner) if listed else {}
        seen = {one.name for one in self._calls.skills(request.principal, request.peer)}
        own = []
        for task_id, one in listed.items():
            task = known.get(task_id)
            if task is None or task.peer != request.peer:
                continue
            if task.skill in seen or task.skill == ANY_SKILL:
                telling.learn(task)
                for told in told_tasks(one):
                    await telling.heard(told)
                own.append(telling.renamed(one))
        return own

    async def _total(self, request: Request, owner: Owner) -> int:
        said = request.asked.params
        status, context = said.get("status"), said.get("contextId")
        states = (
            frozenset({status}) if isinstance(status, str) and status in _NOTED else frozenset()
        )
        return await self._tasks.book.count(
            owner, request.peer, context if isinstance(context, str) else "", states
        )

    def _cursor(self, owner: Owner, peer: str, token: str) -> str:
        return self._tasks.ids.cursor(owner, peer, token) if token else ""


def _page(reply: Reply) -> _Page:
    """Raises: Refused: UPSTREAM_BROKEN."""
    members = members_of(decoded(reply.outcome.result, reply.call.id))
    tasks, size = members.get("tasks", []), members.get("pageSize", 0)
    token = members.get("nextPageToken", "")
    if not (isinstance(tasks, list) and isinstance(size, int) and isinstance(token, str)):
        raise Refused(UPSTREAM_BROKEN, reply.call.id)
    return _Page(tasks, size, token)
