"""Which revision a URL speaks, found in the order of the specification and once for each session.

    POST server/discover    ->  2026-07-28
    POST initialize         ->  2025-03-26 .. 2025-11-25     when that was not understood
    GET                     ->  HTTP+SSE of 2024-11-05       when that was HTTP 4xx

A server that cannot be reached, or refuses the credential, has not said which it speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.domain import refusal
from gateway.domain.model import Outcome, Status
from gateway.upstream import own
from gateway.upstream.changes import Changes
from gateway.upstream.envelope import LEGACY_VERSIONS, notification
from gateway.upstream.exchange import Bounds, Exchange, Run
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import METHOD_NOT_FOUND, UpstreamFailed, broken, error_code
from gateway.upstream.modern import ModernSession
from gateway.upstream.negotiate import UNSUPPORTED_VERSION, opening, read_initialized
from gateway.upstream.older import OlderSession, Rejected, Wire
from gateway.upstream.older_http import HttpWire
from gateway.upstream.older_sse import SseWire
from gateway.upstream.origin import Origin, Pools
from gateway.upstream.own import own_call
from gateway.upstream.spec import Offer, ServerSpec
from gateway.upstream.subscribe import Told

PROBE_S = 10.0
EVENT_FRAMING_BYTES = 65_536
# What only a server of 2026-07-28 says: a header that does not match, a capability it misses.
_MODERN_ERRORS = frozenset({-32020, -32021})
# An old server may meet an unknown request with noise, with silence, or by hanging up.
_NO_VERDICT = frozenset(
    {refusal.UPSTREAM_BROKEN.id, refusal.UPSTREAM_TIMEOUT.id, refusal.UPSTREAM_DIED.id}
)


class HttpSession(Protocol):
    """What was found: a conversation with the server, in whichever revision."""

    over: asyncio.Event
    why: str
    introduction: Introduction

    @property
    def listening(self) -> bool: ...

    async def run(self, exchange: Exchange) -> Outcome: ...

    async def introduce(self, ask: Ask) -> Introduction: ...

    async def follow(self, uri: str, told: Told) -> None: ...

    async def serve(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A server's address, and what a session with it is opened with."""

    spec: ServerSpec
    origin: Origin
    pools: Pools
    changes: Changes
    offer: Offer | None  # of the one caller it is for; None when callers share it


class _Unsupported(msgspec.Struct):
    supported: list[str] = []


class _Refusal(msgspec.Struct):
    data: _Unsupported = msgspec.field(default_factory=_Unsupported)


async def meet(place: Place) -> HttpSession:
    """A session with the server. Raises: UpstreamFailed: none came about."""
    return await _Meeting(place).meet()


