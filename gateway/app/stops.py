"""What was stopped, and not started again: everything, or single runs. The log says so at a start."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.lives import LIFE_US
from gateway.domain.model import Principal
from gateway.store.ledger import Ledger
from gateway.store.registry import Registry
from gateway.store.trail import Slice, Trail

FREEZE, THAW, STOP_RUN = "freeze", "thaw", "run.stop"
FROZEN = "frozen"  # the reason under which the ledger is closed
_ABOUT = tuple(f'"what":"{what}"' for what in (FREEZE, THAW, STOP_RUN))


@dataclass(frozen=True, slots=True)
class Stops:
    frozen: bool = False
    runs: frozenset[str] = frozenset()  # accounts


def read_stops(read: Trail, now_us: int) -> Stops:
    """Raises: whatever reading the log raises."""
    frozen: bool | None = None
    runs: set[str] = set()
    for entry in read.newest_first(Slice(kinds=("change",), containing=(_ABOUT,))):
        if not isinstance(entry, entries.Change):
            continue
        if entry.what == STOP_RUN and entry.t > now_us - LIFE_US:
            runs.add(entry.subject)
        elif entry.what in (FREEZE, THAW) and frozen is None:
            frozen = entry.what == FREEZE
    return Stops(bool(frozen), frozenset(runs))


def put_in_force(stops: Stops, ledger: Ledger) -> None:
    if stops.frozen:
        ledger.closed_by[FROZEN] = no.FROZEN
    ledger.runs.stopped |= stops.runs


class Stopped:
    """Asked twice a second of every open request."""

    def __init__(self, ledger: Ledger, registry: Registry) -> None:
        self._ledger = ledger
        self._registry = registry

    def __call__(self, who: Principal, run: str, server: str) -> bool:
        if FROZEN in self._ledger.closed_by:
            return True
        if server and not self._registry.catalogue.serves(server):
            return True
        return self._ledger.runs.is_stopped(who.tenant, run)
