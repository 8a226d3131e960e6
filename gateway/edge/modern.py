"""The newest era: what is plain is answered here, everything unusual goes through the SDK."""

from __future__ import annotations

from gateway.domain.model import MODERN_VERSION, Client, Kind
from gateway.domain.refusal import HEADER_MISMATCH, Refused
from gateway.edge.answers import Answers
from gateway.edge.arrival import Arrival
from gateway.edge.calls import Asked, check_aside, read_meta
from gateway.edge.exchange import Exchange
from gateway.edge.head import Head, accepted, decode_name
from gateway.edge.house import Settings
from gateway.edge.sdk import SdkLeg
from gateway.edge.tasks import METHODS as TASK_METHODS
from gateway.edge.ties import NewRuns, ties_of

VERSION_META = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_META = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_META = "io.modelcontextprotocol/clientInfo"

_RAW_VERSION = b'"%b"' % MODERN_VERSION.encode()
_HEADER_VERSION = MODERN_VERSION.encode()


class Modern:
    def __init__(self, settings: Settings, answers: Answers, sdk: SdkLeg) -> None:
        self._settings = settings
        self._answers = answers
        self._sdk = sdk

    async def serve(self, arrival: Arrival) -> None:
        exchange, head = _exchange(arrival, self._answers.runs), arrival.visitor.head
        arrival.watch.over(exchange)
        if exchange.asked.message.method in TASK_METHODS:
            _check_task_name(exchange.asked, head)
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
            and (message.method != "subscriptions/listen" or _can_stream(head))
        )

    def _is_plain_call(self, asked: Asked, head: Head) -> bool:
        """The header names the tool of the body, and no parameter travels in a header as well."""
        name = asked.message.params.get("name")
        if not isinstance(name, str) or decode_name(head.get(b"mcp-name")) != name:
            return False
        if b"mcp-param-" in b" ".join(head.values):
            return False
        place = self._answers.place()
        definition = place.named(name, Kind.TOOL, asked.endpoint, asked.principal)
        return definition is None or b'"x-mcp-header"' not in definition.body


def _check_task_name(asked: Asked, head: Head) -> None:
    """The header names the task of the body, as the extension wants it; the SDK does not know it.

    Raises: Refused: HEADER_MISMATCH.
    """
    named = decode_name(head.get(b"mcp-name"))
    if b"mcp-name" in head.repeated or named != asked.message.params.get("taskId"):
        raise Refused(HEADER_MISMATCH)


def _can_stream(head: Head) -> bool:
    return accepted(head.values.get(b"accept", b"")).stream


def _speaks_newest(head: Head) -> bool:
    return head.get(b"mcp-protocol-version") == _HEADER_VERSION


def _exchange(arrival: Arrival, runs: NewRuns) -> Exchange:
    check_aside(arrival.message)
    try:
        meta = read_meta(arrival.message)
    except Refused:
        meta = {}  # the SDK says what is wrong with it
    client = Client(
        MODERN_VERSION, meta.get(CAPABILITIES_META, b""), meta.get(CLIENT_INFO_META, b"")
    )
    visitor = arrival.visitor
    ties = ties_of(visitor.head, meta, visitor.principal, runs)
    asked = Asked(arrival.message, visitor.endpoint, visitor.principal, client, meta, ties=ties)
    return Exchange(asked, arrival.send, can_stream=visitor.can_stream, address=visitor.address)
