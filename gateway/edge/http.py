"""The ASGI app of the border: from bytes to an arrival, or to the door.

POST    /mcp  /mcp/s/<server>     one JSON-RPC message of either era
DELETE  the same                  ends a session of the handshake era
GET     /livez  /readyz           anyone
GET     /metrics                  whom policy lets read admin/metrics
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
    NOT_AUTHENTICATED,
    RATE_LIMITED,
    UNKNOWN_OBJECT,
    UNSUPPORTED_MEDIA,
    Refused,
)
from gateway.edge.allowance import REFUSED_BYTES, Allowances
from gateway.edge.answers import Answers, log_fault
from gateway.edge.arrival import Arrival, Vanished, Visitor, address_of, read_body
from gateway.edge.authn import CHALLENGE, identify
from gateway.edge.errors import Asking, door_answer, fault_answer
from gateway.edge.exchange import Headers, respond
from gateway.edge.handshake import VERSIONS, Handshake
from gateway.edge.head import Door, Head, is_json, read_head
from gateway.edge.health import LIVE, METRICS, METRICS_TYPE, READY, Health
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.modern import Modern
from gateway.edge.reply import Answer
from gateway.edge.sdk import SdkLeg
from gateway.edge.strict import parse
from gateway.edge.watch import Soon, Watch

ENDPOINT, SERVER_ENDPOINT = "/mcp", "/mcp/s/"
_VERSION = b"mcp-protocol-version"
_NOT_HERE = Answer(HTTPStatus.NOT_FOUND, b"")
_NOT_SO = Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"")
_FAULT = Asking(b"", "", modern=True)
_CLOSE = (b"connection", b"close")


@dataclass(slots=True)
class Knock:
    """One HTTP request, and what is known of it so far."""

    scope: Scope
    receive: Receive
    send: Send
    principal: Principal | None = None
    method: str = ""  # of the JSON-RPC message
    id: bytes = b""


class Border:
    """ASGI app; speaks the lifespan protocol, or is run inside `run`."""

    def __init__(self, house: House, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self._house = house
        self._settings = settings
        self._door = Door(settings.allowed_hosts, settings.allowed_origins)
        self._answers = Answers(house, settings)
        self._sdk = SdkLeg(self._answers, settings)
        self._modern = Modern(house, settings, self._answers, self._sdk)
        self._handshake = Handshake(house, settings, self._answers, self._sdk)
        self._health = Health(house)
        self._allowances = Allowances()
        self._soon = Soon(settings.watch_after_s)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Sessions live inside this; enter it once, in the task that leaves it."""
        async with self._sdk.run():
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
        if path not in (ENDPOINT, METRICS) and not path.startswith(SERVER_ENDPOINT):
            await respond(knock.send, _NOT_HERE, [])
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
            await respond(knock.send, fault_answer(_FAULT, call_id), [_CLOSE])

    async def _let_in(self, knock: Knock) -> None:
        scope = knock.scope
        head = read_head(scope["headers"])
        self._door.check(head)
        now_us = self._house.clock()
        principal = identify(self._house.identity, head, scope["query_string"], now_us)
        knock.principal = principal
        if scope["path"] == METRICS:
            await self._measured(knock, principal)
            return
        server = self._server_of(scope["path"], principal)
        visitor = Visitor(head, principal, server, address_of(scope))
        if scope["method"] == "POST":
            await self._posted(knock, visitor)
        else:
            await self._other_verb(knock, visitor)

    def _server_of(self, path: str, principal: Principal) -> str:
        """The server of the endpoint, "" on /mcp. Raises: Refused: the caller sees no such one."""
        if path == ENDPOINT:
            return ""
        server = path[len(SERVER_ENDPOINT) :]
        if not server or not self._answers.lists.sees_server(principal, server):
            raise Refused(UNKNOWN_OBJECT)
        return server

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
            message = parse(body)
            knock.method, knock.id = message.method, message.id
            era = self._handshake if _is_handshake(head) else self._modern
            await era.serve(Arrival(visitor, body, message, knock.send, watch))

    async def _other_verb(self, knock: Knock, visitor: Visitor) -> None:
        """Neither era has a stream to GET here; only the older one has something to DELETE."""
        if not _is_handshake(visitor.head):
            await respond(knock.send, _NOT_SO, [(b"allow", b"POST")])
        elif knock.scope["method"] == "DELETE":
            await self._handshake.end(visitor)
            await respond(knock.send, Answer(HTTPStatus.OK, b""), [])
        else:
            await respond(knock.send, _NOT_SO, [(b"allow", b"POST, DELETE")])

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

    async def _probed(self, knock: Knock) -> None:
        if knock.scope["method"] not in ("GET", "HEAD"):
            await respond(knock.send, _NOT_SO, [(b"allow", b"GET, HEAD")])
            return
        await respond(knock.send, self._health.probe(knock.scope["path"]), [], b"text/plain")

    async def _turn_away(self, refused: Refused, knock: Knock) -> None:
        """Enter the refusal, then say it; saying no does not depend on being able to write it."""
        if knock.principal is not None and refused.refusal is not RATE_LIMITED:
            self._allowances.charge(knock.principal, REFUSED_BYTES, monotonic())
        with suppress(Refused):
            refused.call_id = await self._house.pipeline.refuse(
                refused.refusal, knock.principal, address_of(knock.scope), knock.method
            )
        headers: Headers = []
        if refused.refusal is NOT_AUTHENTICATED:
            headers.append(CHALLENGE)
        if not knock.method:  # the body may be unread: this connection is not in step any more
            headers.append(_CLOSE)
        await respond(knock.send, door_answer(refused, knock.id), headers)


def _is_handshake(head: Head) -> bool:
    version = head.get(_VERSION)
    return not version or version in VERSIONS
