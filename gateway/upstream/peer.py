"""Another agent that speaks A2A 1.0: its card is its list of skills, and each call is one request.

The card is read again at every look. Who is called is who was approved: the interface is the one in
the approved definition, not what the card says by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.domain import refusal
from gateway.domain.a2a import INVALID_PARAMS, METHODS, SEND, STREAM, VERSION
from gateway.domain.card import (
    MAX_CARD_BYTES,
    BadCard,
    Card,
    Interface,
    Pinned,
    card_text,
    pinned,
    read_card,
    skills_as_tools,
)
from gateway.domain.definition import canonical
from gateway.domain.model import Call, Outcome, Status
from gateway.domain.peer_tool import Gathered, message_for, progress_text, tool_result
from gateway.upstream.card_signature import check_signed
from gateway.upstream.document import get
from gateway.upstream.exchange import Exchange, pass_on
from gateway.upstream.fetch import BadTarget, Target, parse_target, resolve, tls_context
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import (
    METHOD_NOT_FOUND,
    Message,
    UpstreamFailed,
    broken,
    read_error,
    unreachable,
)
from gateway.upstream.openapi.answer import MAX_ERROR_CHARS, error_result
from gateway.upstream.openapi.connector import Document
from gateway.upstream.origin import Pools, connected
from gateway.upstream.peer_answer import (
    NOTHING_MORE,
    PeerAnswer,
    concluded,
    next_event,
    read_event,
    refused,
    says_last,
)
from gateway.upstream.peer_request import Unsendable, Way, origin_of
from gateway.upstream.spec import PeerTransport, ServerSpec
from gateway.upstream.subscribe import Declined, Told

_NOT_OFFERED = msgspec.json.encode({"code": METHOD_NOT_FOUND, "message": "not offered"})
_SAYS_NOTHING = "Give a message, or data, for the agent."


class PeerConnector:
    """One agent. `run` may be called by any number of tasks at once, while `own` runs.

    Raises, when made: BadTarget.
    """

    def __init__(
        self, spec: ServerSpec, transport: PeerTransport, log: FilteringBoundLogger
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._log = log
        self._target = _target(transport)
        self._keys = Document(transport.jwks) if transport.jwks else None
        self._ways: dict[Interface, Way] = {}
        self._making = asyncio.Lock()
        self._over = False
        self._card: Card | None = None  # as it was read last

    # -- Connector -----------------------------------------------------------

    async def own(self) -> None:
        """Keep connections for the calls; close them at the end."""
        try:
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            self._over = True
            for way in self._ways.values():
                if way.pools is not None:
                    way.pools.close()

    async def introduce(self, ask: Ask) -> Introduction:
        """Read the card. Raises: UpstreamFailed: there is none that can be used."""
        card = self._card = await self._fetch()
        return Introduction(VERSION, frozenset({"skills"}), card_text(card))

    async def follow(self, uri: str, told: Told) -> None:
        raise Declined(_NOT_OFFERED)  # it has no resources

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        method = exchange.call.method
        if method == "peers/list":
            return self._list(exchange)
        if method != "tools/call" and method not in METHODS:
            return Outcome(Status.RPC_ERROR, error=_NOT_OFFERED, sent=False)
        try:
            if method == "tools/call":
                return await self._ask_as_tool(exchange)
            return await self._ask(exchange, method, exchange.call.params)
        except Unsendable as no:
            error = msgspec.json.encode({"code": INVALID_PARAMS, "message": str(no)})
            return Outcome(Status.RPC_ERROR, error=error, sent=False)

    def health(self) -> Mapping[str, int | str]:
        pools = [way.pools for way in self._ways.values() if way.pools is not None]
        return {
            "connections": sum(one.calls.size for one in pools),
            "streams": sum(one.streams.size for one in pools),
        }

    # -- the card ------------------------------------------------------------

    async def _fetch(self) -> Card:
        """The card as it is now, judged. Raises: UpstreamFailed."""
        target, within_s = self._target, self._spec.listing_timeout_s
        tls = None
        if target.tls:
            tls = await asyncio.to_thread(tls_context, self._transport.card.ca_file)
        body = await get(target, tls, most_bytes=MAX_CARD_BYTES, within_s=within_s)
        keys = await self._keys.read(within_s) if self._keys is not None else None
        try:
            card = await asyncio.to_thread(_judged, body, keys)
            there = origin_of(self._transport.card, card.interface).target
        except (BadCard, BadTarget) as err:
            raise broken(f"the card cannot be used: {err}") from None
        await resolve(there)  # a card that leads to a private address is of no use from the start
        return card

    def _list(self, exchange: Exchange) -> Outcome:
        if self._card is None:
            raise unreachable("the card was not read yet")
        skills = b",".join(map(canonical, skills_as_tools(self._card)))
        result = b'{"skills":[' + skills + b"]}"
        exchange.take_up(len(result))
        return Outcome(Status.OK, result)

    # -- a call --------------------------------------------------------------

    async def _ask(self, exchange: Exchange, method: str, params: Mapping[str, bytes]) -> Outcome:
        """One request, its events passed on as they came; the last is the result."""
        held = b""
        async with self._asked(exchange, method, params):
            while message := await next_event(exchange, may_be_over=bool(held)):
                if held:
                    await _relay(exchange, held)
                if message.error:
                    return refused(exchange, message)
                held = bytes(message.result)
                if not METHODS[method].streams:
                    break
                if not says_last(method, read_event(message)):
                    await _relay(exchange, held)
                    held = b""
        return concluded(exchange, held or NOTHING_MORE)

    async def _ask_as_tool(self, exchange: Exchange) -> Outcome:
        """A tools/call of a skill: the agent is sent a message, and its answer is a result."""
        call = exchange.call
        params = message_for(call)
        if params is None:
            return Outcome(Status.TOOL_ERROR, error_result(_SAYS_NOTHING), sent=False)
        place = _place(call)
        method = STREAM if place.streams and "progressToken" in call.meta else SEND
        raw = {name: msgspec.json.encode(value) for name, value in params.items()}
        gathered, is_over = Gathered(), False
        async with self._asked(exchange, method, raw):
            while message := await next_event(exchange, may_be_over=is_over):
                if message.error:
                    return concluded(exchange, _said_no(message), Status.TOOL_ERROR)
                event = read_event(message)
                gathered.take(event)
                if method == SEND:
                    break
                is_over = says_last(method, event)
                await _tell_progress(exchange, gathered.n_events, event)
        result = tool_result(gathered.answer)
        status = Status.TOOL_ERROR if result.get("isError") else Status.OK
        return concluded(exchange, canonical(result), status)

    @asynccontextmanager
    async def _asked(
        self, exchange: Exchange, method: str, params: Mapping[str, bytes]
    ) -> AsyncIterator[None]:
        """The request is sent; what is answered comes to *exchange* until the end of the block."""
        if self._transport.card.auth_missing:
            sentence = "the configured credential could not be read"
            raise UpstreamFailed(refusal.CREDENTIAL_MISSING.id, sentence)
        call = exchange.call
        way, pools = await self._way(_place(call).interface)
        request = way.request(call, method, params)
        exchange.id = msgspec.json.encode(call.id)
        answer = PeerAnswer(exchange, self._transport.rules.max_bytes, is_rest=way.is_rest)
        # A stream holds its connection for as long as a task takes: calls shall not wait for it.
        pool = pools.streams if METHODS[method].streams else pools.calls
        connection = await connected(pool, exchange.deadline)
        connection.send(answer, way.origin.signed(request, call))
        try:
            yield
        finally:
            connection.abandon(answer)

    async def _way(self, interface: Interface) -> tuple[Way, Pools]:
        """How to an interface that was approved; there are never many. Raises: UpstreamFailed."""
        async with self._making:
            if self._over:
                raise unreachable("the connector has ended")
            way = self._ways.get(interface)
            if way is None:
                try:
                    way = Way(self._transport.card, interface)
                except BadTarget as err:
                    raise unreachable(f"the approved interface cannot be used: {err}") from None
                self._ways[interface] = way
            if way.pools is None:
                way.pools = await way.origin.connect()
            return way, way.pools


def _place(call: Call) -> Pinned:
    place = pinned(call.definition.body) if call.definition is not None else None
    if place is None:
        raise unreachable("no approved definition says where the agent is")
    return place


def _target(transport: PeerTransport) -> Target:
    # The card is public, so the credential stays here; who could change it on the way is the agent.
    card = transport.card
    return parse_target(card.url, allow_private=card.allow_private, carries_secret=True)


def _judged(body: bytes, keys: bytes | None) -> Card:
    """Raises: BadCard."""
    card = read_card(body)
    if keys is not None:
        check_signed(card, keys)
    return card


async def _relay(exchange: Exchange, frame: bytes) -> None:
    exchange.take_up(len(frame))
    await pass_on(exchange, frame)


async def _tell_progress(exchange: Exchange, n_events: int, event: Mapping[str, Any]) -> None:
    said = progress_text(event)
    if said:
        token = msgspec.Raw(exchange.call.meta["progressToken"])
        params = {"progressToken": token, "progress": n_events, "message": said}
        frame = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        await _relay(exchange, msgspec.json.encode(frame))


def _said_no(message: Message) -> bytes:
    """An error of the agent, for the model that called it."""
    said = msgspec.json.decode(read_error(message))["message"]
    return error_result(f"The agent answered with an error: {said[:MAX_ERROR_CHARS]}")
