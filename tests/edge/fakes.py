"""Fakes of what the edge stands on, and a driver that speaks ASGI without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import Message

from gateway.domain.asking import Ask, as_child
from gateway.domain.catalogue import Catalogue
from gateway.domain.model import (
    MODERN_VERSION,
    Amounts,
    Approval,
    Call,
    Decision,
    Definition,
    Outcome,
    Principal,
    Relay,
    Reply,
    Settlement,
    Status,
    Stream,
    Verdict,
)
from gateway.domain.refusal import NOT_APPROVED, QUARANTINED, UNKNOWN_OBJECT, Refusal, Refused
from gateway.domain.toolset import Toolset
from gateway.edge.asks import Respondent
from gateway.edge.house import House, Settings
from gateway.edge.http import Border
from tests.edge.definitions import BASIC, catalogue
from tests.edge.people import NOW_US, FakeIdentity
from tests.fakes import make_permit

STATE_KEY = bytes(range(32))

Upstream = Callable[[Call, Relay], Awaitable[Outcome]]


def unseen_by(principal: Principal) -> set[str]:
    return {"hidden", "docs"} if principal.subject == "bob" else {"hidden"}


class FakeSnapshot:
    """Everybody sees everything but the server named hidden; bob does not see docs either."""

    def __init__(self, version: str = "policy-1") -> None:
        self.version = version
        self.asked = 0

    def visible(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        self.asked += 1
        unseen = unseen_by(principal)
        return tuple(
            d for d in definitions if d.server not in unseen and d.approval is Approval.APPROVED
        )

    def visible_to_role(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        """A role sees the server of its name."""
        return tuple(d for d in definitions if d.server == principal.subject)


class FakePolicies:
    def __init__(self) -> None:
        self.current = FakeSnapshot()
        self.denied: set[str] = set()  # names of objects

    def decide(self, call: Call) -> Decision:
        is_denied = call.name in self.denied or call.server in unseen_by(call.principal)
        return Decision(Verdict.DENY if is_denied else Verdict.ALLOW, self.current.version)


async def echo(call: Call, relay: Relay) -> Outcome:
    """An upstream that says what it was sent."""
    text = json.dumps({name: json.loads(raw) for name, raw in call.params.items()}, sort_keys=True)
    result = {"content": [{"type": "text", "text": text}]}
    return Outcome(Status.OK, json.dumps(result).encode())


class Interrupted(asyncio.CancelledError):
    """As the connectors raise it: a cancellation that carries what came of the call."""


@dataclass
class FakePipeline:
    """Keeps what it was asked; refuses as the real one does what has no approved definition."""

    upstream: Upstream = echo
    governed: list[Call] = field(default_factory=list)
    entered: list[Call] = field(default_factory=list)
    questions: list[Call] = field(default_factory=list)
    rated: list[Call] = field(default_factory=list)
    refused: list[tuple[Refusal, Principal | None, str, str]] = field(default_factory=list)
    interrupted: list[Call] = field(default_factory=list)
    attended: list[Outcome] = field(default_factory=list)  # of streams
    refusing: Callable[[Call], Refused | None] = lambda call: None
    left: Mapping[str, int] = field(default_factory=dict)
    caller: Respondent | None = None  # of the newest call: whom its upstream may ask

    async def govern(
        self,
        call: Call,
        relay: Relay,
        caller: Respondent | None = None,
        admitted: Callable[[Call], None] = lambda _call: None,
    ) -> Reply:
        self.governed.append(call)
        self.caller = caller
        self._check(call)
        admitted(call)
        try:
            outcome = await self.upstream(call, relay)
        except asyncio.CancelledError as left:
            self.interrupted.append(call)
            raise Interrupted from left
        return Reply(call, outcome, Settlement(1, Amounts(calls=1), self.left))

    async def question(self, call: Call, ask: Ask, caller: Respondent) -> Outcome:
        child = as_child(call, ask, f"{call.id}/{len(self.questions) + 1}")
        self.questions.append(child)
        return await caller.ask(make_permit(child))

    async def attend(self, call: Call, stream: Stream) -> Settlement:
        self.governed.append(call)
        refused = self.refusing(call)
        if refused is not None:
            refused.call_id = call.id
            raise refused
        try:
            await stream.run()
        finally:
            self.attended.append(stream.outcome())
        return Settlement(1, Amounts(), {})

    async def enter(self, call: Call) -> None:
        self.entered.append(call)
        self._check(call)

    async def rate(self, call: Call) -> None:
        self.rated.append(call)
        self._check(call)

    async def refuse(
        self, refusal: Refusal, principal: Principal | None, address: str, method: str
    ) -> str:
        self.refused.append((refusal, principal, address, method))
        return f"REFUSED{len(self.refused):019d}"

    def _check(self, call: Call) -> None:
        refused = self.refusing(call)
        if refused is None and call.weight == "full":
            refused = _unusable(call)
        if refused is not None:
            refused.call_id = call.id
            raise refused

    @property
    def refusals(self) -> list[str]:
        return [row.id for row, *_ in self.refused]


def _unusable(call: Call) -> Refused | None:
    if call.definition is None or call.server in unseen_by(call.principal):
        return Refused(UNKNOWN_OBJECT)
    if call.definition.approval is Approval.QUARANTINED:
        return Refused(QUARANTINED)
    return Refused(NOT_APPROVED) if call.definition.approval is Approval.PROPOSED else None


@dataclass
class Stand:
    """A border on fakes, with the handles to change what it stands on."""

    settings: Settings = field(default_factory=lambda: Settings(version="9.9"))
    pipeline: FakePipeline = field(default_factory=FakePipeline)
    policies: FakePolicies = field(default_factory=FakePolicies)
    identity: FakeIdentity = field(default_factory=FakeIdentity)
    catalogue: Catalogue = field(default_factory=lambda: catalogue(BASIC))
    now_us: int = NOW_US
    ready: bool = True
    draining: bool = False
    toolsets: Mapping[str, Toolset] = field(default_factory=dict)
    call_keys: bytes | None = None

    def __post_init__(self) -> None:
        house = House(
            pipeline=self.pipeline,
            policies=self.policies,
            catalogue=lambda: self.catalogue,
            identity=self.identity,
            state_key=STATE_KEY,
            clock=lambda: self.now_us,
            toolsets=self.toolsets,
            is_ready=lambda: self.ready,
            is_draining=lambda: self.draining,
            render_metrics=lambda: b"calls_total 3\n",
            call_keys=lambda: self.call_keys,
        )
        self.border = Border(house, self.settings)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Knocker]:
        async with self.border.run():
            yield Knocker(self.border)


@dataclass
class Response:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    writes: int = 0

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type") == "text/event-stream"

    @property
    def events(self) -> list[Any]:
        lines = self.body.decode().split("\r\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    @property
    def message(self) -> Any:
        """The final JSON-RPC message, however it came."""
        return self.events[-1] if self.is_stream else self.json

    @property
    def result(self) -> Any:
        return self.message["result"]

    @property
    def error(self) -> Any:
        return self.message["error"]


class Line:
    """One connection: the request as ASGI sees it, and everything that is written back."""

    def __init__(self, body: bytes, chunks: int = 1) -> None:
        size = -(-len(body) // chunks) or 1
        self._pieces = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        self.hung_up = anyio.Event()
        self.first_chunk = anyio.Event()
        self.response = Response()

    async def receive(self) -> Message:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        response = self.response
        response.writes += 1
        if message["type"] == "http.response.start":
            assert not response.status, "a response starts once"
            response.status = message["status"]
            response.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            return
        assert response.status, "a body comes after the start"
        response.chunks.append(message.get("body", b""))
        self.first_chunk.set()


@dataclass
class Knocker:
    """Sends requests to the app in-process, as one caller."""

    app: Border
    key: str = "alice-key"
    path: str = "/mcp"

    def scope(self, headers: Iterable[tuple[bytes, bytes]], **over: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 8080),
            **over,
        }

    def headers(self, **over: str | None) -> list[tuple[bytes, bytes]]:
        said: dict[str, str | None] = {
            "host": "127.0.0.1:8080",
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        said |= {name.replace("_", "-"): value for name, value in over.items()}
        return [(k.encode(), v.encode()) for k, v in said.items() if v is not None]

    async def raw(
        self, body: bytes, headers: Iterable[tuple[bytes, bytes]], **over: Any
    ) -> Response:
        line = Line(body)
        await self.on(line, headers, **over)
        return line.response

    async def on(self, line: Line, headers: Iterable[tuple[bytes, bytes]], **over: Any) -> None:
        with anyio.fail_after(5):
            await self.app(self.scope(headers, **over), line.receive, line.send)

    async def call(self, name: str, arguments: Any = None, **meta: Any) -> Response:
        """A modern tools/call."""
        return await self.ask("tools/call", {"name": name, "arguments": arguments or {}}, **meta)

    async def ask(
        self, method: str, params: Mapping[str, Any] | None = None, **meta: Any
    ) -> Response:
        body, headers = modern(self, method, params, **meta)
        return await self.raw(body, headers)


def modern(
    who: Knocker, method: str, params: Mapping[str, Any] | None = None, **meta: Any
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of a request of the newest era."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        **meta,
    }
    said = {**(params or {}), "_meta": envelope}
    name = said.get("name") or said.get("uri")
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": said}).encode()
    named = name if isinstance(name, str) and method != "completion/complete" else None
    return body, who.headers(mcp_protocol_version=MODERN_VERSION, mcp_method=method, mcp_name=named)
