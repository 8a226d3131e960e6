"""At the end of a path, /search: two tools that find and call all others, for large catalogues.

    search_tools {"query":"time in a city"}                         what fits of what the caller may use
    call_tool {"name":"time_now","arguments":{"zone":"Asia/Tokyo"}}  tools/call of that tool, and nothing else

Behind `asked_really` there is no call_tool: policy, budgets, pins and the log know the tool alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from gateway.domain.arguments import Validator, compile_schema
from gateway.domain.meter import bytes_within
from gateway.domain.model import Call, Definition, Kind, Principal
from gateway.domain.refusal import INVALID_ARGUMENTS, Refused
from gateway.domain.search import Index
from gateway.edge.calls import MAX_NAME_CHARS, Asked, Place
from gateway.edge.endpoint import Endpoint, Span
from gateway.edge.methods import METHODS, Method
from gateway.edge.reply import CALL_META, SERVER_INFO_META, Identification, call_meta

SEARCH, CALL = "search_tools", "call_tool"
MAX_FOUND = 20
MAX_QUERY_CHARS = 400
MAX_FOUND_BYTES = bytes_within(25_000)  # as much as a tool may answer when nothing else is said
_FOUND = 5
_MAX_SIGHTS = 512
_MOST_ON_LOOP = 1_000  # tools: to go through so many takes a few milliseconds
_CALL_METHOD = "tools/call"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_TOOLS: Mapping[str, Mapping[str, Any]] = {
    SEARCH: {
        "name": SEARCH,
        "description": "Finds the tools that you may use. Says of each its name, its description and"
        " the inputSchema of its arguments; the best fit comes first. Call what it finds with"
        " call_tool.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_QUERY_CHARS,
                    "description": "Words for what the tool should do, or its name.",
                },
                "limit": {"type": "integer", "minimum": 1, "maximum": MAX_FOUND, "default": _FOUND},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    CALL: {
        "name": CALL,
        "description": "Calls a tool that search_tools has found, and answers as that tool does.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_NAME_CHARS,
                    "description": "The tool's name, as it was found.",
                },
                "arguments": {
                    "type": "object",
                    "description": "What the tool's inputSchema asks for.",
                },
            },
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}
_VALIDATORS: Mapping[str, Validator] = MappingProxyType(
    {name: compile_schema(tool["inputSchema"]) for name, tool in _TOOLS.items()}
)
# As tools/list shows them here, to everybody and always.
TOOLS = tuple(msgspec.Raw(msgspec.json.encode(tool)) for tool in _TOOLS.values())


def is_inner(asked: Asked) -> bool:
    """Whether a tool is called through call_tool, or would be."""
    message = asked.message
    is_call = asked.endpoint.search and message.method == _CALL_METHOD
    return is_call and message.params.get("name") == CALL


def asked_really(asked: Asked, row: Method) -> tuple[Asked, Method]:
    """What is asked at a search endpoint, as it would be asked at the endpoint itself.

    The arguments of the tool are the bytes that stand in those of call_tool: they were scanned with
    the message. Only these two tools can be called here; any other name stays, and means nothing.
    Raises: Refused: INVALID_ARGUMENTS: they do not fit call_tool.
    """
    message = asked.message
    if message.method != _CALL_METHOD:
        return _at_its_own(asked), row
    name, arguments = message.params.get("name"), message.params.get("arguments")
    if name == SEARCH:
        return asked, METHODS["tools/list"]
    if name != CALL or not isinstance(arguments, dict | None):
        return asked, row
    arguments = arguments or {}
    _check(CALL, arguments)
    raw, inner = dict(message.raw), _MEMBERS.decode(message.raw["arguments"])
    params = {**message.params, "arguments": None, **arguments}
    del raw["arguments"]
    real = msgspec.structs.replace(message, raw={**raw, **inner}, params=params)
    return _at_its_own(msgspec.structs.replace(asked, message=real)), row


class Searches:
    """Answers search_tools from what is in force now."""

    def __init__(self, place: Callable[[], Place], own: Identification) -> None:
        self._place = place
        self._own = own
        self._building = anyio.Lock()
        self._index = Index(())
        self._indexed = -1  # the version of the catalogue that the index is of
        self._seen_at: object = None  # what was in force when the sights were taken
        self._sights: dict[tuple[Principal, Endpoint], Sequence[int]] = {}

    async def result(self, call: Call, endpoint: Endpoint) -> bytes:
        """The result of search_tools, raw. Raises: Refused: INVALID_ARGUMENTS."""
        _check(SEARCH, call.arguments)
        place = await self._indexed_place()
        sight = self._sight(call.principal, endpoint, place)
        most = int(call.arguments.get("limit", _FOUND))
        asked = (call.arguments["query"], sight, most)
        if len(sight) > _MOST_ON_LOOP:
            found = await anyio.to_thread.run_sync(self._index.find, *asked)
        else:
            found = self._index.find(*asked)
        return self._said(call, _shown(found, endpoint))

    async def _indexed_place(self) -> Place:
        """What is in force now, once there is an index of it: it is made beside the loop."""
        while self._indexed != (place := self._place()).catalogue.version:
            async with self._building:
                catalogue = self._place().catalogue
                if self._indexed != catalogue.version:
                    tools = catalogue.listing(Kind.TOOL)
                    self._index = await anyio.to_thread.run_sync(Index, tools)
                    self._indexed = catalogue.version
        return place

    def _sight(self, principal: Principal, endpoint: Endpoint, place: Place) -> Sequence[int]:
        now = (place.snapshot.version, place.catalogue.version)
        if now != self._seen_at or len(self._sights) >= _MAX_SIGHTS:
            self._sights.clear()
            self._seen_at = now
        who = (principal, endpoint)
        sight = self._sights.get(who)
        if sight is None:
            sight = self._index.sight(place.visible(principal, endpoint, Kind.TOOL))
            self._sights[who] = sight
        return sight

    def _said(self, call: Call, tools: list[msgspec.Raw]) -> bytes:
        found = msgspec.json.encode({"tools": tools})
        meta: dict[str, Any] = {CALL_META: msgspec.Raw(call_meta(call, {}))}
        said: dict[str, Any] = {
            "content": [{"type": "text", "text": found.decode()}],
            "structuredContent": msgspec.Raw(found),
            "_meta": meta,
        }
        if call.client.modern:
            said["resultType"] = "complete"
            meta[SERVER_INFO_META] = msgspec.Raw(self._own.raw)
        return msgspec.json.encode(said)


def _at_its_own(asked: Asked) -> Asked:
    return msgspec.structs.replace(asked, endpoint=asked.endpoint._replace(search=False))


def _check(name: str, arguments: Mapping[str, Any]) -> None:
    problem = _VALIDATORS[name](arguments)
    if problem is not None:
        raise Refused(INVALID_ARGUMENTS, detail={"problem": problem})


def _shown(found: list[Definition], endpoint: Endpoint) -> list[msgspec.Raw]:
    """Each by the name that call_tool knows it by; the best is shown, however large it is."""
    shown: list[msgspec.Raw] = []
    left_bytes = MAX_FOUND_BYTES
    for tool in found:
        name = tool.name if endpoint.span is Span.SERVER else tool.wire_name
        members = _MEMBERS.decode(tool.body)
        said = {key: members[key] for key in ("description", "inputSchema") if key in members}
        one = msgspec.json.encode({"name": name, **said})
        left_bytes -= len(one)
        if shown and left_bytes < 0:
            break
        shown.append(msgspec.Raw(one))
    return shown
