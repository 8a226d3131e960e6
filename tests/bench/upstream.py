"""The upstream of the benchmark: an MCP server of either era that costs next to nothing.

POST /mcp     ten tools, `echo` answers with what it was given
POST /many    the same with 1,000 tools
POST /kept    ten tools that say of themselves that they only read
GET  /count   {"requests": every request so far, "calls": tools/call, "distinct": echoes seen}

What it is beside that, a model and an agent, is in `answers`; what is asked of them is counted as
a tools/call is.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

from tests.bench.answers import ANSWERS
from tests.bench.wire import Message, Server, serve

MODERN = b"2026-07-28"
FEW, MANY = 10, 1000

_JSON = b"Content-Type: application/json\r\n"
_SERVER_INFO = {"name": "bench-upstream", "version": "1"}
_META = {"io.modelcontextprotocol/serverInfo": _SERVER_INFO}


class Params(msgspec.Struct):
    """What the upstream reads of a request's params."""

    name: str = ""
    arguments: dict[str, str] = {}


class Ask(msgspec.Struct):
    """What the upstream reads of a request."""

    method: str
    id: int | str | None = None
    params: Params = msgspec.field(default_factory=Params)


def _tool(name: str, **more: Any) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": 1000, "description": "What to say"}
    schema = {"type": "object", "properties": {"text": text}, "required": ["text"]}
    about = "Answer with the text it was given, so that every reply can be told from the others"
    return {"name": name, "description": about, "inputSchema": schema, **more}


def _tools(count: int, **more: Any) -> list[dict[str, Any]]:
    return [_tool("echo", **more), *(_tool(f"tool_{n:04d}", **more) for n in range(count - 1))]


_encode = msgspec.json.Encoder().encode
_ask = msgspec.json.Decoder(Ask).decode
_capabilities: dict[str, Any] = {"tools": {}}
_hints = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "private", "_meta": _META}
_RESULTS: dict[tuple[str, bool], bytes] = {
    ("server/discover", True): _encode(
        {"supportedVersions": [MODERN.decode()], "capabilities": _capabilities, **_hints}
    ),
    ("initialize", False): _encode(
        {
            "protocolVersion": "2025-11-25",
            "capabilities": _capabilities,
            "serverInfo": _SERVER_INFO,
        }
    ),
    ("ping", False): b"{}",
}
_offered = {
    b"/mcp": _tools(FEW),
    b"/many": _tools(MANY),
    b"/kept": _tools(FEW, annotations={"readOnlyHint": True}),
}
_LISTS: dict[tuple[bytes, bool], bytes] = {
    (path, modern): _encode({"tools": tools, **(_hints if modern else {})})
    for path, tools in _offered.items()
    for modern in (True, False)
}
_MODERN_END = b'}],"resultType":"complete","_meta":' + _encode(_META) + b"}}"


@dataclass(slots=True)
class Counted:
    """What the upstream has seen, over all its connections."""

    requests: int = 0
    calls: int = 0
    distinct: set[str] = field(default_factory=set)

    def saw(self, text: str) -> None:
        """One call with that text."""
        self.calls += 1
        self.distinct.add(text)


_counted = Counted()


class Upstream(Server):
    """One connection to the upstream."""

    def received(self, request: Message) -> None:
        if request.target == b"/count":
            seen = {"requests": _counted.requests, "calls": _counted.calls}
            self.respond(200, _JSON, _encode({**seen, "distinct": len(_counted.distinct)}))
            return
        if answer := ANSWERS.get(request.target):
            self._beside(answer(self, request))
        elif self.method == b"DELETE":
            self.respond(200, b"", b"")
        elif self.method == b"GET":
            self.respond(405, b"", b"")  # it has nothing to tell by itself
        else:
            self._asked(request)

    def _beside(self, text: str) -> None:
        if text:
            _counted.requests += 1
            _counted.saw(text)

    def _asked(self, request: Message) -> None:
        _counted.requests += 1
        ask = _ask(request.body)
        modern = request.headers.get(b"mcp-protocol-version") == MODERN
        if ask.id is None:
            self.respond(202, b"", b"")
        elif ask.method == "tools/call":
            self._echo(ask, modern)
        elif ask.method == "tools/list":
            self._result(ask, _LISTS[request.target, modern])
        elif result := _RESULTS.get((ask.method, modern)):
            session = b"" if modern else b"Mcp-Session-Id: bench\r\n"
            self._result(ask, result, session)
        else:
            error = {"code": -32601, "message": "Method not found"}
            refused = {"jsonrpc": "2.0", "id": ask.id, "error": error}
            self.respond(404 if modern else 200, _JSON, _encode(refused))

    def _echo(self, ask: Ask, modern: bool) -> None:
        text = ask.params.arguments["text"]
        _counted.saw(text)
        body = b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b%b' % (
            _encode(ask.id),
            _encode(text),
            _MODERN_END if modern else b"}]}}",
        )
        self.respond(200, _JSON, body)

    def _result(self, ask: Ask, result: bytes, headers: bytes = b"") -> None:
        body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_encode(ask.id), result)
        self.respond(200, _JSON + headers, body)


if __name__ == "__main__":
    uvloop.run(serve(Upstream))
