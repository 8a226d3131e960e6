"""Who stands at the door: how many connections may be open, and how long one may stay without asking.

All of it happens before a credential is seen, so that none of it may cost more than a counter.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from resource import RLIMIT_NOFILE, getrlimit
from typing import Protocol

SWEEP_S = 1.0
MOST_CONNECTIONS = 4_096
_SPARED_FILES = 128  # of the process's own: the store, its sockets, its servers


@dataclass(frozen=True, slots=True)
class Room:
    """How much of a crowd is let in."""

    connections: int
    connections_per_address: int
    patience_sweeps: int = 10  # in which a connection neither completed a head nor has a request


def room_here() -> Room:
    """What the process has files for; a quarter of it for each address."""
    files, _ = getrlimit(RLIMIT_NOFILE)
    most = max(16, min(MOST_CONNECTIONS, files - _SPARED_FILES))
    return Room(most, max(16, most // 4))


class Guest(Protocol):
    """One connection, as the crowd sees it."""

    heads: int  # complete heads of requests so far
    idle_sweeps: int
    heads_seen: int

    @property
    def is_waiting(self) -> bool:
        """Whether no request of it is being answered."""
        ...

    def tire(self) -> None:
        """It said nothing for too long; called again in every sweep while it stays."""
        ...


class Crowd:
    """The open connections of one server. One timer for all: no request pays for its own."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._guests: dict[Guest, str] = {}
        self._from: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, guest: Guest, address: str) -> bool:
        """Whether there is room for *guest*; one that is let in must leave again."""
        block = _block_of(address)
        room = self._room
        if len(self._guests) >= room.connections:
            return False
        if self._from[block] >= room.connections_per_address:
            return False
        self._guests[guest] = block
        self._from[block] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._next)
        return True

    def leave(self, guest: Guest) -> None:
        """Forget *guest*, if it was let in."""
        block = self._guests.pop(guest, None)
        if block is None:
            return
        self._from[block] -= 1
        if not self._from[block]:
            del self._from[block]
        if not self._guests and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self) -> None:
        """Tire of everybody who has not asked anything for as long as patience lasts."""
        patience = self._room.patience_sweeps
        for guest in tuple(self._guests):
            if guest.heads != guest.heads_seen or not guest.is_waiting:
                guest.heads_seen = guest.heads
                guest.idle_sweeps = 0
                continue
            guest.idle_sweeps += 1
            if guest.idle_sweeps >= patience:
                guest.tire()

    def _next(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._next)
        self.sweep()


def _block_of(address: str) -> str:
    """What one stranger has of addresses: one of IPv4, of IPv6 all that share 64 bits."""
    if ":" not in address:
        return address
    try:
        number = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(number, IPv6Address):
        return address
    return str(number.ipv4_mapped or number.packed[:8].hex())
