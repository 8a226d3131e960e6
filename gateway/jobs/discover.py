"""Looking at what servers say of themselves, again and again: differences become entries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from gateway.domain.arguments import BadSchema, compile_schema
from gateway.domain.definition import Listed, canonical
from gateway.domain.model import Kind
from gateway.store.ledger import Ledger, LogUnavailable
from gateway.store.registry import Registry, Sighting, pin_effect
from gateway.upstream.catalogue import Upstreams
from gateway.upstream.listing import Listing
from gateway.upstream.message import UpstreamFailed

PRINCIPAL = "system:discover"
EVERY_S = 60.0
log = structlog.get_logger("customhouse.discover")


@dataclass(slots=True)
class Discovery:
    """Lists each server's definitions and compares them with their pins."""

    upstreams: Upstreams
    registry: Registry
    ledger: Ledger
    _running: dict[str, asyncio.Task[list[Sighting]]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: set[str] = field(default_factory=set)

    def notice(self, server: str) -> None:
        """The server said that a list of its changed: look soon."""
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
        """Look at every server once a minute, and at those that announced a change at once."""
        while True:
            servers, self._changed = self._changed, set()
            for server in sorted(servers or set(self.registry.terms)):
                await self.try_refresh(server)
            self._wake.clear()
            if self._changed:
                continue
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                self._changed = set()

    async def try_refresh(self, server: str) -> bool:
        """`refresh`, where a server that does not answer is only worth a line in the log."""
        if server not in self.registry.terms or server in self.registry.suspended:
            return False
        try:
            sightings = await self.refresh(server)
        except (UpstreamFailed, LogUnavailable) as err:
            log.warning("server_not_listed", server=server, error=type(err).__name__, why=str(err))
            return False
        if sightings:
            log.info("definitions_changed", server=server, count=len(sightings))
        return True

    async def _look(self, server: str) -> list[Sighting]:
        listing = await self.upstreams.list_definitions(server)
        sightings = self.registry.compare(server, listed(listing))
        await asyncio.gather(*(self._enter(sighting) for sighting in sightings))
        self.registry.apply(sighting.pin for sighting in sightings)
        return sightings

    async def _enter(self, sighting: Sighting) -> None:
        pin = sighting.pin
        server, kind, name = pin.place
        await self.ledger.change(
            sighting.what,
            PRINCIPAL,
            subject=f"{kind}/{server}/{name}",
            digest=pin.digest,
            prior=sighting.prior,
            note=pin.reason,
            effects=(pin_effect(pin),),
        )


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
        body = canonical(definition)
    except (ValueError, RecursionError):
        return replace(item, fault=item.fault or "the definition is not strict JSON")
    fault = item.fault
    if not fault and item.kind is Kind.TOOL:
        try:
            compile_schema(definition.get("inputSchema", {}))
        except BadSchema as err:
            fault = f"the input schema cannot be used: {err}"
    return Listed(item.kind, item.name, body, fault)
