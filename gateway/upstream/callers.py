"""Servers whose sessions are never shared: one session for each caller, opened with what it declared.

    alice, who can be asked  --  a child process, or session, of her own
    alice, who cannot        --  another
    bob                      --  another
    the gateway itself       --  the common one: lists and changes, which are for everybody

A session may speak up in the middle of a call, and there is only one caller that it can mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from structlog.typing import FilteringBoundLogger

from gateway.domain import refusal
from gateway.domain.asking import ACROSS_ERAS, offered
from gateway.domain.model import Call, Outcome
from gateway.upstream.exchange import Exchange
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import UpstreamFailed, unreachable
from gateway.upstream.parking import Parked, Parking, Who, token_in, whose
from gateway.upstream.spec import Offer
from gateway.upstream.subscribe import Share, Told

MAX_LINES = 32  # of one server
MAX_LINES_OF_ONE = 4  # of one principal: it chooses what it declares
IDLE_S = 300.0
SWEEP_S = 5.0


class Connector(Protocol):
    """How one upstream is reached. `own` runs as long as the upstream is behind the border."""

    async def own(self) -> None:
        """Hold what the connector needs until cancelled, then release it, bounded in time."""
        ...

    async def run(self, exchange: Exchange) -> Outcome:
        """One call, sent at most once. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        ...

    async def introduce(self, ask: Ask) -> Introduction:
        """Who the server says it is. Raises: UpstreamFailed."""
        ...

    async def follow(self, uri: str, told: Told) -> None:
        """Hold a subscription to a resource. Raises: as `subscribe.Source`."""
        ...

    def health(self) -> Mapping[str, int | str]: ...


Place = tuple[Who, Offer]


@dataclass(slots=True)
class _Line:
    """One caller's session."""

    connector: Connector
    used_s: float  # monotonic
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    running: int = 0  # calls, with those that wait for their next round


