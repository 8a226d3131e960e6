"""The API at work: a request that came in at the door, to its answer.

Each request is decided by policy as a call of its own: `read` or `admin` on `admin/<noun>`. It
stands in the log before it is answered, and so does each no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from time import monotonic
from typing import Any

from starlette.types import Scope, Send

from gateway.domain.model import Act, Call, CallClass, Kind, Principal, Verdict
from gateway.domain.operator import Exit, OperationRefused
from gateway.domain.refusal import (
    ETAG_MISSING,
    ETAG_STALE,
    FORBIDDEN,
    UNKNOWN_METHOD,
    UNKNOWN_OBJECT,
    UNSUPPORTED_MEDIA,
    Refused,
    bad_params,
)
from gateway.edge.api.cursor import Cursors
from gateway.edge.api.desk import EVERY_TENANT, Desk, Errand, Guard, Stale, Withdrawn
from gateway.edge.api.document import document
from gateway.edge.api.etag import encoded, etag_of, is_seen, tags
from gateway.edge.api.places import Places
from gateway.edge.api.problem import PROBLEM_TYPE, Declined, fault_problem, problem_answer
from gateway.edge.api.request import MAX_BODY_BYTES, has_body, read_object, read_query, refuse_body
from gateway.edge.api.routes import PREFIX, Queue, Route, route_of, routes_at
from gateway.edge.arrival import body_within, read_body
from gateway.edge.head import is_json
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import JSON_TYPE, Headers, respond, retry_after
from gateway.edge.outlet import Visit
from gateway.edge.reply import Answer

DOCUMENT = f"{PREFIX}/openapi.json"
DEFAULT_LIMIT = 100
_HEADERS: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


def is_api(path: str) -> bool:
    return path.startswith(PREFIX) and path[len(PREFIX) : len(PREFIX) + 1] in ("", "/")


@dataclass(frozen=True, slots=True)
class _Let:
    """A request that policy let in: for which route, how far it reaches, and the call it is."""

    route: Route
    parts: Mapping[str, str]
    call: Call
    tenant: str

    def errand(self, principal: Principal, args: Mapping[str, Any], **more: Any) -> Errand:
        given = {**args, **self.parts}
        return Errand(principal, self.tenant, self.route.operation, given, **more)


class Api:
    def __init__(self, house: House, desk: Desk, settings: Settings) -> None:
        self._house = house
        self._desk = desk
        self._settings = settings
        self._cursors = Cursors(house.state_key)
        self._document = encoded(document(settings.version))
        self._places = {queue: Places(queue) for queue in Queue}

    def reseal(self, state_key: bytes) -> None:
        """Sign cursors with another key from here on; lists that are open begin anew."""
        self._cursors = Cursors(state_key)

    def has(self, path: str) -> bool:
        return is_api(path)

    async def say(self, send: Send, refused: Refused, headers: Headers) -> None:
        answer = problem_answer(refused)
        await respond(send, answer, [*_HEADERS, *headers, *_more(refused)], PROBLEM_TYPE)

    async def say_fault(self, send: Send, call_id: str, headers: Headers) -> None:
        await respond(send, fault_problem(call_id), headers, PROBLEM_TYPE)

    async def serve(self, visit: Visit) -> None:
        """Answer one request. Raises: Refused: to be entered (no call id yet) and said."""
        try:
            await self._served(visit)
        except OperationRefused as said:
            raise Declined(said) from said
        except Stale as stale:
            raise Refused(ETAG_STALE) from stale
        except Withdrawn as withdrawn:
            raise Refused(FORBIDDEN) from withdrawn

    async def _served(self, visit: Visit) -> None:
        visit.allowances.check(visit.principal, monotonic())
        if visit.scope["path"] == DOCUMENT:
            await self._describe(visit)
            return
        visit.progress.unread = has_body(visit.head)
        route, parts = _found(visit.scope)
        visit.progress.method = f"api/{route.operation}"
        if route.act is Act.READ:
            refuse_body(visit.head)
        let = await self._let_in(visit, route, parts)
        query = read_query(route, visit.scope["query_string"])
        look = route.act is Act.READ
        # Whoever sends or reads slowly takes nobody's place.
        body = b"" if look else await self._body(visit)
        async with self._places[route.queue].taken(visit.principal):
            if look:
                done = await self._look(visit, let, query)
            else:
                done = await self._change(visit, let, body)
        await _answer(visit, encoded(done), route.status, tagged=look)

    async def _describe(self, visit: Visit) -> None:
        """The document: for whoever may knock, and nothing of this house stands in it."""
        _only_get(visit.scope)
        refuse_body(visit.head)
        call = self._call(visit.principal, "openapi", "api", Act.READ, CallClass.FREE)
        await self._house.pipeline.rate(call)
        await _answer(visit, self._document)

    async def _let_in(self, visit: Visit, route: Route, parts: Mapping[str, str]) -> _Let:
        """Raises: Refused: policy does not allow it, or only for less than it is about."""
        who = visit.principal
        call = self._call(who, route.operation, route.noun, route.act, CallClass.SINGLE)
        await self._house.pipeline.enter(call)
        if who.was_handed_out:
            raise OperationRefused(
                "this key was made over the API",
                "whoever made it has seen it, and would have what its agent may do here",
                f"on the gateway's machine: customhouse key issue {who.subject}",
                Exit.NOT_OPERATOR,
            )
        if route.act is Act.ADMIN and who.actors:
            problem = "it is not changed on somebody else's behalf: entries name one author"
            raise Refused(FORBIDDEN, detail={"problem": problem})
        tenant = EVERY_TENANT if self._desk.spans_tenants(call) else who.tenant
        if route.of_house and tenant != EVERY_TENANT:
            problem = "this is about all tenants, and the right holds in one: it takes one in *"
            raise Refused(FORBIDDEN, detail={"problem": problem})
        return _Let(route, parts, call, tenant)

    async def _look(self, visit: Visit, let: _Let, query: dict[str, Any]) -> Any:
        def holds() -> bool:
            return self._still(let)

        cursor, most = query.pop("cursor", ""), query.pop("limit", DEFAULT_LIMIT)
        errand = let.errand(visit.principal, query, most=most, holds=holds)
        if cursor:
            errand = replace(errand, after=self._cursors.read(errand, cursor))
        if not holds():
            raise Withdrawn
        found = await self._desk.look(errand)
        if not holds():
            raise Withdrawn
        if not let.route.paged:
            return found.value
        more = {"next": self._cursors.make(errand, found.after)} if found.after else {}
        return {"items": found.value, **more}

    async def _change(self, visit: Visit, let: _Let, body: bytes) -> Any:
        given = read_object(let.route, body)
        errand = let.errand(visit.principal, given)
        guard = self._guard(visit, let)

        def holds() -> bool:
            return self._still(let)

        return await self._desk.carry_out(errand, guard, holds)

    async def _body(self, visit: Visit) -> bytes:
        head, who = visit.head, visit.principal

        def pay(used_bytes: int) -> None:
            visit.allowances.charge(who, used_bytes, monotonic())
            visit.allowances.check(who, monotonic())

        async with body_within(self._settings.body_deadline_s):
            body = await read_body(visit.receive, head, MAX_BODY_BYTES, pay)
        plain = is_json(head.get(b"content-type")) and b"content-encoding" not in head.values
        if body and not plain:
            raise Refused(UNSUPPORTED_MEDIA)
        visit.progress.unread = False
        return body

    def _guard(self, visit: Visit, let: _Let) -> Guard | None:
        """Which state the change is for. Raises: Refused: ETAG_MISSING, ETAG_STALE."""
        if not let.route.guard:
            return None
        line = visit.head.get(b"if-match")
        if not line or line == b"*" or b"if-match" in visit.head.repeated:
            raise Refused(ETAG_MISSING)  # "any state" is what this is to prevent
        etags = tags(line)
        if etags is None:
            raise bad_params("If-Match is not a list of ETags")
        look = Errand(visit.principal, let.tenant, route_of(let.route.guard).operation, let.parts)
        return Guard(look, etags)

    def _still(self, let: _Let) -> bool:
        """Whether the asker may still do it, and as far: it may have waited its turn for a while."""
        house, who = self._house, let.call.principal
        if not house.identity.is_live(who, house.clock()):
            return False
        if house.policies.decide(let.call).verdict is not Verdict.ALLOW:
            return False
        return let.tenant != EVERY_TENANT or self._desk.spans_tenants(let.call)

    def _call(self, who: Principal, operation: str, noun: str, act: Act, weight: CallClass) -> Call:
        return Call(
            id=new_call_id(self._house.clock()),
            principal=who,
            method=f"api/{operation}",
            kind=Kind.ADMIN,
            server="",
            name=noun,
            act=act,
            weight=weight,
        )


class _WrongVerb(Refused):
    def __init__(self, allowed: list[str]) -> None:
        super().__init__(UNKNOWN_METHOD)
        self.allowed = allowed


def _found(scope: Scope) -> tuple[Route, Mapping[str, str]]:
    """Raises: Refused: UNKNOWN_OBJECT: no such path; UNKNOWN_METHOD: not with this verb."""
    there = routes_at(scope["path"])
    for route, parts in there:
        if route.verb == scope["method"]:
            return route, parts
    if there:
        raise _WrongVerb([route.verb for route, _ in there])
    raise Refused(UNKNOWN_OBJECT)


def _only_get(scope: Scope) -> None:
    if scope["method"] != "GET":
        raise _WrongVerb(["GET"])


def _more(refused: Refused) -> Headers:
    """What else HTTP has a header for."""
    if isinstance(refused, _WrongVerb):
        return [(b"allow", ", ".join(refused.allowed).encode("ascii"))]
    return retry_after(refused)


async def _answer(
    visit: Visit, body: bytes, status: int = HTTPStatus.OK, *, tagged: bool = True
) -> None:
    etag = etag_of(body)
    if not tagged:
        await respond(visit.send, Answer(status, body), _HEADERS, JSON_TYPE)
        return
    said = [*_HEADERS, (b"etag", etag.encode("ascii"))]
    if is_seen(visit.head.get(b"if-none-match"), etag):
        await respond(visit.send, Answer(HTTPStatus.NOT_MODIFIED, b""), said)
        return
    await respond(visit.send, Answer(status, body), said, JSON_TYPE)
