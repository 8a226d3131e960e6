"""GET /calls/ID: what came of a call, for whoever made it.

    {"call_id":"01JDB52Y...","state":"ended","status":"ok","code":"","tokens":41,"cost":0,"at_us":1795348800000000}

A call of somebody else is the same as one that nobody made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol

import msgspec
from starlette.types import Send

from gateway.domain.model import Act, Call, CallClass, Kind, Principal
from gateway.domain.refusal import UNKNOWN_METHOD, UNKNOWN_OBJECT, Refused
from gateway.edge.errors import Asking, door_answer, fault_answer
from gateway.edge.ids import new_call_id
from gateway.edge.line import Headers, respond
from gateway.edge.outlet import Visit
from gateway.edge.reply import Answer
from gateway.edge.ties import call_named

PREFIX = "/calls/"
_FAULT = Asking(b"", "", modern=True)
_NO_STORE = (b"cache-control", b"no-store")


class Told(Protocol):
    def as_json(self) -> dict[str, Any]: ...


class OutcomesOutlet:
    """*of*: what came of a call of this principal; None where it made none of this id."""

    def __init__(
        self,
        of: Callable[[Principal, str], Awaitable[Told | None]],
        rate: Callable[[Call], Awaitable[None]],
        clock: Callable[[], int],
    ) -> None:
        self._of = of
        self._rate = rate
        self._clock = clock

    def has(self, path: str) -> bool:
        return path.startswith(PREFIX)

    async def serve(self, visit: Visit) -> None:
        visit.allowances.check(visit.principal, monotonic())
        visit.progress.method = "calls/get"
        if visit.scope["method"] != "GET":
            raise Refused(UNKNOWN_METHOD)
        await self._rate(self._call(visit.principal))
        call_id = call_named(visit.scope["path"].removeprefix(PREFIX))
        told = await self._of(visit.principal, call_id) if call_id else None
        if told is None:
            raise Refused(UNKNOWN_OBJECT)
        await respond(visit.send, Answer(200, msgspec.json.encode(told.as_json())), [_NO_STORE])

    async def say(self, send: Send, refused: Refused, headers: Headers) -> None:
        await respond(send, door_answer(refused), headers)

    async def say_fault(self, send: Send, call_id: str, headers: Headers) -> None:
        await respond(send, fault_answer(_FAULT, call_id), headers)

    def reseal(self, state_key: bytes) -> None:
        """Nothing here is sealed."""

    def _call(self, who: Principal) -> Call:
        return Call(
            id=new_call_id(self._clock()),
            principal=who,
            method="calls/get",
            kind=Kind.SERVER,
            server="",
            name="*",
            act=Act.LIST,
            weight=CallClass.FREE,
        )
