"""Publishing the signed head: every second when anything is new, every minute when nothing is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.store import backing
from gateway.store.engine import reading
from gateway.store.log import Log
from gateway.store.recovery import remember
from gateway.store.writer import Head, WriteFailed, Writer

EVERY_S = 1.0
SILENCE_US = 60_000_000
log = structlog.get_logger("customhouse.checkpoint")


@dataclass(slots=True)
class Publisher:
    """Stores the signed head as a checkpoint, and remembers it beside the keys."""

    database: Path
    keys_dir: Path
    writer: Writer
    log: Log
    changes: backing.Changes = field(default_factory=backing.Changes)  # as found at the start
    published: Head | None = None
    published_us: int = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.publish()
            except (WriteFailed, OSError) as err:
                log.warning("checkpoint_not_published", error=type(err).__name__)

    async def publish(self) -> bool:
        """Publish the head when it is new, or when silence has lasted a minute."""
        head, now_us = self.writer.head, self.log.stamp()
        if head is None or self.log.closed:
            return False
        silent = self.published is not None and head.size == self.published.size
        if silent and now_us - self.published_us < SILENCE_US:
            return False
        values = (max(now_us, self.published_us + 1), head.size, head.note)
        await self.log.carry_out((("INSERT INTO checkpoints VALUES (?,?,?)", values),))
        await asyncio.to_thread(self._remember)
        self.published, self.published_us = head, values[0]
        return True

    def _remember(self) -> None:
        # The stored pair, not the one in memory: what is remembered must be on disk.
        with reading(self.database) as connection:
            query = "SELECT note, frontier, size FROM head WHERE id = 1"
            row = connection.execute(query).fetchone()
            self.changes = backing.grown(connection, self.changes, row[2])
        remember(self.keys_dir, row[0], row[1])
        backing.remember(self.keys_dir, self.changes)
