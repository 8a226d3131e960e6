"""Calls of clients of the newest era, at servers of the older one: kept open between their rounds.

    server   elicitation/create  ->  an `input_required` result, with a requestState of ours
    client   the call again, with inputResponses and that state  ->  the answer to the server

The server's end of the call stays open all the while, bounded in time and in number. One that has to
make room is cancelled at the server. Its rounds so far are settled, each with its outcome, and the next
is refused as `input_too_late`: an outcome, too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from time import perf_counter

import anyio
import msgspec

from gateway.domain import refusal
from gateway.domain.asking import ACROSS_ERAS, ASKS, Ask, problem_of
from gateway.domain.model import Outcome, Principal, Status
from gateway.upstream.exchange import Exchange, Run
from gateway.upstream.message import UpstreamFailed, decode_members

PARKED_S = 600.0  # as long as a requestState is good
MAX_PARKED = 8  # of one principal at one server; the one that waits longest makes room
MAX_PARKED_OF_TENANT = 16  # at one server, half its sessions; of whoever has most, the same
_KEY = "input"
_PREFIX = "parked:"
_STATE, _RESPONSES = "requestState", "inputResponses"
# What the older era has in an elicitation, and the newest does not.
_GONE = frozenset({"elicitationId", "task"})

Who = tuple[str, str, tuple[str, ...]]  # tenant, subject, actors


class Parked:
    """One call: its server sees one request, its client several. Relay and asker of the former."""

    def __init__(self, exchange: Exchange, requests: frozenset[str]) -> None:
        self.begun = exchange.call
        self.who = whose(exchange.call.principal)
        self.scope = anyio.CancelScope()
        self.token = ""  # while it waits for its next round
        self._requests = requests
        self._inner = exchange.inner(self, self)
        self._round: Exchange | None = exchange
        self._news: asyncio.Future[None] = exchange.loop.create_future()
        self._ended: Outcome | None = None
        self._failure: Exception | None = None
        self._turn = asyncio.Lock()  # one question in a round
        self._question: Ask | None = None
        self._answer: asyncio.Future[bytes] | None = None

    @property
    def waits(self) -> bool:
        """Whether its server waits for an answer; else it is over, and nobody has heard of it yet."""
        return self._question is not None

    async def carry(self, run: Run) -> None:
        """The server's end of the call, until it is over or dropped."""
        try:
            with self.scope:
                self._ended = await run(self._inner)
        except Exception as err:  # noqa: BLE001 - it is the round's to raise, whatever it is
            self._failure = err
        finally:
            self._inner.close()
            if self._ended is None and self._failure is None:
                self._failure = too_late()
            self._tell()

    async def round(self, exchange: Exchange) -> Outcome:
        """What the client gets to see next: a question, or how the call ended.

        Raises: UpstreamFailed, TooLarge, RelayFailed.
        """
        self._resume(exchange)
        try:
            await self._news
            if self._question is not None:
                return self._asked(exchange, self._question)
        except BaseException:
            self.scope.cancel()
            raise
        finally:
            exchange.sent = exchange.sent or self._inner.sent
            exchange.received_bytes = self._inner.received_bytes
            self._round = None
        if self._ended is None:
            raise self._failure or too_late()
        return self._ended

    # -- relay and asker of the server's end -----------------------------------

    async def notify(self, frame: bytes) -> None:
        if self._round is not None:
            await self._round.relay.notify(frame)

    async def ask(self, ask: Ask) -> Outcome:
        """Raises: Refused: it is nothing that can be asked across the eras, or of this client."""
        began_s = perf_counter()
        async with self._turn:
            call = self._inner.call
            problem = problem_of(ask, call.client.capabilities, self._requests)
            if problem or ASKS[ask.method] not in ACROSS_ERAS:
                return await self._refuse(ask)
            self._question = ask
            self._answer = asyncio.get_running_loop().create_future()
            self._tell()
            try:
                result = await self._answer
            finally:
                self._question = self._answer = None
        upstream_s = perf_counter() - began_s
        return Outcome(Status.OK, result, received_bytes=len(result), upstream_s=upstream_s)

    # -- inside ----------------------------------------------------------------

    async def _refuse(self, ask: Ask) -> Outcome:
        """Whoever can write refusals down is asked, and refuses."""
        asker = self._round.asker if self._round is not None else None
        if asker is None:
            code = refusal.NOT_SUPPORTED_ACROSS_ERAS.id
            return Outcome(Status.FAILED, code=code, sent=False)
        return await asker.ask(ask)

    def _resume(self, exchange: Exchange) -> None:
        """*exchange* is the round from here on; it has its own hold, and starts counting anew."""
        inner = self._inner
        if self._round is exchange:
            return
        self._round = exchange
        exchange.sent = True
        inner.call = exchange.call
        inner.ceiling_bytes, inner.max_wire_bytes = exchange.ceiling_bytes, exchange.max_wire_bytes
        inner.relayed_bytes = inner.received_bytes = 0
        answer = _answer_in(exchange)
        if self._answer is not None and not self._answer.done() and answer:
            self._answer.set_result(answer)
            self._question = None
        self._news = exchange.loop.create_future()
        if self._question is not None or self._ended is not None or self._failure is not None:
            self._tell()

    def _asked(self, exchange: Exchange, question: Ask) -> Outcome:
        self.token = self.token or _PREFIX + secrets.token_hex(16)
        params = {key: msgspec.Raw(raw) for key, raw in question.params.items() if key not in _GONE}
        asked = {_KEY: {"method": question.method, "params": params}}
        said = {"resultType": "input_required", "inputRequests": asked, _STATE: self.token}
        result = msgspec.json.encode(said)
        exchange.take_up(len(result))
        received_bytes = self._inner.relayed_bytes + len(result)
        upstream_s = perf_counter() - exchange.began_s
        return Outcome(Status.INPUT_REQUIRED, result, b"", "", received_bytes, upstream_s)

    def _tell(self) -> None:
        if not self._news.done():
            self._news.set_result(None)


