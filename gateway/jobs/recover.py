"""Taking up a log: at start, and again after a commit failed. Orphans are closed, never repeated."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.approval import Course
from gateway.domain.budget import Hold
from gateway.domain.meter import ESTIMATOR
from gateway.domain.model import Amounts, Outcome, Permit, Status
from gateway.store.approvals import Approvals
from gateway.store.counters import CountersDamaged, LimitsOfAccounts, rebuild_rates
from gateway.store.engine import reading
from gateway.store.ledger import Ledger
from gateway.store.log import LogDamaged
from gateway.store.pseudonyms import Row, stored_pseudonyms
from gateway.store.recovery import Tail, calls_of, read_tail
from gateway.store.writer import WriteFailed, Writer

WRITER = "writer"  # the reason under which the ledger is closed
FIRST_RETRY_S, LONGEST_RETRY_S = 0.05, 5.0
# A damaged log does not heal by being read again; but it may be mended under us, and while it is
# not, admission stays closed and the reason is said.
RECOVERABLE = (OSError, ValueError, sqlite3.Error, WriteFailed, LogDamaged, CountersDamaged)
log = structlog.get_logger("customhouse.recover")


class _Past(NamedTuple):
    """What the log says; read off the event loop, put in force on it in one step."""

    tail: Tail
    tats: dict[str, int]  # of the rate buckets
    calls: dict[int, str]  # leaf of an open intent -> its call
    pseudonyms: list[Row]
    courses: dict[str, Course]  # of what was asked to be approved


@dataclass(slots=True)
class Recovery:
    """Reads the tail, rebuilds the counters, and closes what no one will come back for."""

    path: Path
    writer: Writer
    ledger: Ledger
    limits_of_accounts: LimitsOfAccounts
    approvals: Approvals | None = None  # None: nobody can approve anything

    async def take_up(self, tail: Tail, opened: entries.Open) -> int:
        """Open the log for this process; close every orphan as unknown, charged in full.

        Returns how many orphans there were.
        """
        past = await asyncio.to_thread(self._read, tail)
        self._resume(past)
        orphans = dict(tail.purses.open_holds())
        waits = [self.ledger.log.put(opened)]
        for leaf, hold in orphans.items():
            waits.append(self._close(leaf, past.calls[leaf], hold, Status.UNKNOWN))
        if orphans:
            waits.append(self._recovery_entry("start", tail.frontier.size))
        await asyncio.gather(*waits)
        self._open()
        return len(orphans)

    async def after_failed_commit(self) -> None:
        """Re-read the log until it can be written again; callers get 503 meanwhile.

        Intents whose callers got 503 close as not_sent, charge 0; those with a call in flight
        stay open for their own settle.
        """
        wait_s = FIRST_RETRY_S
        while True:
            self.close()  # also after a try that had opened it: nothing may be put in between
            try:
                await self._reopen()
            except RECOVERABLE as err:
                log.warning(
                    "log_not_writable", why=f"{type(err).__name__}: {err}", retry_in_s=wait_s
                )
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_RETRY_S)
            else:
                log.info("log_recovered", size=self.ledger.log.next_leaf)
                return

    def close(self) -> None:
        self.ledger.log.closed = True
        self.ledger.recovered.clear()
        self.ledger.closed_by[WRITER] = no.LOG_UNAVAILABLE

    async def _reopen(self) -> None:
        await asyncio.to_thread(self.writer.stop)
        past = await asyncio.to_thread(self._read, None)
        tail, unknown = past.tail, frozenset(self.ledger.unknown)
        self.writer.start(asyncio.get_running_loop(), tail.frontier.copy())
        self._resume(past)
        waits = [self._recovery_entry("commit", tail.frontier.size)]
        for leaf, hold in tail.purses.open_holds().items():
            if leaf in self.ledger.in_flight:
                continue
            status = Status.UNKNOWN if leaf in unknown else Status.NOT_SENT
            waits.append(self._close(leaf, past.calls[leaf], hold, status))
        await asyncio.gather(*waits)
        self.ledger.unknown.difference_update(unknown)
        self._open()

    def _read(self, tail: Tail | None) -> _Past:
        with reading(self.path) as connection:
            tail = tail or read_tail(connection)
            return _Past(
                tail,
                rebuild_rates(connection, tail.last_us, self.limits_of_accounts),
                calls_of(connection, tail.purses.open_holds()),
                stored_pseudonyms(connection),
                {} if self.approvals is None else self.approvals.read(connection),
            )

    def _resume(self, past: _Past) -> None:
        tail, ledger = past.tail, self.ledger
        ledger.pseudonyms.resume(past.pseudonyms)
        ledger.counters.resume(tail.purses, tail.state_leaf, past.tats)
        ledger.log.resume(tail.frontier.size, tail.last_us)
        if self.approvals is not None:
            self.approvals.resume(past.courses)

    def _open(self) -> None:
        self.ledger.closed_by.pop(WRITER, None)
        self.ledger.recovered.set()

    def _recovery_entry(self, reason: str, tail: int) -> asyncio.Future[None]:
        ledger = self.ledger
        return ledger.log.put(
            entries.Recovery(i=ledger.log.next_leaf, t=ledger.log.stamp(), reason=reason, tail=tail)
        )

    def _close(self, leaf: int, call_id: str, hold: Hold, status: Status) -> asyncio.Future[None]:
        charged = Amounts() if status is Status.NOT_SENT else hold.amounts
        outcome = Outcome(status)
        return self.ledger.close_intent(leaf, call_id, charged, outcome=outcome, by="recovery")


def opened(log_id: str, vkey_id: str, leaf: int, at_us: int) -> entries.Open:
    return entries.Open(i=leaf, t=at_us, log=log_id, key=vkey_id, meter=ESTIMATOR)


async def settle_in_flight(ledger: Ledger) -> int:
    """Drain is over: what has not come back ends as unknown, charged in full."""
    # An outcome that is being written at this moment has released its hold already.
    still_open = ledger.counters.purses.open_holds()
    left: list[Permit] = [p for leaf, p in ledger.in_flight.items() if leaf in still_open]
    waits = [
        ledger.close_intent(p.leaf, p.call.id, p.held, outcome=Outcome(Status.UNKNOWN), by="drain")
        for p in left
    ]
    await asyncio.gather(*waits)
    ledger.in_flight.clear()
    return len(left)
