"""An A2A request to the end of its call: governed, and answered in its own binding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.domain.model import Call, Reply, Status
from gateway.domain.refusal import (
    BY_ID,
    NOT_AUTHENTICATED,
    OUTCOME_UNWRITTEN,
    STOPPED,
    UNKNOWN_OBJECT,
    UPSTREAM_BROKEN,
    Refused,
)
from gateway.edge.a2a.calls import Calls, Made, Request
from gateway.edge.a2a.card import Press, has_extended
from gateway.edge.a2a.errors import NoCard, NoTask, Said, fault_said, said_by_peer, said_of
from gateway.edge.a2a.exchange import Exchange
from gateway.edge.a2a.listing import Listing
from gateway.edge.a2a.methods import Naming
from gateway.edge.a2a.tasks import Tasks
from gateway.edge.faults import log_fault
from gateway.edge.house import House
from gateway.edge.ids import new_call_id
from gateway.edge.line import Leave
from gateway.edge.ties import NO_TIES, tell_run
from gateway.store.ledger import LogUnavailable

CALL_HEADER = b"customhouse-call"
_CONFIGS = "PushNotificationConfig"


class Failed(Exception):
    """The call came to something that is not its result."""

    def __init__(self, said: Said) -> None:
        super().__init__(said.code)
        self.said = said


class Journey:
    def __init__(self, house: House, tasks: Tasks, calls: Calls, press: Press) -> None:
        self._house = house
        self._tasks = tasks
        self._calls = calls
        self._press = press
        self._listing = Listing(tasks, calls, lambda: new_call_id(house.clock()))

    async def answer(
        self,
        request: Callable[[], Request],
        exchange: Exchange,
        address: str,
        call_id: str,
        told: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Govern what *request* makes and write the answer, in the words of *told*.

        A fault ends here, and nothing of it is said.
        """
        try:
            asked = request()
            result = await exchange.unless_left(self.result(asked, exchange))
            if result is None:
                await self._end(exchange, address)
            elif asked.row.streams:
                await exchange.finish_stream(result)
            else:
                await exchange.finish(told(result))
        except Refused as refused:
            entered = await self.entered(refused, exchange, address)
            await exchange.fail(said_of(self._house.told(entered)))
        except Failed as failed:
            await exchange.fail(failed.said)
        except Exception as fault:  # noqa: BLE001 - the one place where faults end
            log_fault(fault, call_id)
            await exchange.fail(fault_said(call_id))

    async def entered(self, refused: Refused, exchange: Exchange, address: str) -> Refused:
        """The same refusal, in the log."""
        if not refused.call_id:
            refused.call_id = await self._house.pipeline.refuse(
                refused.refusal, exchange.principal, address, exchange.asked.method
            )
        return refused

    async def result(self, request: Request, exchange: Exchange) -> bytes:
        """What the caller is answered; b"": nothing more. Raises: Refused, Failed."""
        if request.row.naming is Naming.PEER:
            return await self._card(request)
        if request.row.naming is Naming.TASKS:
            self._calls.check_size(request)
            return await self._list(request, exchange)
        made = await self._calls.made(request)
        try:
            reply = await self._governed(made, exchange)
        except Refused as refused:
            if request.row.naming is Naming.TASK and refused.shown is UNKNOWN_OBJECT:
                raise NoTask(refused.call_id) from None  # as what is another's
            raise
        return await self._told(request, made, reply)

    # -- inside -----------------------------------------------------------------------------------

    async def _governed(self, made: Made, exchange: Exchange) -> Reply:
        call = self._tied(made.call, made.follows, exchange)
        exchange.telling = made.telling
        reply = await self._house.pipeline.govern(call, exchange, None, made.telling.admitted)
        if reply.is_replay:
            tell_run(exchange.headers, reply.call.run)  # an earlier answer may be of another
        exchange.headers.append((CALL_HEADER, reply.call.id.encode()))
        return reply

    def _tied(self, call: Call, follows: str, exchange: Exchange) -> Call:
        """*call*, as it belongs to its run; the watch is told."""
        exchange.run = call.run
        tell_run(exchange.headers, call.run)
        if call.parent and call.parent != follows and not self._house.is_caused(call):
            return replace(call, parent="")
        return call

    async def _told(self, request: Request, made: Made, reply: Reply) -> bytes:
        outcome = reply.outcome
        if outcome.status is not Status.OK:
            raise self._failed(reply, made)
        if request.row.streams and outcome.result in (b"", b"{}"):
            return b""
        try:
            if _CONFIGS in request.asked.method:
                return self._calls.configs(request, made, reply)
            return await made.telling.outward(outcome.result)
        except LogUnavailable as err:
            raise Refused(OUTCOME_UNWRITTEN, reply.call.id) from err

    def _failed(self, reply: Reply, made: Made) -> Failed:
        outcome = reply.outcome
        if outcome.status is Status.RPC_ERROR:
            return Failed(said_by_peer(made.telling.unnamed(outcome.error)))
        if made.telling.is_broken:  # what was told is why it was cut
            return Failed(said_of(Refused(UPSTREAM_BROKEN, reply.call.id)))
        if outcome.status is Status.CANCELLED:  # what came could not be made durable
            return Failed(said_of(Refused(OUTCOME_UNWRITTEN, reply.call.id)))
        row = BY_ID.get(outcome.code, UPSTREAM_BROKEN)
        return Failed(said_of(Refused(row, reply.call.id)))

    async def _card(self, request: Request) -> bytes:
        await self._house.pipeline.enter(self._calls.base(request, NO_TIES))
        pinned = self._calls.card(request.peer)
        if pinned is None or not has_extended(pinned):
            raise NoCard(request.call_id)
        skills = self._calls.skills(request.principal, request.peer)
        return self._press.body(request.peer, pinned, skills)

    async def _list(self, request: Request, exchange: Exchange) -> bytes:
        call = self._tied(self._calls.base(request, self._calls.ties(request, {})), "", exchange)

        async def govern(one: Call) -> Reply:
            return await self._house.pipeline.govern(one, exchange)

        try:
            found = await self._listing.listed(request, call, govern)
        except LogUnavailable as err:
            raise Refused(OUTCOME_UNWRITTEN, call.id) from err
        if isinstance(found, bytes):
            return found
        raise self._failed(found, Made(call, self._tasks.telling(call)))

    async def _end(self, exchange: Exchange, address: str) -> None:
        """Nobody waits for the answer any more, or may have it."""
        if exchange.left is Leave.GONE:
            return
        why = NOT_AUTHENTICATED if exchange.left is Leave.REVOKED else STOPPED
        await exchange.fail(said_of(await self.entered(Refused(why), exchange, address)))