class Parking:
    """The parked calls of one server, by the token in their state."""

    def __init__(self) -> None:
        self._parked: dict[str, tuple[Parked, asyncio.TimerHandle]] = {}  # longest waiting first

    def __len__(self) -> int:
        return len(self._parked)

    def put(self, parked: Parked) -> None:
        """Keep *parked* until its next round, if there is one in time."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(PARKED_S, self._drop, parked.token)
        self._parked[parked.token] = (parked, timer)
        self._keep_within(MAX_PARKED, parked.who[:2])
        self._keep_within(MAX_PARKED_OF_TENANT, parked.who[:1])

    def waiting(self) -> list[Parked]:
        """Those that a server waits in, the longest waiting first."""
        return [parked for parked, _ in self._parked.values() if parked.waits]

    def drop(self, parked: Parked) -> None:
        self._drop(parked.token)

    def take(self, token: str, principal: Principal) -> Parked:
        """The call that *token* continues. Raises: UpstreamFailed: INPUT_TOO_LATE."""
        found = self._parked.get(token)
        if found is None or found[0].who != whose(principal):
            raise too_late()
        del self._parked[token]
        parked, timer = found
        timer.cancel()
        parked.token = ""
        return parked

    def close(self) -> None:
        for token in tuple(self._parked):
            self._drop(token)

    def _keep_within(self, most: int, owner: tuple[str, ...]) -> None:
        """Of a tenant, or of a principal of it: the oldest of whoever has most makes room."""
        theirs = [one for one, _ in self._parked.values() if one.who[: len(owner)] == owner]
        if len(theirs) > most:
            owned = Counter(one.who[:2] for one in theirs)
            self.drop(max(theirs, key=lambda one: owned[one.who[:2]]))  # the first, of several

    def _drop(self, token: str) -> None:
        parked, timer = self._parked.pop(token)
        timer.cancel()
        parked.scope.cancel()


def token_in(exchange: Exchange) -> str:
    """The token of a parked call that this round continues; "" when it is none of ours."""
    raw = exchange.call.params.get(_STATE, b"")
    if exchange.call.round == 1 or not raw.startswith(b'"' + _PREFIX.encode()):
        return ""
    return str(msgspec.json.decode(raw, type=str))


def too_late() -> UpstreamFailed:
    sentence = "nobody waits for this input any more"
    return UpstreamFailed(refusal.INPUT_TOO_LATE.id, sentence)


def _answer_in(exchange: Exchange) -> bytes:
    """The client's answer to our one question, raw; b"" when it gave none."""
    try:
        responses = decode_members(exchange.call.params.get(_RESPONSES, b"{}"))
    except msgspec.MsgspecError:
        return b""
    answer = bytes(responses.get(_KEY, b""))
    return answer if answer.startswith(b"{") else b""


def whose(principal: Principal) -> Who:
    return principal.tenant, principal.subject, principal.actors
