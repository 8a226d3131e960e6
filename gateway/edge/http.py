"""The ASGI app of the border: from bytes to an arrival, or to the door.

POST    the endpoints (see endpoint)  one JSON-RPC message of either era
GET     the same                      what a session of the handshake era is told
DELETE  the same                      ends a session of the handshake era
GET     /livez  /readyz               anyone
GET     /.well-known/...              anyone: the keys of signed calls, and what tokens are for
GET     /metrics                      whom policy lets read admin/metrics
any     /api/v1...                    administration, see edge/api
any     what an outlet or a counter has, see edge/outlet
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic

from starlette.types import Receive, Scope, Send

from gateway.domain.model import Principal
from gateway.domain.refusal import (
    MALFORMED,
    NOT_AUTHENTICATED,
    RATE_LIMITED,
    UNKNOWN_OBJECT,
    UNSUPPORTED_MEDIA,
    Refused,
)
from gateway.edge.allowance import REFUSED_BYTES, Allowances
from gateway.edge.answers import Answers
from gateway.edge.api.api import Api
from gateway.edge.arrival import Arrival, Vanished, Visitor, address_of, read_body
from gateway.edge.authn import CHALLENGE, KeyUnknown, identify
from gateway.edge.endpoint import Endpoint, Span, endpoint_of
from gateway.edge.errors import Asking, door_answer, fault_answer
from gateway.edge.faults import log_fault
from gateway.edge.handshake import VERSIONS, Handshake
from gateway.edge.head import Door, Head, is_json, read_head
from gateway.edge.health import LIVE, METRICS, METRICS_TYPE, READY, Health
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import Headers, respond
from gateway.edge.models.models import Models
from gateway.edge.modern import Modern
from gateway.edge.outlet import Counter, Outlet, Visit
from gateway.edge.reply import Answer
from gateway.edge.sdk import SdkLeg
from gateway.edge.strict import parse, parse_response
from gateway.edge.watch import Soon, Watch

_VERSION = b"mcp-protocol-version"
_NOT_HERE = Answer(HTTPStatus.NOT_FOUND, b"")
_NOT_SO = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"")
_NOT_SUCH = Answer(HTTPStatus.NOT_ACCEPTABLE, b"")
_FAULT = Asking(b"", "", modern=True)
_CLOSE = (b"connection", b"close")
CALL_KEYS = "/.well-known/jwks.json"
_KEPT = (b"cache-control", b"public, max-age=60")  # as long as a key is published before it signs


@dataclass(slots=True)
class Knock:
    """One HTTP request, and what is known of it so far."""

    scope: Scope
    receive: Receive
    send: Send
    endpoint: Endpoint | None = None  # None: /metrics, or an outlet
    outlet: Outlet | None = None
    principal: Principal | None = None
    method: str = ""  # of the JSON-RPC message, or the operation of the API
    id: bytes = b""
    unread: bool = False  # a body is known to be on its way still


class Border:
    """ASGI app; speaks the lifespan protocol, or is run inside `run`."""

    def __init__(self, house: House, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._house = house
        self._settings = settings
        self._door = Door(settings.allowed_hosts, settings.allowed_origins)
        self._answers = Answers(house, settings)
        self._sdk = SdkLeg(self._answers, settings)
        self._modern = Modern(settings, self._answers, self._sdk)
        self._handshake = Handshake(settings, self._answers, self._sdk)
        self._health = Health(house)
        self._allowances = Allowances()
        self._soon = Soon(settings.watch_after_s)
        administration = (Api(house, house.desk, settings),) if house.desk is not None else ()
        models = Models(house, settings)
        self._outlets: tuple[Outlet, ...] = (*administration, models, *house.outlets)

    def reseal(self, state_key: bytes) -> None:
        """Seal rounds with another key from here on; those that are open begin anew."""
        self._answers.reseal(state_key)
        for outlet in self._outlets:
            outlet.reseal(state_key)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Sessions live inside this; enter it once, in the task that leaves it."""
        async with self._sdk.run(), self._answers.subscriptions.run(), self._handshake.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._http(Knock(scope, receive, send))
        elif kind == "lifespan":
            await self._live(receive, send)
        else:  # a WebSocket, refused before it is one
            await send({"type": "websocket.close", "code": 1008})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.run():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, knock: Knock) -> None:
        """Every request ends here: answered, turned away with an entry, or a fault that says nothing."""
        path = knock.scope["path"]
        if path in (LIVE, READY):
            await self._probed(knock)
            return
        knock.endpoint = endpoint_of(path)
        if knock.endpoint is None and path != METRICS:
            knock.outlet = next((outlet for outlet in self._outlets if outlet.has(path)), None)
            if knock.outlet is None:
                await self._strange(knock)
                return
        try:
            await self._let_in(knock)
        except Refused as refused:
            await self._turn_away(refused, knock)
        except Vanished:
            return
        except Exception as fault:  # noqa: BLE001 - what the legs did not catch: say nothing of it
            call_id = new_call_id(self._house.clock())
            log_fault(fault, call_id)
            if knock.outlet is not None:
                await knock.outlet.say_fault(knock.send, call_id, [_CLOSE])
                return
            await respond(knock.send, fault_answer(_FAULT, call_id), [_CLOSE])

    async def _strange(self, knock: Knock) -> None:
        """Neither an endpoint nor an outlet: there may be a counter for it."""
        path = knock.scope["path"]
        counter = next((one for one in self._house.counters if one.has(path)), None)
        if counter is None:
            await self._described(knock)
            return
        try:
            await self._received(knock, counter)
        except Refused as refused:
            await self._turn_away(refused, knock)
        except Vanished:
            return
        except Exception as fault:  # noqa: BLE001 - as in `_http`
            call_id = new_call_id(self._house.clock())
            log_fault(fault, call_id)
            await respond(knock.send, fault_answer(_FAULT, call_id), [_CLOSE])

    async def _received(self, knock: Knock, counter: Counter) -> None:
        head = read_head(knock.scope["headers"])
        self._door.check(head)
        await counter.serve(knock.scope, knock.receive, knock.send, head)

    async def _let_in(self, knock: Knock) -> None:
        scope = knock.scope
        head = read_head(scope["headers"])
        self._door.check(head)
        try:
            principal = self._identified(knock, head)
        except KeyUnknown as unknown:
            if self._house.oauth is not None:
                await self._house.oauth.renewed(unknown.issuer)
            principal = self._identified(knock, head)
        knock.principal = principal
        if knock.endpoint is None:
            await self._looked_after(knock, principal, head)
            return
        self._check_place(knock.endpoint, principal)
        visitor = Visitor(head, principal, knock.endpoint, address_of(scope))
        if scope["method"] == "POST":
            await self._posted(knock, visitor)
        else:
            await self._other_verb(knock, visitor)

    def _identified(self, knock: Knock, head: Head) -> Principal:
        house = self._house
        at_endpoint = (
            house.identity if house.oauth is None else house.oauth.identity(knock.endpoint)
        )
        return identify(at_endpoint, head, knock.scope["query_string"], house.clock())

    def _check_place(self, endpoint: Endpoint, principal: Principal) -> None:
        """Raises: Refused: UNKNOWN_OBJECT: there is no such one, or none that the caller may see."""
        if endpoint.span is not Span.ALL and not self._answers.lists.sees(principal, endpoint):
            raise Refused(UNKNOWN_OBJECT)

    async def _posted(self, knock: Knock, visitor: Visitor) -> None:
        head = visitor.head
        if not is_json(head.get(b"content-type")) or b"content-encoding" in head.values:
            raise Refused(UNSUPPORTED_MEDIA)
        principal = visitor.principal
        self._allowances.check(principal, monotonic())

        def pay(used_bytes: int) -> None:
            now_s = monotonic()
            self._allowances.check(principal, now_s)
            self._allowances.charge(principal, used_bytes, now_s)

        async with Watch(knock.receive, self._house, self._settings, self._soon) as watch:
            body = await read_body(knock.receive, head, self._settings.max_body_bytes, pay)
            try:
                message = parse(body)
            except Refused as refused:
                response = parse_response(body) if refused.refusal is MALFORMED else None
                if response is None or not _is_handshake(head):
                    raise
                knock.method = "response"
                await self._handshake.answered(visitor, response, knock.send)
                return
            knock.method, knock.id = message.method, message.id
            era = self._handshake if _is_handshake(head) else self._modern
            await era.serve(Arrival(visitor, body, message, knock.send, watch))

    async def _other_verb(self, knock: Knock, visitor: Visitor) -> None:
        """Only the older era has something to GET or to DELETE."""
        if not _is_handshake(visitor.head):
            await respond(knock.send, _NOT_SO, [(b"allow", b"POST")])
        elif knock.scope["method"] == "DELETE":
            await self._handshake.end(visitor)
            await respond(knock.send, Answer(HTTPStatus.OK, b""), [])
        elif knock.scope["method"] == "GET":
            await self._listened_to(knock, visitor)
        else:
            await respond(knock.send, _NOT_SO, [(b"allow", b"GET, POST, DELETE")])

    async def _listened_to(self, knock: Knock, visitor: Visitor) -> None:
        if not visitor.can_stream:
            await respond(knock.send, _NOT_SUCH, [])
            return
        self._allowances.check(visitor.principal, monotonic())
        async with Watch(knock.receive, self._house, self._settings, self._soon) as watch:
            await self._handshake.listen(visitor, knock.send, watch)

    async def _looked_after(self, knock: Knock, principal: Principal, head: Head) -> None:
        if knock.outlet is None:
            await self._measured(knock, principal)
            return
        scope, receive, send = knock.scope, knock.receive, knock.send

        def watch() -> Watch:
            return Watch(receive, self._house, self._settings, self._soon)

        visit = Visit(
            scope=scope,
            receive=receive,
            send=send,
            head=head,
            principal=principal,
            address=address_of(scope),
            allowances=self._allowances,
            progress=knock,
            watch=watch,
        )
        await knock.outlet.serve(visit)

    async def _measured(self, knock: Knock, principal: Principal) -> None:
        if knock.scope["method"] != "GET":
            await respond(knock.send, _NOT_SO, [(b"allow", b"GET")])
            return
        try:
            answer = await self._health.metrics(principal)
        except Refused as refused:  # logged already
            await respond(knock.send, door_answer(refused), [])
            return
        await respond(knock.send, answer, [], METRICS_TYPE)

    async def _described(self, knock: Knock) -> None:
        """What anyone may know; there is nothing else that is no endpoint."""
        house, path = self._house, knock.scope["path"]
        headers: Headers = []
        if path == CALL_KEYS:
            said, headers = house.call_keys(), [_KEPT]
        else:
            said = house.oauth.metadata(path) if house.oauth is not None else None
        if said is None:
            await respond(knock.send, _NOT_HERE, [])
        elif knock.scope["method"] not in ("GET", "HEAD"):
            await respond(knock.send, _NOT_SO, [(b"allow", b"GET, HEAD")])
        else:
            await respond(knock.send, Answer(HTTPStatus.OK, said), headers)

    async def _probed(self, knock: Knock) -> None:
        if knock.scope["method"] not in ("GET", "HEAD"):
            await respond(knock.send, _NOT_SO, [(b"allow", b"GET, HEAD")])
            return
        await respond(knock.send, self._health.probe(knock.scope["path"]), [], b"text/plain")

    async def _turn_away(self, refused: Refused, knock: Knock) -> None:
        """Enter the refusal, then say it; saying no does not depend on being able to write it."""
        if knock.principal is not None and refused.refusal is not RATE_LIMITED:
            self._allowances.charge(knock.principal, REFUSED_BYTES, monotonic())
        outlet = knock.outlet
        if not (
            outlet is not None and refused.call_id
        ):  # else the pipeline said so, and entered it
            with suppress(Refused):
                refused.call_id = await self._house.pipeline.refuse(
                    refused.refusal, knock.principal, address_of(knock.scope), knock.method
                )
        headers: Headers = []
        if refused.refusal is NOT_AUTHENTICATED:
            headers.append(self._challenge(knock))
        if not knock.method or knock.unread:
            # The body may be unread: this connection is not in step any more.
            headers.append(_CLOSE)
        if outlet is not None:
            await outlet.say(knock.send, self._house.told(refused), headers)
            return
        await respond(knock.send, door_answer(refused, knock.id), headers)

    def _challenge(self, knock: Knock) -> tuple[bytes, bytes]:
        oauth = self._house.oauth
        if oauth is None:
            return CHALLENGE
        return oauth.challenge(knock.endpoint, presented=_has_credential(knock.scope))


def _has_credential(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def _is_handshake(head: Head) -> bool:
    version = head.get(_VERSION)
    return not version or version in VERSIONS
