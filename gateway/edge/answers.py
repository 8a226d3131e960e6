"""The one way from an exchange to its answer; both legs of the border call it, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from secrets import token_hex

from gateway.domain.asking import Ask
from gateway.domain.model import Act, Call, CallClass, Kind, Outcome, Reply, Status
from gateway.domain.refusal import (
    BAD_STATE,
    DENIED,
    INSUFFICIENT_SCOPE,
    NOT_AUTHENTICATED,
    OUTCOME_UNKNOWN,
    OUTCOME_UNWRITTEN,
    STOPPED,
    UPSTREAM_TIMEOUT,
    Refused,
)
from gateway.edge.a2a.tools import inward, outward
from gateway.edge.asks import Respondent
from gateway.edge.authn import CHALLENGE
from gateway.edge.calls import Place, to_call
from gateway.edge.errors import (
    Asking,
    cancelled_answer,
    door_answer,
    ended_answer,
    failed_answer,
    fault_answer,
    refused_answer,
)
from gateway.edge.exchange import Exchange
from gateway.edge.faults import log_fault
from gateway.edge.hearing import Hearing
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.levels import read_level
from gateway.edge.line import Leave
from gateway.edge.lists import Lists
from gateway.edge.methods import Naming, find_method
from gateway.edge.reply import Answer, Identification, final_result, result_frame, upstream_state
from gateway.edge.rounds import Govern, Unbridged, bridged
from gateway.edge.search import Searches, asked_really, is_inner
from gateway.edge.state import States, spent_mark
from gateway.edge.stream import Stream, final_result_of
from gateway.edge.strict import Message
from gateway.edge.subscriptions import Subscriptions
from gateway.edge.tasks import METHODS as TASK_METHODS
from gateway.edge.tasks import Tasks
from gateway.edge.ties import NewRuns

_GIVEN = frozenset({Status.OK, Status.TOOL_ERROR, Status.INPUT_REQUIRED})
_NOBODY = Answer(499, b"")  # the caller has left; nobody reads this
_STATE = "requestState"
_NOTHING = b"{}"


class Answers:
    def __init__(self, house: House, settings: Settings) -> None:
        self._house = house
        self.runs = NewRuns(house.state_key, house.clock)
        self._own = Identification.of(settings.version)
        self._states = States(house.state_key, token_hex(16))
        self._tasks = Tasks(house.state_key)
        self.lists = Lists(self.place, self._own, settings.max_list_bytes)
        self._searches = Searches(self.place, self._own)
        self.subscriptions = Subscriptions(house, settings, self.place)

    def reseal(self, state_key: bytes) -> None:
        self._states = States(state_key, token_hex(16))
        self._tasks = Tasks(state_key)
        self.runs.reseal(state_key)
        if self._house.elicitation is not None:
            self._house.elicitation.reseal(state_key)

    def place(self) -> Place:
        house = self._house
        return Place(house.catalogue(), house.policies.current, house.toolsets)

    async def answer(self, exchange: Exchange) -> Answer:
        """Govern the request of *exchange* and say what came of it; never raises but to be cancelled.

        A fault is caught here, once, and nothing of it reaches the caller but a call id.
        """
        asked, message = exchange.asked, exchange.asked.message
        exchange.governed = True
        uri, inner = _uri_asked(message), is_inner(asked)
        asking = Asking(message.id, message.method, asked.client.modern, uri, inner)
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

    async def attended(self, exchange: Exchange, hearing: Hearing) -> Answer:
        """Keep the stream that a session asked for with GET; what is said after its end is nothing."""
        asked = exchange.asked
        call = Call(
            id=new_call_id(self._house.clock()),
            principal=asked.principal,
            method=asked.message.method,
            kind=Kind.SERVER,
            server=asked.server,
            name="*",
            act=Act.SUBSCRIBE,
            weight=CallClass.FULL,
            client=asked.client,
        )
        try:
            stream = self.subscriptions.attend(call, exchange, hearing)
            if not await self._attend(stream) and exchange.left is Leave.REVOKED:
                await self.entered(Refused(NOT_AUTHENTICATED), exchange)
        except Refused as refused:
            told = refused if refused.call_id else await self.entered(refused, exchange)
            return door_answer(told)
        except Exception as fault:  # noqa: BLE001 - as in `answer`
            log_fault(fault, call.id)
        return Answer(HTTPStatus.OK, b"")

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
        if call.weight is CallClass.FREE:
            return await self._free(call, exchange, asking)
        if call.act is Act.SUBSCRIBE:
            return await self._subscribed(call, exchange, asking)
        if call.weight is CallClass.FULL:
            return await self._with_consent(call, exchange, asking)
        await self._house.pipeline.enter(call)
        try:
            return Answer(200, result_frame(asking.id, await self._own_result(call, exchange)))
        except Refused as refused:
            raise await self.entered(refused, exchange) from None

    async def _free(self, call: Call, exchange: Exchange, asking: Asking) -> Answer:
        await self._house.pipeline.rate(call)
        hearing = exchange.asked.hearing
        if hearing is not None and call.method == "resources/unsubscribe":
            self.subscriptions.unfollow(call.name, hearing)
        if hearing is not None and call.method == "logging/setLevel":
            try:
                hearing.level = read_level(exchange.asked.message.params)
            except Refused as refused:
                raise await self.entered(refused, exchange) from None
        return Answer(200, result_frame(asking.id, _NOTHING))

    # -- subscriptions ----------------------------------------------------------------------------

    async def _subscribed(self, call: Call, exchange: Exchange, asking: Asking) -> Answer:
        if exchange.asked.hearing is not None:
            return await self._followed(call, exchange, asking, exchange.asked.hearing)
        try:
            stream = self.subscriptions.listen(call, exchange)
        except Refused as refused:
            raise await self.entered(refused, exchange) from None
        if not await self._attend(stream):
            return await self._abandoned(exchange, asking)
        return Answer(200, result_frame(asking.id, final_result_of(stream)))

    async def _followed(
        self, call: Call, exchange: Exchange, asking: Asking, hearing: Hearing
    ) -> Answer:
        """What a session is told when it asks to be told of a resource."""
        if call.name in hearing.follows:
            await self._house.pipeline.rate(call)  # nothing comes of it that is not there already
        try:
            follow = await exchange.unless_left(self.subscriptions.follow(call, hearing))
        except Refused as refused:
            raise await self.entered(refused, exchange) from None
        if follow is None:
            return await self._abandoned(exchange, asking)
        if follow.is_on:
            return Answer(200, result_frame(asking.id, _NOTHING))
        if follow.reply is not None:
            return failed_answer(follow.reply, asking, self._own)
        raise follow.refused or Refused(UPSTREAM_TIMEOUT, call.id)

    async def _attend(self, stream: Stream) -> bool:
        """Whether *stream* came to its end; else its caller has left, or may not stay."""
        attending = self._house.pipeline.attend(stream.call, stream)
        try:
            return await stream.exchange.unless_left(attending) is not None
        finally:
            self.subscriptions.close(stream)

    # -- calls that an upstream answers -----------------------------------------------------------

    async def _with_consent(self, call: Call, exchange: Exchange, asking: Asking) -> Answer:
        """`_full`, for callers who may be told to wait until somebody approves the call."""
        waits, begun = self._house.elicitation, None
        if waits is not None:
            try:
                begun = waits.begun(call, exchange.asked.message.params, self._house.clock())
            except Refused as refused:
                raise await self.entered(refused, exchange) from None
            if begun is not None:
                await exchange.unless_left(waits.wait(begun))
        try:
            return await self._full(call, exchange, asking)
        except Refused as refused:
            if waits is None:
                raise self._stepped_up(refused, call, exchange) from None
            question = waits.question(refused, call, begun, self._own, self._house.clock())
            if question is not None:
                return Answer(200, result_frame(asking.id, question), is_refusal=True)
            raise self._stepped_up(waits.told(refused), call, exchange) from None

    async def _full(self, call: Call, exchange: Exchange, asking: Asking) -> Answer:
        across = self._of_peer if call.kind is Kind.PEER else self._across
        reply = await exchange.unless_left(across(call, exchange))
        if reply is None:
            return await self._abandoned(exchange, asking)
        if reply.outcome.status in _GIVEN:
            try:
                task = self._tasks.name_in(reply, exchange.asked)
            except Refused as refused:
                raise await self.entered(refused, exchange) from None
            result = final_result(reply, self._own, self._sealed(reply), task)
            return Answer(200, result_frame(asking.id, result))
        return failed_answer(reply, asking, self._own)

    async def _of_peer(self, call: Call, exchange: Exchange) -> Reply:
        """As `_across`, of a skill of a peer: its tasks have other names there."""
        tasks = self._house.peer_tasks
        if tasks is None:
            return await self._across(call, exchange)
        view = self._house.catalogue().servers.get(call.server)
        # What a rule says of a skill that the caller does not see would tell that it is there.
        seen = call.definition is not None and self.place().snapshot.visible(
            call.principal, [call.definition]
        )
        rules = view.rules if view is not None and seen else None
        try:
            call, telling = await inward(tasks, call, rules)
            return await outward(telling, await self._across(call, exchange))
        except Refused as refused:
            raise refused if refused.call_id else await self.entered(refused, exchange) from None

    async def _across(self, call: Call, exchange: Exchange) -> Reply:
        """Govern *call*; where its caller cannot ask for the next round, make that for it."""
        respondent = Respondent(exchange, exchange.asks)

        async def govern(one: Call) -> Reply:
            return exchange.told(await self._house.pipeline.govern(one, exchange, respondent))

        if call.client.modern:
            if call.round > 1 and call.method not in TASK_METHODS:
                return await self._later_round(call, exchange, govern)
            return await govern(call)

        async def question(one: Call, ask: Ask) -> Outcome:
            return await self._house.pipeline.question(one, ask, respondent)

        first = await govern(call)
        if first.is_replay and first.outcome.status is Status.INPUT_REQUIRED:
            # Its rounds are under way in the name of whoever came first: they are not begun again.
            raise await self.entered(Refused(OUTCOME_UNKNOWN, first.call.id), exchange)
        try:
            return await bridged(first, question, govern)
        except Unbridged as ended:
            raise await self.entered(ended.refused, exchange) from None

    async def _later_round(self, call: Call, exchange: Exchange, govern: Govern) -> Reply:
        mark = spent_mark(call)
        try:
            self._states.spend(mark, call.principal, self._house.clock())
        except Refused as refused:
            raise await self.entered(refused, exchange) from None
        try:
            return await govern(call)
        except Refused as refused:
            if refused.refusal is not OUTCOME_UNWRITTEN:  # then the call was made
                self._states.restore(mark)
            raise

    def _sealed(self, reply: Reply) -> str:
        """Our requestState, also around none: without it the next round would be a new call."""
        if reply.outcome.status is not Status.INPUT_REQUIRED or not reply.call.client.modern:
            return ""
        state = upstream_state(reply.outcome.result)
        return self._states.seal(reply.call, state, self._house.clock())

    async def _abandoned(self, exchange: Exchange, asking: Asking) -> Answer:
        if exchange.left is Leave.CANCELLED:
            return cancelled_answer(asking)
        if exchange.left is Leave.ENDED:
            return ended_answer()
        if exchange.left is Leave.STOPPED:
            stopped = await self.entered(Refused(STOPPED), exchange)
            return self._refused(stopped, asking, HTTPStatus.SERVICE_UNAVAILABLE)
        if exchange.left is not Leave.REVOKED:
            return _NOBODY
        oauth, endpoint = self._house.oauth, exchange.asked.endpoint
        challenge = oauth.challenge(endpoint, presented=True) if oauth is not None else CHALLENGE
        exchange.headers.append(challenge)
        refused = await self.entered(Refused(NOT_AUTHENTICATED), exchange)
        return self._refused(refused, asking, HTTPStatus.UNAUTHORIZED)

    def _refused(self, refused: Refused, asking: Asking, status: HTTPStatus) -> Answer:
        return refused_answer(refused, asking, self._own)._replace(status=status)

    def _stepped_up(self, refused: Refused, call: Call, exchange: Exchange) -> Refused:
        """The same, or what makes a client of OAuth ask for the wider token that would help.

        Only of what the caller may see: what is hidden is refused as what is not there.
        """
        oauth = self._house.oauth
        if oauth is None or refused.refusal is not DENIED:
            return refused
        header = oauth.step_up(call, exchange.asked.endpoint)
        if header is None:
            return refused
        exchange.headers.append(header)
        return Refused(INSUFFICIENT_SCOPE, refused.call_id)

    # -- calls --------------------------------------------------------------------------------------

    def _call(self, exchange: Exchange, call_id: str) -> Call:
        asked = exchange.asked
        row = find_method(asked.message.method, modern=asked.client.modern, notifies=False)
        if asked.endpoint.search:
            asked, row = asked_really(asked, row)
        call = to_call(asked, row, self.place(), call_id)
        exchange.server = call.server
        if call.parent and not self._house.is_caused(call):
            call = replace(call, parent="")
        if row.naming is Naming.TASK:
            return self._tasks.follow(call, asked, self.place())
        if row.in_rounds and _STATE in call.params:
            waits, token = self._house.elicitation, asked.message.params[_STATE]
            if waits is not None and call.client.modern and waits.is_ours(token):
                return waits.plain(call)
            return self._continued(call, token)
        return call

    def _continued(self, call: Call, token: object) -> Call:
        """The same call, as the round that its requestState continues."""
        params = {name: raw for name, raw in call.params.items() if name != _STATE}
        if token is None:
            return replace(call, params=params)
        if not call.client.modern:
            raise Refused(BAD_STATE)
        begun = self._states.open(token, call, self._house.clock())
        if begun.state:
            params[_STATE] = begun.state
        return replace(
            call, id=begun.call_id, round=begun.number, params=params, run=begun.run or call.run
        )

    async def _own_result(self, call: Call, exchange: Exchange) -> bytes:
        if call.method == "server/discover":
            return self.lists.discovered(call, exchange.asked.endpoint)
        if call.method == "initialize":
            return self.lists.initialized(call, exchange.asked.endpoint, exchange.negotiated)
        asked = exchange.asked
        if call.method == "tools/call":
            return await self._searches.result(call, asked.endpoint)
        return self.lists.result(call, asked.endpoint, asked.message.params.get("cursor"))


def _uri_asked(message: Message) -> str:
    uri = message.params.get("uri") if message.method == "resources/read" else ""
    return uri if isinstance(uri, str) else ""
