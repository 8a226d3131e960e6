"""The outlet for A2A: a request that came in at the door, to its answer."""

from __future__ import annotations

from time import monotonic

from starlette.types import Send

from gateway.domain.a2a_legacy import LEGACY
from gateway.domain.model import Approval, Definition, Principal
from gateway.domain.refusal import (
    TOO_LARGE_REQUEST,
    UNKNOWN_METHOD,
    UNKNOWN_OBJECT,
    Refused,
)
from gateway.edge.a2a.asked import (
    CARD_PATH,
    Asked,
    Place,
    check_version,
    is_pushed,
    place_of,
    read_rest,
    read_rpc,
)
from gateway.edge.a2a.calls import Calls, Request
from gateway.edge.a2a.card import Press
from gateway.edge.a2a.errors import NotCalled, fault_said, rest_answer, rpc_answer, said_of
from gateway.edge.a2a.exchange import Exchange
from gateway.edge.a2a.journey import Journey
from gateway.edge.a2a.legacy import serve_legacy
from gateway.edge.a2a.members import checked
from gateway.edge.a2a.methods import CARD, find_method
from gateway.edge.a2a.tasks import Tasks
from gateway.edge.allowance import REFUSED_BYTES
from gateway.edge.api.etag import etag_of, is_seen
from gateway.edge.arrival import read_body
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import JSON_TYPE, Headers, respond, retry_after
from gateway.edge.outlet import Visit
from gateway.edge.reply import Answer
from gateway.edge.ties import NO_TIES

_CARD_HEADERS: Headers = [
    # What one caller sees of the agent says nothing about another.
    (b"cache-control", b"private, max-age=60"),
    (b"vary", b"authorization"),
]
_GET_CARD = "GetAgentCard"


class A2a:
    def __init__(
        self, house: House, settings: Settings, tasks: Tasks, calls: Calls, press: Press
    ) -> None:
        self._house = house
        self._settings = settings
        self._tasks = tasks
        self._calls = calls
        self._press = press
        self._journey = Journey(house, tasks, calls, press)

    def reseal(self, state_key: bytes) -> None:
        """Tasks that were begun before belong to nobody any more."""
        self._tasks.reseal(state_key)
        self._calls.reseal(state_key)

    def has(self, path: str) -> bool:
        place = place_of(path)
        return place is not None and not is_pushed(place)

    async def say(self, send: Send, refused: Refused, headers: Headers) -> None:
        """At the door, before the request says in which binding it wants to hear it."""
        said = said_of(refused)
        status = 404 if refused.shown is UNKNOWN_OBJECT else said.http_status
        await respond(send, Answer(status, said.as_rest()), [*headers, *retry_after(refused)])

    async def say_fault(self, send: Send, call_id: str, headers: Headers) -> None:
        await respond(send, rest_answer(fault_said(call_id)), headers)

    async def serve(self, visit: Visit) -> None:
        """Raises: Refused: UNKNOWN_OBJECT: no such peer, or none of which the caller sees a skill."""
        visit.allowances.check(visit.principal, monotonic())
        place = place_of(visit.scope["path"])
        card = self._seen(visit.principal, place.peer) if place is not None else None
        if place is None or card is None:
            raise Refused(UNKNOWN_OBJECT)
        if place.rest == CARD_PATH:
            await self._card(visit, place, card)
            return
        async with visit.watch() as watch:
            body = await self._body(visit)
            exchange = Exchange(visit.principal, visit.send, Asked(place.peer, "", {}))
            try:
                exchange.asked = self._read(visit, place, body)
            except Refused as refused:
                await self._unread(visit, place, refused)
                return
            visit.progress.method = exchange.asked.method
            watch.over(exchange)
            await self._governed(visit, exchange)

    async def _governed(self, visit: Visit, exchange: Exchange) -> None:
        asked = exchange.asked
        call_id = new_call_id(self._house.clock())
        if asked.method in LEGACY:
            await serve_legacy(self._journey, visit, exchange, call_id)
            return

        def request() -> Request:
            check_version(visit.head, asked.method)
            row = find_method(asked.method)
            return Request(checked(asked), row, visit.head, visit.principal, call_id)

        await self._journey.answer(request, exchange, visit.address, call_id)

    def _seen(self, who: Principal, peer: str) -> Definition | None:
        """The card of *peer*, if *who* sees anything there; whatever else is wrong is all the same."""
        card = self._calls.card(peer)
        if card is None or card.approval is not Approval.APPROVED:
            return None
        return card if self._calls.skills(who, peer) else None

    async def _body(self, visit: Visit) -> bytes:
        def pay(used_bytes: int) -> None:
            now_s = monotonic()
            visit.allowances.check(visit.principal, now_s)
            visit.allowances.charge(visit.principal, used_bytes, now_s)

        visit.progress.unread = True
        body = await read_body(visit.receive, visit.head, self._settings.max_body_bytes, pay)
        visit.progress.unread = False
        return body

    def _read(self, visit: Visit, place: Place, body: bytes) -> Asked:
        verb = visit.scope["method"]
        if place.rest:
            return read_rest(place, verb, visit.scope["query_string"], visit.head, body)
        if verb != "POST":
            raise NotCalled("")
        return read_rpc(place, visit.head, body)

    async def _unread(self, visit: Visit, place: Place, refused: Refused) -> None:
        """What is no request: entered, and said in the binding that its path belongs to."""
        visit.allowances.charge(visit.principal, REFUSED_BYTES, monotonic())
        refused.call_id = await self._house.pipeline.refuse(
            refused.refusal, visit.principal, visit.address, visit.progress.method
        )
        said = said_of(refused)
        is_rpc = not place.rest and refused.refusal not in (UNKNOWN_METHOD, TOO_LARGE_REQUEST)
        answer = rpc_answer(b"", said) if is_rpc else rest_answer(said)
        await respond(visit.send, answer, retry_after(refused))

    async def _card(self, visit: Visit, place: Place, card: Definition) -> None:
        if visit.scope["method"] not in ("GET", "HEAD"):
            raise Refused(UNKNOWN_METHOD)
        call_id = new_call_id(self._house.clock())
        visit.progress.method = _GET_CARD
        asked = Asked(place.peer, _GET_CARD, {})
        request = Request(asked, CARD, visit.head, visit.principal, call_id)
        await self._house.pipeline.enter(self._calls.base(request, NO_TIES))
        skills = self._calls.skills(visit.principal, place.peer)
        body = self._press.body(place.peer, card, skills)
        etag = etag_of(body)
        headers = [*_CARD_HEADERS, (b"etag", etag.encode("ascii"))]
        if is_seen(visit.head.get(b"if-none-match"), etag):
            await respond(visit.send, Answer(304, b""), headers)
            return
        await respond(visit.send, Answer(200, body), headers, JSON_TYPE)