class PerCaller:
    """A connector of connectors. *open_line* makes one that is not shared; its owner task is here."""

    def __init__(
        self,
        requests: frozenset[str],
        common: Connector,
        open_line: Callable[[Offer], Connector],
        log: FilteringBoundLogger,
    ) -> None:
        self._requests = requests
        self._common = common
        self._open_line = open_line
        self._log = log
        self._lines: dict[Place, _Line] = {}
        self._parking = Parking()
        self._group: TaskGroup | None = None

    async def own(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._common.own)
                while True:
                    await anyio.sleep(SWEEP_S)
                    self._end_idle(monotonic())
        finally:
            self._group = None
            self._parking.close()

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        call = exchange.call
        if not call.id:  # one of the gateway's own
            return await self._common.run(exchange)
        if not call.client.modern:
            return await self._on_line(exchange)
        return await self._in_rounds(exchange)

    async def introduce(self, ask: Ask) -> Introduction:
        return await self._common.introduce(ask)

    async def follow(self, uri: str, told: Told) -> None:
        await self._common.follow(uri, told)

    def share_of(self, call: Call) -> Share:
        """What a caller follows, it follows in its own session: there it may be another resource."""
        return Share(self._place_of(call), _OnLine(self, call))

    async def follow_for(self, call: Call, uri: str, told: Told) -> None:
        """As `follow`, in the session of *call*'s caller, which is in use meanwhile."""
        line = self._line_of(call)
        line.running += 1
        try:
            await line.connector.follow(uri, told)
        finally:
            line.running -= 1
            line.used_s = monotonic()

    def health(self) -> Mapping[str, int | str]:
        own = {"callers": len(self._lines), "parked": len(self._parking)}
        return {**self._common.health(), **own}

    # -- inside ----------------------------------------------------------------

    async def _in_rounds(self, exchange: Exchange) -> Outcome:
        token = token_in(exchange)
        if token:
            parked = self._parking.take(token, exchange.call.principal)
        elif self._group is not None:
            parked = Parked(exchange, self._requests)
            self._group.start_soon(parked.carry, self._on_line)
        else:
            raise unreachable("the server was taken away")
        outcome = await parked.round(exchange)
        if parked.token:
            self._parking.put(parked)
        return outcome

    async def _on_line(self, exchange: Exchange) -> Outcome:
        line = self._line_of(exchange.call)
        line.running += 1
        try:
            return await line.connector.run(exchange)
        finally:
            line.running -= 1
            line.used_s = monotonic()

    def _line_of(self, call: Call) -> _Line:
        """The session of *call*'s caller. Raises: UpstreamFailed: there is no room for another."""
        who, offer = self._place_of(call)
        line = self._lines.get((who, offer))
        if line is not None:
            return line
        if self._group is None:
            raise unreachable("the server was taken away")
        self._make_room(who)
        line = self._lines[who, offer] = _Line(self._open_line(offer), monotonic())
        self._group.start_soon(self._keep, (who, offer), line)
        return line

    def _place_of(self, call: Call) -> Place:
        who = whose(call.principal)
        # Across the eras nothing but elicitation can be carried.
        requests = self._requests & ACROSS_ERAS if call.client.modern else self._requests
        return who, Offer(offered(call.client.capabilities, requests), not call.client.modern)

    async def _keep(self, key: Place, line: _Line) -> None:
        try:
            with line.scope:
                await line.connector.own()
        except Exception:  # noqa: BLE001 - one broken session must not take the others down
            self._log.exception("upstream_fault")
        finally:
            if self._lines.get(key) is line:
                del self._lines[key]

    def _make_room(self, who: Who) -> None:
        """Raises: UpstreamFailed: every session that would have to go is in use."""
        mine = {key: line for key, line in self._lines.items() if key[0][:2] == who[:2]}
        for lines, most in ((mine, MAX_LINES_OF_ONE), (self._lines, MAX_LINES)):
            if len(lines) < most:
                continue
            idle = [(line.used_s, key) for key, line in lines.items() if not line.running]
            if idle:
                self._end(min(idle)[1])
            elif not self._end_waiting(lines, who):
                sentence = f"{most} sessions with this server are in use already"
                raise UpstreamFailed(refusal.TOO_MANY_STREAMS.id, sentence)

    def _end_waiting(self, lines: Mapping[Place, _Line], who: Who) -> bool:
        """End, of the sessions in which nobody but people is waited for, that of whoever has most.

        Of several the one that waits longest; none of a caller that has fewer than *who* then would.
        """
        waiting: dict[Place, list[Parked]] = {}
        for one in self._parking.waiting():
            waiting.setdefault(self._place_of(one.begun), []).append(one)
        shares = _Shares(self._lines)
        spare = [
            key
            for key, parked in waiting.items()
            if key in lines and lines[key].running == len(parked) and shares.may_take(who, key[0])
        ]
        if not spare:
            return False
        key = max(spare, key=lambda one: shares.of(one[0]))
        for one in waiting[key]:
            self._parking.drop(one)
        self._end(key)
        return True

    def _end_idle(self, now_s: float) -> None:
        for key, line in tuple(self._lines.items()):
            if not line.running and now_s - line.used_s > IDLE_S:
                self._end(key)

    def _end(self, key: Place) -> None:
        self._lines.pop(key).scope.cancel()
        self._log.info("upstream_session_ended", sessions=len(self._lines))


class _Shares:
    """How many sessions each tenant has, and in it each principal."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._held: Counter[tuple[str, ...]] = Counter()
        for (tenant, subject, _), _ in places:
            self._held.update(((tenant,), (tenant, subject)))

    def of(self, who: Who) -> tuple[int, int]:
        return self._held[who[:1]], self._held[who[:2]]

    def may_take(self, who: Who, other: Who) -> bool:
        """Whether *who* has no more than *other* had, once it has one of its sessions."""
        if who[:2] == other[:2]:
            return True
        level = 1 if who[0] == other[0] else 0  # principals of a tenant, or tenants
        return self.of(who)[level] < self.of(other)[level]


class _OnLine:
    """A `subscribe.Source`: the session of one caller."""

    def __init__(self, callers: PerCaller, call: Call) -> None:
        self._callers = callers
        self._call = call

    async def follow(self, uri: str, told: Told) -> None:
        await self._callers.follow_for(self._call, uri, told)