class _Meeting:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._said: list[str] = []  # what each attempt came to
        self._asked_modern = False
        self._has_discover = True
        loop = asyncio.get_running_loop()
        self._until_s = loop.time() + place.spec.start_timeout_s
        self._max_event_bytes = place.spec.max_result_bytes + EVENT_FRAMING_BYTES

    async def meet(self) -> HttpSession:
        offer = self._place.offer
        attempts = [self._modern, self._streamable, self._sse]
        if offer is not None and offer.is_handshake:
            attempts = [self._streamable, self._modern, self._sse]
        for attempt in attempts:
            session = await attempt()
            if session is not None:
                return session
        raise broken(f"no MCP server answers at this URL: {'; '.join(self._said)}")

    async def _modern(self) -> HttpSession | None:
        place, self._asked_modern = self._place, True
        session = ModernSession(place.spec.name, place.origin, place.pools, place.changes)
        try:
            outcome = await self._ask(session.run, "server/discover", {}, PROBE_S)
        except UpstreamFailed as err:
            if err.code not in _NO_VERDICT:
                raise
            self._said.append(f"server/discover: {err.sentence}")
            return None
        if session.introduced(outcome):
            return session
        code = error_code(outcome.error) if outcome.status is Status.RPC_ERROR else 0
        if code in _MODERN_ERRORS:
            raise broken(f"server/discover is answered with error {code}")
        if code == UNSUPPORTED_VERSION and LEGACY_VERSIONS.isdisjoint(_supported(outcome.error)):
            raise broken("it speaks no protocol revision that is known here")
        self._has_discover = code != METHOD_NOT_FOUND
        self._said.append(f"server/discover: error {code}" if code else "server/discover: no")
        return None

    async def _streamable(self) -> HttpSession | None:
        place = self._place
        wire = HttpWire(place.origin, place.pools, self._max_event_bytes)
        session = OlderSession(place.spec.name, wire, place.changes.noticed, place.offer)
        try:
            outcome = await self._initialize(session)
        except Rejected as rejected:
            self._said.append(f"initialize: HTTP {rejected.status}")
            return await self._refused(_error_beside(rejected))
        if outcome.status is Status.RPC_ERROR:
            code = error_code(outcome.error)
            found = await self._refused(code)
            if found is None and self._asked_modern:
                raise broken(f"initialize is answered with error {code}")
            return found
        session.introduction = read_initialized(outcome.result)
        wire.agreed(session.introduction.version)
        await _say_initialized(wire)
        return session

    async def _refused(self, code: int) -> HttpSession | None:
        """What else initialize's refusal with *code* says of the server; 0: it had none."""
        if code == UNSUPPORTED_VERSION:
            # A slow modern server: our first question expired. Or it has not been asked yet.
            return await self._modern()
        if code == METHOD_NOT_FOUND and not self._has_discover:
            place = self._place
            session = ModernSession(place.spec.name, place.origin, place.pools, place.changes)
            session.is_nameless = True
            return session
        return None

    async def _sse(self) -> HttpSession | None:
        place = self._place
        wire = SseWire(place.origin, place.pools, self._max_event_bytes)
        session = OlderSession(place.spec.name, wire, place.changes.noticed, place.offer)
        greeted = False
        try:
            await wire.open(session, self._until_s)
            await self._greet(session, wire)
            greeted = True
        except UpstreamFailed as err:
            if err.code != refusal.UPSTREAM_BROKEN.id:
                raise
            self._said.append(f"GET: {err.sentence}")
        finally:
            if not greeted:
                await wire.close()
        return session if greeted else None

    async def _greet(self, session: OlderSession, wire: SseWire) -> None:
        """Raises: UpstreamFailed."""
        outcome = await self._initialize(session)
        if outcome.status is Status.RPC_ERROR:
            raise broken(f"initialize is answered with error {error_code(outcome.error)}")
        session.introduction = read_initialized(outcome.result)
        await _say_initialized(wire)

    async def _initialize(self, session: OlderSession) -> Outcome:
        """Raises: Rejected. UpstreamFailed."""
        offer = self._place.offer
        params = opening(offer.capabilities if offer is not None else None)
        return await self._ask(session.once, "initialize", params)

    async def _ask(
        self, run: Run, method: str, params: Mapping[str, bytes], most_s: float = 3600.0
    ) -> Outcome:
        spec = self._place.spec
        left_s = min(self._until_s - asyncio.get_running_loop().time(), most_s)
        call = own_call(spec.name, method, params)
        return await own.ask(run, call, Bounds(left_s, spec.max_result_bytes))


async def _say_initialized(wire: Wire) -> None:
    with suppress(UpstreamFailed):  # whatever is wrong with the server, the first call will show
        await wire.post(notification("notifications/initialized", {}))


def _error_beside(rejected: Rejected) -> int:
    """The code of the JSON-RPC error beside the status; 0 when there is none.

    Raises: UpstreamFailed: it was the credential that was refused.
    """
    said = rejected.said
    if isinstance(said, Outcome):
        return error_code(said.error)
    if said.code == refusal.UPSTREAM_REFUSED.id:
        raise said
    return 0


def _supported(error: bytes) -> list[str]:
    """The revisions that an UnsupportedProtocolVersionError names."""
    try:
        return msgspec.json.decode(error, type=_Refusal).data.supported
    except msgspec.MsgspecError:
        return []
