"""Looking at what servers say of themselves, again and again: differences become entries."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import structlog

from gateway.domain.definition import Listed, canonical, unreadable
from gateway.domain.model import Kind, object_name
from gateway.jobs.pace import Pace
from gateway.store.backing import MAX_ROWS
from gateway.store.ledger import Ledger, LogUnavailable
from gateway.store.pins import Pin, Seen, Sighting, pin_effect
from gateway.store.registry import MAX_PINS, Registry, examine
from gateway.upstream.catalogue import Upstreams
from gateway.upstream.listing import Listing
from gateway.upstream.message import UpstreamFailed

PRINCIPAL = "system:discover"
EVERY_S = 60.0
MAX_ENTRIES = 200  # of one look; more sightings than that become entries of many
SHORTEST_S = 0.1
log = structlog.get_logger("customhouse.discover")


@dataclass(slots=True)
class Discovery:
    """Lists each server's definitions and compares them with their pins."""

    upstreams: Upstreams
    registry: Registry
    ledger: Ledger
    failures: dict[str, str] = field(default_factory=dict)  # server -> why its last look failed
    _running: dict[str, asyncio.Task[list[Sighting]]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: set[str] = field(default_factory=set)
    _pace: Pace = field(default_factory=Pace)
    _refused: dict[str, str] = field(default_factory=dict)  # server -> digest of what is too much

    def notice(self, server: str) -> None:
        """The server said that a list of its changed: look as soon as its pace allows."""
        self._changed.add(server)
        self._wake.set()

    async def refresh(self, server: str) -> list[Sighting]:
        """List *server* now; what differs from the pins is entered, then in force.

        A look that is under way is shared.
        Raises: UpstreamFailed: it could not be listed, nothing changed. LogUnavailable.
        """
        running = self._running.get(server)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._look(server))
            self._running[server] = running
            running.add_done_callback(lambda _: self._running.pop(server, None))
        return await asyncio.shield(running)

    async def run(self) -> None:
        """Look at every server once a minute, and sooner at those that announce changes.

        Each is looked at for itself: one that is slow to answer keeps no other waiting.
        """
        loop = asyncio.get_running_loop()
        next_round_s = 0.0
        async with asyncio.TaskGroup() as looks:
            while True:
                self._wake.clear()
                now_s = loop.time()
                for server in self._announced(now_s):
                    looks.create_task(self.try_refresh(server))
                if now_s >= next_round_s:
                    next_round_s = now_s + EVERY_S
                    for server in sorted(self.registry.terms):
                        looks.create_task(self.try_refresh(server))
                await self._sleep_until(min([next_round_s, *map(self._pace.due_s, self._changed)]))

    def _announced(self, now_s: float) -> list[str]:
        """The servers whose announced change is looked at now."""
        # One that is being looked at may have changed behind the page that was read last.
        free = self._changed - self._running.keys()
        due = sorted(server for server in free if self._pace.due_s(server) <= now_s)
        for server in due:
            self._changed.discard(server)
            self._pace.looked(server, now_s)
        return due

    async def _sleep_until(self, at_s: float) -> None:
        pause_s = max(at_s - asyncio.get_running_loop().time(), SHORTEST_S)
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def try_refresh(self, server: str) -> bool:
        """`refresh`, where a server that does not answer is only worth a line in the log."""
        if server not in self.registry.terms or server in self.registry.suspended:
            return False
        try:
            sightings = await self.refresh(server)
        except (UpstreamFailed, LogUnavailable) as err:
            log.warning("server_not_listed", server=server, error=type(err).__name__, why=str(err))
            return False
        except Exception:  # a fault that one server finds ends nobody else's service
            self.failures[server] = "what it offers could not be looked at: this is a bug"
            log.exception("server_not_listed", server=server)
            return False
        if sightings:
            log.info("definitions_changed", server=server, count=len(sightings))
        return True

    async def _look(self, server: str) -> list[Sighting]:
        try:
            listing = await self.upstreams.list_definitions(server)
        except UpstreamFailed as err:
            self.failures[server] = err.sentence
            raise
        self.failures.pop(server, None)
        nameless = [item.fault for item in listing.definitions if not item.name]
        if nameless:
            log.warning("definitions_left_out", server=server, count=len(nameless), why=nameless[0])
        # A listing may hold 32 MB and thousands of schemas: not on the loop that serves callers.
        terms = self.registry.terms.get(server)
        if terms is None:
            return []  # it was removed meanwhile
        seen = await asyncio.to_thread(lambda: examine(terms, listed(listing)))
        if server not in self.registry.terms:
            return []
        self.registry.introduced(server, listing.introduction.extensions)
        found = self.registry.weigh(server, seen)
        await self._enter_refused(server, found.refused)
        if len(found.sightings) > MAX_ENTRIES:
            return await self._enter_many(server, found.sightings, seen)
        await asyncio.gather(*(self._enter(sighting) for sighting in found.sightings))
        if found.sightings:
            self.registry.apply((sighting.pin for sighting in found.sightings), seen)
        return found.sightings

    async def _enter(self, sighting: Sighting) -> None:
        pin = sighting.pin
        await self.ledger.change(
            sighting.what,
            PRINCIPAL,
            subject=_object(pin),
            digest=pin.digest,
            prior=sighting.prior,
            note=pin.reason,
            effects=(pin_effect(pin),),
        )

    async def _enter_many(
        self, server: str, sightings: Sequence[Sighting], seen: Sequence[Seen]
    ) -> list[Sighting]:
        """Enter *sightings* by the hundred, and take each hundred into force for itself."""
        before = {
            sighting.pin.place: self.registry.pins.get(sighting.pin.place) for sighting in sightings
        }
        entered: list[Sighting] = []
        for first in range(0, len(sightings), MAX_ROWS):
            # An approval may have come between: what it approved is looked at again next time.
            some = [
                sighting
                for sighting in sightings[first : first + MAX_ROWS]
                if self.registry.pins.get(sighting.pin.place) is before[sighting.pin.place]
            ]
            counts = Counter(sighting.what for sighting in some)
            await self.ledger.change(
                "definition.many",
                PRINCIPAL,
                subject=f"server/{server}",
                digest=_digest(f"{s.what} {_object(s.pin)} {s.pin.digest}" for s in some),
                note=", ".join(f"{count} {what}" for what, count in sorted(counts.items())),
                effects=tuple(pin_effect(sighting.pin) for sighting in some),
            )
            entered += some
        self.registry.apply((sighting.pin for sighting in entered), seen)
        return entered

    async def _enter_refused(self, server: str, refused: Sequence[Seen]) -> None:
        """Say once what a server lists beyond its bound; it is not pinned, so it does not exist."""
        if not refused:
            self._refused.pop(server, None)
            return
        digest = _digest(
            f"{object_name(one.item.kind, server, one.item.name)} {one.digest}" for one in refused
        )
        if self._refused.get(server) == digest:
            return
        log.warning("definitions_refused", server=server, count=len(refused), most=MAX_PINS)
        note = f"{len(refused)} definitions beyond the {MAX_PINS} that one server may have"
        await self.ledger.change(
            "definition.refused", PRINCIPAL, subject=f"server/{server}", digest=digest, note=note
        )
        self._refused[server] = digest


def listed(listing: Listing) -> Sequence[Listed]:
    """The definitions of a listing in canonical form, each with its fault if it has one."""
    found = [_judged(item) for item in listing.definitions if item.name]
    if listing.instructions:
        body = canonical({"instructions": listing.instructions})
        found.append(Listed(Kind.SERVER, "", body))
    return found


def _judged(item: Listed) -> Listed:
    try:
        definition: dict[str, Any] = json.loads(item.body)
        return replace(item, body=canonical(definition))
    except (ValueError, RecursionError):
        body = unreadable(item.name, item.body)
        return replace(item, body=body, fault=item.fault or "the definition is not strict JSON")


def _object(pin: Pin) -> str:
    server, kind, name = pin.place
    return object_name(kind, server, name)


def _digest(lines: Iterable[str]) -> str:
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()
