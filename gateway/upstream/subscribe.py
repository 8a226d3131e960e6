"""Resources of one server that callers follow: one subscription upstream for all who follow the same.

    caller A  --.
    caller B  ---+--  Following  --  subscriptions/listen (2026-07-28), or resources/subscribe
    caller C  --'

What a server says is a state and not a queue: however often a resource changes, all that waits for
a caller is that it has. So what is kept is bounded, whatever the server does, and so is what is
passed on: one word for each resource in QUIET_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import NamedTuple, Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup

from gateway.domain import refusal
from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.upstream.changes import Changes
from gateway.upstream.exchange import Interrupted
from gateway.upstream.message import UpstreamFailed, unreachable

MAX_FOLLOWED = 256  # resources of one server; each is a connection, or a request in flight
FOLLOWED_S = 3600.0  # then it is a call of its own again
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 60.0
STEADY_S = 60.0  # a subscription that held so long begins with the first pause again
ACKNOWLEDGED = b'{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}'


class Declined(UpstreamFailed):
    """The server answered with an error: it does not let this be followed."""

    def __init__(self, error: bytes) -> None:
        super().__init__(refusal.UPSTREAM_BROKEN.id, "it does not let the resource be followed")
        self.error = error  # raw JSON-RPC error


class Told(Protocol):
    """Whom a connector tells of one resource, on the event loop."""

    def acknowledged(self) -> None:
        """From here on the server tells of changes."""
        ...

    def updated(self) -> None: ...


class Source(Protocol):
    async def follow(self, uri: str, told: Told) -> None:
        """Hold a subscription to *uri*, until cancelled or until the server ends it.

        Raises: Declined. UpstreamFailed: it could not be had, or was lost.
        """
        ...


class Follower:
    """What waits for one caller: each thing once."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, None] = {}
        self._woken = asyncio.Event()
        self._failure: UpstreamFailed | None = None
        self._is_acknowledged = False

    def acknowledge(self) -> None:
        if not self._is_acknowledged:
            self._is_acknowledged = True
            self.tell(ACKNOWLEDGED)

    def tell(self, frame: bytes) -> None:
        self._waiting[frame] = None
        self._woken.set()

    def fail(self, failure: UpstreamFailed) -> None:
        """Nothing more will come; the first failure stays."""
        self._failure = self._failure or failure
        self._woken.set()

    async def next(self) -> bytes:
        """Raises: UpstreamFailed: nothing more will come."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure.with_traceback(None)  # several callers may get the same
            self._woken.clear()
            await self._woken.wait()
        frame = next(iter(self._waiting))
        del self._waiting[frame]
        return frame


class Following:
    """One resource that somebody follows; is told by the connector, tells all its followers."""

    def __init__(self, uri: str, source: Source) -> None:
        self.followers: set[Follower] = set()
        self.gone = asyncio.Event()
        self.scope = anyio.CancelScope()
        self.heard = 0  # words of the server
        self.passed = 0  # of these, bursts that were passed on
        self._uri = uri
        self._source = source
        self._changes = Changes(self._pass_on)
        self._was_up = False
        said = {"jsonrpc": "2.0", "method": "notifications/resources/updated"}
        self._frame = msgspec.json.encode({**said, "params": {"uri": uri}})

    # -- Told ----------------------------------------------------------------

    def acknowledged(self) -> None:
        if self._was_up:
            self._changes.noticed()  # whatever happened while nobody listened
        self._was_up = True
        for follower in self.followers:
            follower.acknowledge()

    def updated(self) -> None:
        self.heard += 1
        self._changes.noticed()

    # -- for the room of all -------------------------------------------------

    def join(self, follower: Follower) -> None:
        self.followers.add(follower)
        if self._was_up:
            follower.acknowledge()

    async def keep(self) -> None:
        """Hold the subscription, taking it up again whenever it is lost, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_FIRST_S
        try:
            with self.scope:
                while True:
                    began_s = loop.time()
                    failure = await self._once()
                    if not self._was_up:
                        self._fail_all(failure)
                        return
                    if loop.time() - began_s >= STEADY_S:
                        pause_s = PAUSE_FIRST_S
                    await anyio.sleep(pause_s)
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)
        finally:
            self._changes.close()
            self._fail_all(unreachable("the server was taken away"))
            self.gone.set()

    async def _once(self) -> UpstreamFailed:
        try:
            await self._source.follow(self._uri, self)
        except UpstreamFailed as err:
            return err
        return unreachable("the server ended the subscription")

    def _fail_all(self, failure: UpstreamFailed) -> None:
        for follower in self.followers:
            follower.fail(failure)

    def _pass_on(self) -> None:
        self.passed += 1
        for follower in self.followers:
            follower.tell(self._frame)


