"""All streams that are open, and what becomes of them while they are.

Each is one call: it costs its rate and nothing of a budget, and its outcome counts what was told.
Twice a second everything that is open is looked at again: is the credential good, does the policy
in force still allow it, have the caller's own lists changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import monotonic

import anyio
import msgspec
from anyio.abc import TaskGroup

from gateway.domain.model import Call, Principal
from gateway.domain.refusal import DRAINING, FORBIDDEN, TOO_MANY_STREAMS, Refused
from gateway.edge.calls import Asked, Place, to_call
from gateway.edge.endpoint import Endpoint, Span
from gateway.edge.exchange import Exchange
from gateway.edge.faults import log_fault
from gateway.edge.follows import Follows
from gateway.edge.hearing import LISTED, TOOLS, Follow, Hearing
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import Leave
from gateway.edge.methods import METHODS
from gateway.edge.rooms import Rooms, who_of
from gateway.edge.stream import EVERYTHING, Stream, Wanted, read_wanted
from gateway.edge.strict import Message

SUBSCRIBE = "resources/subscribe"
_Looks = dict[tuple[Principal, Endpoint], Mapping[str, int]]


class Subscriptions:
    """Usable inside `run`."""

    def __init__(self, house: House, settings: Settings, place: Callable[[], Place]) -> None:
        self._house = house
        self._settings = settings
        self._place = place
        self._follows = Follows(house)
        self._streams: set[Stream] = set()
        self._rooms = Rooms(settings.max_streams_per_principal)
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._look_again)
            yield
            group.cancel_scope.cancel()

    # -- streams -----------------------------------------------------------------------------------

    def listen(self, call: Call, exchange: Exchange) -> Stream:
        """The stream of a subscriptions/listen, to be given to the pipeline, and then to `close`.

        Raises: Refused: BAD_PARAMS, TOO_MANY_STREAMS; not in the log yet.
        """
        wanted = read_wanted(exchange.asked.message.params)
        return self._opened(call, exchange, wanted, Hearing())

    def attend(self, call: Call, exchange: Exchange, hearing: Hearing) -> Stream:
        """The stream of a session, as `listen`. Raises: Refused: TOO_MANY_STREAMS."""
        return self._opened(call, exchange, EVERYTHING, hearing)

    def close(self, stream: Stream) -> None:
        """Give its room back. What a listen followed ends with it; a session may GET another."""
        self._streams.discard(stream)
        if stream.asked.client.modern:
            stream.hearing.close()
        self._rooms.give_back(who_of(stream.call.principal))

    def _opened(self, call: Call, exchange: Exchange, wanted: Wanted, hearing: Hearing) -> Stream:
        self._rooms.take(who_of(call.principal))
        if exchange.asked.endpoint.search:  # its two tools never change
            wanted = replace(wanted, lists=wanted.lists - {TOOLS})
        until_s = monotonic() + self._settings.stream_s
        return Stream(call, exchange, wanted, hearing, until_s, self._open, self._follows.may)

    async def _open(self, stream: Stream) -> None:
        """Before the first word: know what its caller sees now, and follow what it asked for."""
        place = self._place()
        stream.look(_seen(place, stream.asked), _now(place))
        self._streams.add(stream)
        if not stream.asked.client.modern:
            await stream.exchange.open()
            return
        room = self._follows.room(stream.call.principal)
        async with anyio.create_task_group() as group:
            for uri in stream.wanted.uris[:room]:
                group.start_soon(self._follow_for, stream, uri)
        if len(stream.wanted.uris) > room:
            who, address = stream.call.principal, stream.exchange.address
            await self._house.pipeline.refuse(TOO_MANY_STREAMS, who, address, SUBSCRIBE)
        if not self._house.identity.is_live(stream.call.principal, self._house.clock()):
            stream.exchange.leave(Leave.REVOKED)  # which cancels this
            await anyio.lowlevel.checkpoint()
        await stream.acknowledge()

    # -- resources ---------------------------------------------------------------------------------

    async def follow(self, call: Call, hearing: Hearing) -> Follow:
        """As `Follows.begin`."""
        if self._group is None:
            raise Refused(DRAINING, call.id)
        return await self._follows.begin(call, hearing, self._group)

    def unfollow(self, uri: str, hearing: Hearing) -> None:
        follow = hearing.follows.get(uri)
        if follow is not None:
            follow.end()
            hearing.forget(follow)

    async def _follow_for(self, stream: Stream, uri: str) -> None:
        """One resource of a listen: what is refused is not acknowledged, and in the log."""
        raw = {"uri": msgspec.Raw(msgspec.json.encode(uri))}
        message = Message(SUBSCRIBE, b"", "", raw, {"uri": uri})
        asked = msgspec.structs.replace(stream.asked, message=message)
        call_id = new_call_id(self._house.clock())
        call = to_call(asked, METHODS[SUBSCRIBE], self._place(), call_id)
        with suppress(Refused):  # another listen took the last room meanwhile
            await self.follow(replace(call, parent=stream.call.id), stream.hearing)

    # -- while they are open -----------------------------------------------------------------------

    async def _look_again(self) -> None:
        before: object = None
        while True:
            await anyio.sleep(self._settings.liveness_period_s)
            try:
                before = await self._look(before)
            except Exception as fault:  # noqa: BLE001 - nobody may listen on unjudged
                log_fault(fault, "")
                before = None
                self._end_all()

    async def _look(self, before: object) -> object:
        """Judge what is open under what is in force, which is returned; *before* was, last time."""
        for stream in self._streams:
            if stream.is_over:  # for a while: its caller reads nothing, not even the end
                stream.exchange.leave(Leave.ENDED)
        place = self._place()
        now = _now(place)
        if self._house.is_draining():
            self._end_all(DRAINING.id)
        self._follows.sweep(judge=now != before)
        looks: _Looks = {}
        for stream in tuple(self._streams):
            if stream.is_over:
                continue
            if monotonic() >= stream.until_s or stream.is_in_vain:
                stream.end()
            elif stream.seen_at != now:
                self._compare(stream, place, looks)
                await anyio.lowlevel.checkpoint()
        return now

    def _compare(self, stream: Stream, place: Place, looks: _Looks) -> None:
        asked = stream.asked
        who = (asked.principal, asked.endpoint)
        if who not in looks:
            looks[who] = _seen(place, asked)
        seen = looks[who]
        if asked.endpoint.span is not Span.ALL and not any(seen.values()):
            stream.end(FORBIDDEN.id)  # there is no such endpoint any more, for this caller
        else:
            stream.look(seen, _now(place))

    def _end_all(self, code: str = "") -> None:
        for stream in self._streams:
            if not stream.is_over:
                stream.end(code)
        self._follows.end_all()


def _now(place: Place) -> object:
    """What decides of every list: the policy and the catalogue in force."""
    return place.snapshot.version, place.catalogue.version


def _seen(place: Place, asked: Asked) -> Mapping[str, int]:
    """A mark of each list as the caller sees it; 0 of one that is empty."""
    marks = {}
    for method, kinds in LISTED.items():
        visible = [
            d for kind in kinds for d in place.visible(asked.principal, asked.endpoint, kind)
        ]
        shown = tuple((d.server, d.wire_name, d.digest) for d in visible)
        marks[method] = hash(shown) if shown else 0
    return marks
