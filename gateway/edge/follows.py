"""The resources that callers follow: each a call of its own, from intent to outcome, while it lasts."""

from __future__ import annotations

from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from gateway.domain.model import Approval, Call, Principal, Verdict
from gateway.edge.faults import log_fault
from gateway.edge.hearing import Follow, Hearing
from gateway.edge.house import House
from gateway.edge.ids import new_call_id
from gateway.edge.rooms import Rooms, who_of

MAX_FOLLOWED = 64  # by one principal, over all its streams and sessions
KNOWN_S = 10.0  # for a server to say that a resource is followed


class Follows:
    """All of one border; they live in the task group that `begin` is given."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._open: set[Follow] = set()
        self._rooms = Rooms(MAX_FOLLOWED)

    def room(self, principal: Principal) -> int:
        """How many more *principal* may follow."""
        return self._rooms.left(who_of(principal))

    async def begin(self, call: Call, hearing: Hearing, group: TaskGroup) -> Follow:
        """Follow the resource of *call*; returns when it is on, or when it is clear that it is not.

        Raises: Refused: TOO_MANY_STREAMS, which is not in the log yet.
        """
        follow = hearing.follows.get(call.name)
        if follow is None or follow.is_over:
            follow = self._opened(call, hearing)
            group.start_soon(self._keep, follow, hearing)
        try:
            with anyio.move_on_after(KNOWN_S):
                await follow.known.wait()
        finally:
            if not follow.known.is_set():  # whoever asked has left, or the server is silent
                follow.end()
        return follow

    def may(self, follow: Follow) -> bool:
        """Whether the policy in force now, and what is approved now, let its caller be told."""
        catalogue, call = self._house.catalogue(), follow.call
        now = catalogue.current(call)
        if now is None or now.approval is not Approval.APPROVED:
            return False
        if not catalogue.serves(call.server):
            return False
        if now is not call.definition:
            call = replace(call, definition=now)
        return self._house.policies.decide(call).verdict is Verdict.ALLOW

    def sweep(self, *, judge: bool) -> None:
        """End those whose credential is no longer good; with *judge*, those not allowed any more."""
        now_us = self._house.clock()
        for follow in self._open:
            is_live = self._house.identity.is_live(follow.call.principal, now_us)
            if not is_live or (judge and not self.may(follow)):
                follow.end()

    def end_all(self) -> None:
        for follow in self._open:
            follow.end()

    def _opened(self, call: Call, hearing: Hearing) -> Follow:
        self._rooms.take(who_of(call.principal))
        follow = Follow(replace(call, meta={}), hearing.box)  # nothing of it is sent on
        self._open.add(follow)
        hearing.follows[call.name] = follow
        return follow

    async def _keep(self, follow: Follow, hearing: Hearing) -> None:
        who, clock = who_of(follow.call.principal), self._house.clock
        try:
            await follow.keep(self._house.pipeline, lambda: new_call_id(clock()))
        except Exception as fault:  # noqa: BLE001 - it must not end what others listen to
            log_fault(fault, follow.call.id)
        finally:
            self._open.discard(follow)
            self._rooms.give_back(who)
            hearing.forget(follow)
