"""The newest era: what is plain is answered here, everything unusual goes through the SDK."""

from __future__ import annotations

from gateway.domain.model import MODERN_VERSION, Client, Kind
from gateway.domain.refusal import Refused
from gateway.edge.answers import Answers
from gateway.edge.arrival import Arrival
from gateway.edge.calls import Asked, check_aside, read_meta
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head, accepted, decode_name
from gateway.edge.house import House, Settings
from gateway.edge.sdk import SdkLeg

VERSION_META = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_META = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_META = "io.modelcontextprotocol/clientInfo"

_RAW_VERSION = b'"%b"' % MODERN_VERSION.encode()
_HEADER_VERSION = MODERN_VERSION.encode()


class Modern:
    def __init__(self, house: House, settings: Settings, answers: Answers, sdk: SdkLeg) -> None:
        self._house = house
        self._settings = settings
        self._answers = answers
        self._sdk = sdk

    async def serve(self, arrival: Arrival) -> None:
        exchange, head = _exchange(arrival), arrival.visitor.head
        arrival.watch.over(exchange)
        if not exchange.asked.message.id and _speaks_newest(head):
            answer = await self._answers.notified(exchange)
        elif self._is_plain(exchange.asked, head):
            answer = await self._answers.answer(exchange)
        else:
            answer = (await self._sdk.carry(exchange, head, arrival.body)).answer
        await exchange.finish(answer)

    def _is_plain(self, asked: Asked, head: Head) -> bool:
        """Whether nothing about the request needs a second look; any doubt says no."""
        message = asked.message
        return (
            message.method in self._settings.fast
            and bool(message.id)
            and not head.repeated
            and asked.meta.get(VERSION_META) == _RAW_VERSION
            and asked.client.capabilities.startswith(b"{")
            and _speaks_newest(head)
            and head.get(b"mcp-method") == message.method.encode()
            and accepted(head.values.get(b"accept", b"")).json
            and (message.method != "tools/call" or self._is_plain_call(asked, head))
        )

    def _is_plain_call(self, asked: Asked, head: Head) -> bool:
        """The header names the tool of the body, and no parameter travels in a header as well."""
        name = asked.message.params.get("name")
        if not isinstance(name, str) or decode_name(head.get(b"mcp-name")) != name:
            return False
        if b"mcp-param-" in b" ".join(head.values):
            return False
        catalogue = self._house.catalogue()
        if asked.server:
            definition = catalogue.find(asked.server, Kind.TOOL, name)
        else:
            definition = catalogue.by_wire(Kind.TOOL, name)
        return definition is None or b'"x-mcp-header"' not in definition.body


def _speaks_newest(head: Head) -> bool:
    return head.get(b"mcp-protocol-version") == _HEADER_VERSION


def _exchange(arrival: Arrival) -> Exchange:
    check_aside(arrival.message)
    try:
        meta = read_meta(arrival.message)
    except Refused:
        meta = {}  # the SDK says what is wrong with it
    client = Client(
        MODERN_VERSION, meta.get(CAPABILITIES_META, b""), meta.get(CLIENT_INFO_META, b"")
    )
    visitor = arrival.visitor
    asked = Asked(arrival.message, visitor.server, visitor.principal, client, meta)
    return Exchange(asked, arrival.send, can_stream=visitor.can_stream, address=visitor.address)
