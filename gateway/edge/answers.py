"""The one way from an exchange to its answer; both legs of the border call it, and nothing else."""

from __future__ import annotations

import traceback
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from secrets import token_hex

import structlog

from gateway.domain.model import Call, CallClass, Reply, Status
from gateway.domain.refusal import BAD_STATE, NOT_AUTHENTICATED, OUTCOME_UNWRITTEN, Refused
from gateway.edge.authn import CHALLENGE
from gateway.edge.calls import Place, to_call
from gateway.edge.errors import Asking, failed_answer, fault_answer, refused_answer
from gateway.edge.exchange import Exchange, Leave
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.lists import Lists
from gateway.edge.methods import find_method
from gateway.edge.reply import Answer, Identification, final_result, result_frame, upstream_state
from gateway.edge.state import States
from gateway.edge.strict import Message

_GIVEN = frozenset({Status.OK, Status.TOOL_ERROR, Status.INPUT_REQUIRED})
_NOBODY = Answer(499, b"")  # the caller has left; nobody reads this
_STATE = "requestState"

log = structlog.get_logger()


class Answers:
    def __init__(self, house: House, settings: Settings) -> None:
        self._house = house
        self._own = Identification.of(settings.version)
        self._states = States(house.state_key, token_hex(16))
        self.lists = Lists(self.place, self._own, settings.max_list_bytes)

    def place(self) -> Place:
        return Place(self._house.catalogue(), self._house.policies.current)

    async def answer(self, exchange: Exchange) -> Answer:
        """Govern the request of *exchange* and say what came of it; never raises but to be cancelled.

        A fault is caught here, once, and nothing of it reaches the caller but a call id.
        """
        asked = exchange.asked
        exchange.governed = True
        message = asked.message
        asking = Asking(message.id, message.method, asked.client.modern, _uri_asked(message))
        call_id = new_call_id(self._house.clock())
        try:
            return await self._governed(exchange, asking, call_id)
        except Refused as refused:
            return refused_answer(refused, asking, self._own)
        except Exception as fault:  # noqa: BLE001 - the one place where faults end
            log_fault(fault, call_id)
            return fault_answer(asking, call_id)

    async def notified(self, exchange: Exchange) -> Answer:
        """Rate a notification: 202, or an HTTP status that says no, since no message may.

        Raises: Refused: the refusal itself could not be logged.
        """
        asked = exchange.asked
        exchange.governed = True
        asking = Asking(b"", asked.message.method, asked.client.modern)
        call_id = new_call_id(self._house.clock())
        try:
            row = find_method(asked.message.method, modern=asked.client.modern, notifies=True)
            call = to_call(asked, row, self.place(), call_id)
        except Refused as refused:
            told = await self.entered(refused, exchange)
            return self._refused(told, asking, HTTPStatus.BAD_REQUEST)
        try:
            await self._house.pipeline.rate(call)
        except Refused as refused:
            return self._refused(refused, asking, HTTPStatus.TOO_MANY_REQUESTS)
        return Answer(HTTPStatus.ACCEPTED, b"")

    async def entered(self, refused: Refused, exchange: Exchange) -> Refused:
        """Log a refusal for which there is no call; the same refusal with its call id."""
        asked = exchange.asked
        call_id = await self._house.pipeline.refuse(
            refused.refusal, asked.principal, exchange.address, asked.message.method
        )
        return Refused(refused.refusal, call_id, refused.detail)

    async def _governed(self, exchange: Exchange, asking: Asking, call_id: str) -> Answer:
        try:
            call = self._call(exchange, call_id)
        except Refused as refused:
            raise await self.entered(refused, exchange) from None
        if call.weight is CallClass.FULL:
            return await self._full(call, exchange, asking)
        if call.weight is CallClass.FREE:
            await self._house.pipeline.rate(call)
            return Answer(200, result_frame(asking.id, b"{}"))
        await self._house.pipeline.enter(call)
        try:
            return Answer(200, result_frame(asking.id, self._own_result(call, exchange)))
        except Refused as refused:
            raise await self.entered(refused, exchange) from None

    # -- calls that an upstream answers -----------------------------------------------------------

    async def _full(self, call: Call, exchange: Exchange, asking: Asking) -> Answer:
        govern = self._house.pipeline.govern if call.round == 1 else self._later_round
        reply = await exchange.unless_left(govern(call, exchange))
        if reply is None:
            return await self._abandoned(exchange, asking)
        if reply.outcome.status in _GIVEN:
            result = final_result(reply, self._own, self._sealed(reply))
            return Answer(200, result_frame(asking.id, result))
        return failed_answer(reply, asking, self._own)

    async def _later_round(self, call: Call, exchange: Exchange) -> Reply:
        token = exchange.asked.message.params[_STATE]
        try:
            self._states.spend(token, self._house.clock())
        except Refused as refused:
            raise await self.entered(refused, exchange) from None
        try:
            return await self._house.pipeline.govern(call, exchange)
        except Refused as refused:
            if refused.refusal is not OUTCOME_UNWRITTEN:  # then the call was made
                self._states.restore(token)
            raise

    def _sealed(self, reply: Reply) -> str:
        """Our requestState, also around none: without it the next round would be a new call."""
        if reply.outcome.status is not Status.INPUT_REQUIRED or not reply.call.client.modern:
            return ""
        state = upstream_state(reply.outcome.result)
        return self._states.seal(reply.call, state, self._house.clock())

    async def _abandoned(self, exchange: Exchange, asking: Asking) -> Answer:
        if exchange.left is not Leave.REVOKED:
            return _NOBODY
        exchange.headers.append(CHALLENGE)
        refused = await self.entered(Refused(NOT_AUTHENTICATED), exchange)
        return self._refused(refused, asking, HTTPStatus.UNAUTHORIZED)

    def _refused(self, refused: Refused, asking: Asking, status: HTTPStatus) -> Answer:
        return refused_answer(refused, asking, self._own)._replace(status=status)

    # -- calls --------------------------------------------------------------------------------------

    def _call(self, exchange: Exchange, call_id: str) -> Call:
        asked = exchange.asked
        row = find_method(asked.message.method, modern=asked.client.modern, notifies=False)
        call = to_call(asked, row, self.place(), call_id)
        if row.in_rounds and _STATE in call.params:
            return self._continued(call, asked.message.params[_STATE])
        return call

    def _continued(self, call: Call, token: object) -> Call:
        """The same call, as the round that its requestState continues."""
        params = dict(call.params)
        del params[_STATE]
        if token is None:
            return replace(call, params=params)
        if not call.client.modern:
            raise Refused(BAD_STATE)
        begun = self._states.open(token, call, self._house.clock())
        if begun.state:
            params[_STATE] = begun.state
        return replace(call, id=begun.call_id, round=begun.number, params=params)

    def _own_result(self, call: Call, exchange: Exchange) -> bytes:
        if call.method == "server/discover":
            return self.lists.discovered(call)
        if call.method == "initialize":
            return self.lists.initialized(call, exchange.negotiated)
        return self.lists.result(call, exchange.asked.message.params.get("cursor"))


def log_fault(fault: BaseException, call_id: str) -> None:
    """Where it broke, and what kind of error; never its text, which may quote an argument."""
    frames = traceback.extract_tb(fault.__traceback__)[-8:]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("edge_fault", call_id=call_id, error=type(fault).__name__, places=places)


def _uri_asked(message: Message) -> str:
    uri = message.params.get("uri") if message.method == "resources/read" else ""
    return uri if isinstance(uri, str) else ""
