"""The upstreams behind the border, and the only way to call one: with a Permit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import anyio
from anyio.abc import TaskGroup
from structlog.typing import FilteringBoundLogger

from gateway.domain import meter, refusal
from gateway.domain.model import Call, Kind, Outcome, Permit, Principal, Relay, Status
from gateway.upstream import knock, own
from gateway.upstream.anybody import as_anybody
from gateway.upstream.breaker import Breaker, BreakerState
from gateway.upstream.callers import Connector, PerCaller
from gateway.upstream.exchange import Asker, Bounds, Exchange, Interrupted, RelayFailed, TooLarge
from gateway.upstream.http import HttpConnector
from gateway.upstream.kept import KeptResults
from gateway.upstream.listing import Listing, list_all
from gateway.upstream.message import UpstreamFailed, unreachable
from gateway.upstream.openapi.connector import OpenApiConnector
from gateway.upstream.own import own_call
from gateway.upstream.python import python_command
from gateway.upstream.questions import as_told, checked
from gateway.upstream.spec import (
    HttpTransport,
    ModelTransport,
    Offer,
    OpenApiTransport,
    PeerTransport,
    PythonTransport,
    ServerSpec,
)
from gateway.upstream.stdio import StdioConnector
from gateway.upstream.subscribe import Followings, Share

# What says something of the upstream's health; a lost credential or a slow caller does not.
_SICK = frozenset(
    row.id
    for row in (
        refusal.UPSTREAM_UNREACHABLE,
        refusal.UPSTREAM_TIMEOUT,
        refusal.UPSTREAM_BROKEN,
        refusal.UPSTREAM_DIED,
    )
)


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """How one upstream is doing, for metrics and for the person on call."""

    breaker: BreakerState
    in_flight: int
    connector: Mapping[str, int | str]  # connections; or state, restarts, dropped messages
    followed: int = 0  # resources that callers follow
    updates_heard: int = 0  # words of the server that one of them has changed
    updates_passed: int = 0  # of these, bursts that were passed on


@dataclass(slots=True)
class _Lane:
    spec: ServerSpec
    connector: Connector
    breaker: Breaker
    bounds: Bounds  # of a call
    followings: Followings
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    last_failure: UpstreamFailed | None = None


class Upstreams:
    """Between `start` and `stop`, on one event loop. Servers may come and go meanwhile."""

    def __init__(
        self,
        specs: Iterable[ServerSpec],
        log: FilteringBoundLogger,
        rights: Callable[[Principal], str] = repr,
    ) -> None:
        """*rights*: equal for two who may do the same; their equal calls may share a result.

        Raises: fetch.BadTarget: a URL that no connection may ever go to.
        """
        self._log = log
        self.kept = KeptResults(rights)
        self._listener: Callable[[str], None] = lambda server: None
        self._lanes = {spec.name: self._lane(spec) for spec in specs}
        self._stopping = asyncio.Event()
        self._group: TaskGroup | None = None
        self._root: asyncio.Task[None] | None = None

    def on_list_changed(self, listener: Callable[[str], None]) -> None:
        """Call *listener* with the server's name whenever it says that its lists have changed."""
        self._listener = listener

    async def start(self) -> None:
        """Make every upstream callable. Children are started when first needed."""
        started = asyncio.Event()
        self._root = asyncio.create_task(self._house(started))
        await started.wait()

    async def stop(self) -> None:
        """End every connection and child process; returns when they are gone, in bounded time."""
        if self._root is not None:
            self._stopping.set()
            await asyncio.shield(self._root)  # whoever stops waiting does not stop the clean-up

    def add(self, spec: ServerSpec) -> None:
        """Put one more server behind the border. Raises: ValueError: the name is taken."""
        if spec.name in self._lanes:
            raise ValueError(f"server {spec.name} is already there")
        lane = self._lanes[spec.name] = self._lane(spec)
        if self._group is not None:
            self._group.start_soon(self._keep, lane)

    async def remove(self, server: str) -> None:
        """Take a server away; what is in flight to it fails. Unknown names are ignored."""
        lane = self._lanes.pop(server, None)
        self.kept.forget(server)
        if lane is not None and self._group is not None:
            lane.scope.cancel()
            await lane.released.wait()

    # -- the one network call ------------------------------------------------

    async def invoke(self, permit: Permit, relay: Relay, asker: Asker | None = None) -> Outcome:
        """Make the permitted call: at most one request, and always an outcome.

        *asker*: through whom the server may ask the caller; None: it may not.
        Raises: Interrupted: the calling task was cancelled; it carries the outcome.
        """
        call = permit.call
        lane = self._lanes.get(call.server)
        if lane is None:
            return Outcome(Status.FAILED, code=refusal.UPSTREAM_UNREACHABLE.id, sent=False)
        if call.method == "resources/subscribe":
            return await lane.followings.attend(call, relay)
        key = self.kept.key(call)
        if key and (kept := self.kept.find(key, permit)) is not None:
            return kept
        if not lane.breaker.admit(monotonic()):
            return Outcome(Status.FAILED, code=refusal.BREAKER_OPEN.id, sent=False)
        ceiling_bytes = _ceiling_bytes(permit, lane.spec)
        told = as_told(as_anybody(call) if key else call, lane.spec.requests)
        exchange = Exchange(told, relay, lane.bounds, ceiling_bytes, asker)
        lane.in_flight += 1
        try:
            outcome = await lane.connector.run(exchange)
        except asyncio.CancelledError as left:
            lane.breaker.abandoned()
            status = Status.CANCELLED if exchange.sent else Status.NOT_SENT
            raise Interrupted(exchange.end(status)) from left
        except Exception as err:  # noqa: BLE001 - sorted by _ended; a fault, too, must settle
            return self._ended(lane, exchange, err)
        finally:
            lane.in_flight -= 1
            exchange.close()
        lane.breaker.succeeded()
        if key:
            self.kept.keep(key, call, outcome)
        return checked(outcome, call, lane.spec.requests)

    async def list_definitions(self, server: str) -> Listing:
        """Everything *server* offers now. Raises: UpstreamFailed: not all of it could be read."""
        lane = self._lanes.get(server)
        if lane is None:
            raise unreachable(f"there is no server {server}")
        until_s = monotonic() + lane.spec.listing_timeout_s

        async def ask(method: str, params: Mapping[str, bytes]) -> Outcome:
            call = own_call(server, method, params)
            left_s = until_s - monotonic()
            bounds = Bounds(left_s, lane.spec.max_result_bytes)
            return await own.ask(lane.connector.run, call, bounds)

        introduction = await lane.connector.introduce(ask)
        return await list_all(introduction, ask)

    async def knock(self, server: str) -> int:
        """The status with which the provider of the model *server* answers; a look at it asks nobody.

        Raises: UpstreamFailed: it does not, or does not take the credential.
        """
        lane = self._lanes.get(server)
        if lane is None:
            raise unreachable(f"there is no server {server}")
        within_s = min(lane.spec.timeout_s, lane.spec.listing_timeout_s)
        bounds = Bounds(within_s, lane.spec.max_result_bytes)
        call = own_call(server, knock.METHOD, {})
        return knock.status_of(await own.ask(lane.connector.run, call, bounds))

    def is_well(self, server: str) -> bool:
        """Whether nothing is known against calling *server* now."""
        lane = self._lanes.get(server)
        return lane is not None and lane.breaker.state(monotonic()) is BreakerState.CLOSED

    def health(self) -> Mapping[str, ServerHealth]:
        now_s = monotonic()
        return {
            name: ServerHealth(
                lane.breaker.state(now_s),
                lane.in_flight,
                lane.connector.health(),
                len(lane.followings),
                lane.followings.heard,
                lane.followings.passed,
            )
            for name, lane in self._lanes.items()
        }

    # -- inside --------------------------------------------------------------

    def _ended(self, lane: _Lane, exchange: Exchange, err: Exception) -> Outcome:
        """What became of a call that brought no answer."""
        server, call_id = lane.spec.name, exchange.call.id
        if isinstance(err, UpstreamFailed):
            self._note(lane, err)
            self._log.warning(
                "upstream_failed", server=server, call_id=call_id, code=err.code, why=err.sentence
            )
            return exchange.end(Status.FAILED, err.told)
        if isinstance(err, TooLarge):
            lane.breaker.succeeded()
            return exchange.end(Status.TOO_LARGE, refusal.RESULT_TOO_LARGE.id)
        lane.breaker.abandoned()
        if isinstance(err, RelayFailed):
            return exchange.end(Status.CANCELLED)
        # A fault of ours. The hold must not stay for ever: nobody knows the end, and so it is said.
        self._log.error("upstream_fault", server=server, call_id=call_id, exc_info=err)
        return exchange.end(Status.UNKNOWN)

    def _note(self, lane: _Lane, failure: UpstreamFailed) -> None:
        known = failure is lane.last_failure  # one death fails many calls; it is one failure
        lane.last_failure = failure
        if known or failure.code not in _SICK:
            lane.breaker.abandoned()
            return
        was = lane.breaker.state(monotonic())
        lane.breaker.failed(monotonic())
        if was is BreakerState.CLOSED and lane.breaker.state(monotonic()) is BreakerState.OPEN:
            self._log.error("breaker_opened", server=lane.spec.name, code=failure.code)

    def _lane(self, spec: ServerSpec) -> _Lane:
        breaker = Breaker(spec.breaker_failures, spec.breaker_open_s)
        bounds = Bounds(spec.timeout_s, spec.max_result_bytes)
        connector = self._connector(spec)
        followings = Followings(_shares(connector))
        return _Lane(spec, connector, breaker, bounds, followings)

    def _connector(self, spec: ServerSpec) -> Connector:
        def changed() -> None:
            self.kept.forget(spec.name)
            self._listener(spec.name)

        transport = spec.transport
        if isinstance(transport, OpenApiTransport):
            return OpenApiConnector(transport)
        if isinstance(transport, ModelTransport):
            from gateway.upstream.model import ModelConnector

            return ModelConnector(spec, transport, self._log)
        if isinstance(transport, PeerTransport):
            from gateway.upstream.peer import PeerConnector

            return PeerConnector(spec, transport, self._log)
        way = python_command(transport) if isinstance(transport, PythonTransport) else transport

        def session(changed: Callable[[], None], offer: Offer | None) -> Connector:
            if isinstance(way, HttpTransport):
                return HttpConnector(spec, way, self._log, changed, offer)
            return StdioConnector(spec, way, self._log, changed, offer)

        common = session(changed, None)
        if not spec.per_caller:
            return common
        line = partial(session, lambda: None)
        return PerCaller(spec.requests, common, line, self._log)

    async def _house(self, started: asyncio.Event) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            for lane in self._lanes.values():
                group.start_soon(self._keep, lane)
            started.set()
            await self._stopping.wait()
            self._group = None
            group.cancel_scope.cancel()

    async def _keep(self, lane: _Lane) -> None:
        try:
            with lane.scope:
                async with lane.followings.open():
                    await lane.connector.own()
        except Exception:  # noqa: BLE001 - one broken connector must not take the others down
            self._log.exception("upstream_fault", server=lane.spec.name)
        finally:
            lane.bounds.close()
            lane.released.set()


def _ceiling_bytes(permit: Permit, spec: ServerSpec) -> int:
    """What a connector may take in; that of a model counts the text itself, for the rest is framing."""
    if permit.call.kind is Kind.MODEL:
        return spec.max_result_bytes
    return meter.bytes_within(permit.ceiling_tokens)


def _shares(connector: Connector) -> Callable[[Call], Share]:
    """With whom a caller may share a subscription: with everybody, where all share the session."""
    if isinstance(connector, PerCaller):
        return connector.share_of
    return lambda call: Share("", connector)