class Share(NamedTuple):
    """Who follows through one subscription: those of equal *mark*, by what *source* can follow."""

    mark: Hashable
    source: Source


class Followings:
    """All of one server; usable inside `open`. *share_of* says with whom a caller shares."""

    def __init__(self, share_of: Callable[[Call], Share]) -> None:
        self._share_of = share_of
        self._open: dict[tuple[Hashable, str], Following] = {}
        self._group: TaskGroup | None = None
        self._heard = 0  # of those that have ended
        self._passed = 0

    @property
    def heard(self) -> int:
        return self._heard + sum(following.heard for following in self._open.values())

    @property
    def passed(self) -> int:
        return self._passed + sum(following.passed for following in self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.cancel()

    async def attend(self, call: Call, relay: Relay) -> Outcome:
        """Tell *relay* that a resource is followed, then of its changes, while the caller stays.

        Its outcome counts what was told.
        Raises: Interrupted: the calling task was cancelled, as it always is but at the hour's end.
        """
        toll = _Toll(relay)
        follower = Follower()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FOLLOWED_S):
                    await self._tell(call, follower, toll)
            return toll.outcome(Status.OK)
        except asyncio.CancelledError as left:
            raise Interrupted(toll.outcome(Status.CANCELLED)) from left
        except Declined as err:
            return toll.outcome(Status.RPC_ERROR, error=err.error)
        except UpstreamFailed as err:
            return toll.outcome(Status.FAILED, err.code)

    async def _tell(self, call: Call, follower: Follower, toll: _Toll) -> None:
        following = await self._joined(call, follower)
        try:
            while True:
                await toll.pass_on(await follower.next())
        finally:
            following.followers.discard(follower)
            if not following.followers:
                following.scope.cancel()

    async def _joined(self, call: Call, follower: Follower) -> Following:
        """Raises: UpstreamFailed: there is no room for another, or the server is gone."""
        # One that is ending is still saying so to the server: a new one may not overtake it.
        share = self._share_of(call)
        place = (share.mark, call.name)
        while (following := self._open.get(place)) is not None and not following.followers:
            await following.gone.wait()
        if following is None:
            following = self._begin(place, share.source)
        following.join(follower)
        return following

    def _begin(self, place: tuple[Hashable, str], source: Source) -> Following:
        if self._group is None:
            raise unreachable("the server was taken away")
        if len(self._open) >= MAX_FOLLOWED:
            sentence = f"{MAX_FOLLOWED} resources of this server are followed already"
            raise UpstreamFailed(refusal.TOO_MANY_STREAMS.id, sentence)
        following = self._open[place] = Following(place[1], source)
        self._group.start_soon(self._keep, place, following)
        return following

    async def _keep(self, place: tuple[Hashable, str], following: Following) -> None:
        try:
            await following.keep()
        finally:
            del self._open[place]
            self._heard += following.heard
            self._passed += following.passed


class _Toll:
    """Counts what passes to one caller."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._began_s = perf_counter()
        self._count = 0
        self._n_bytes = 0

    async def pass_on(self, frame: bytes) -> None:
        if frame is not ACKNOWLEDGED:
            self._count += 1
            self._n_bytes += len(frame)
        await self._relay.notify(frame)

    def outcome(self, status: Status, code: str = "", error: bytes = b"") -> Outcome:
        took_s = perf_counter() - self._began_s
        return Outcome(
            status,
            error=error,
            code=code,
            received_bytes=self._n_bytes,
            upstream_s=took_s,
            count=self._count,
        )
