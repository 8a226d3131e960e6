"""Records of the log for other systems, in order and as they come: nothing is gathered in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway.app.operations.query import Query
from gateway.app.operations.search import matching
from gateway.audit import copy, export
from gateway.audit import entry as entries
from gateway.audit.checkpoint import parse
from gateway.audit.export import Json
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.audit.prover import Prover
from gateway.store.engine import open_reader
from gateway.store.trail import NoLog, Trail, database_of


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported: the log as far as one checkpoint covers it."""

    log: str
    size: int
    note: str  # the checkpoint

    def about(self, query: Query, *, proved: bool) -> dict[str, str]:
        return {
            "log": self.log,
            "checkpoint": self.note,
            "query": query.text,
            "proofs": "yes" if proved else "no",
        }


_SHAPES: dict[str, Callable[[Json], Json]] = {
    "jsonl": lambda said: said,
    "sqlite": lambda said: said,
    "cloudevents": export.cloudevent,
    "ocsf": export.ocsf,
}


class Source:
    """An open log. Close it with the stack that it was given."""

    def __init__(self, data_dir: Path, stack: ExitStack) -> None:
        """Raises: NoLog: it has no entries; as `trail.database_of`."""
        connection = open_reader(database_of(data_dir))
        stack.callback(connection.close)
        row = connection.execute("SELECT note FROM head WHERE id = 1").fetchone()
        if row is None:
            raise NoLog(f"the log in {data_dir} has no entries")
        stated = parse(str(row[0]).encode())
        self.export = Export(stated.origin.removeprefix(ORIGIN_PREFIX), stated.size, str(row[0]))
        self._trail = Trail(connection)
        self._connection: sqlite3.Connection = connection

    def prover(self) -> Prover:
        """What proves its entries. Raises: NotProvable: they are not those that were signed."""

        def bodies(low: int, high: int) -> list[bytes]:
            return copy.bodies(self._connection, low, high)

        return Prover(bodies, self.export.note.encode())

    def records(self, query: Query, shape: str, prover: Prover | None) -> Iterator[Json]:
        """Every record that fits, the oldest first, in the format *shape*."""
        shaped = _SHAPES[shape]
        for entry, _ in matching(self._trail, query, self._trail.oldest_first):
            if entry.i < self.export.size:
                yield shaped(self._record(entry, prover))

    def _record(self, entry: entries.Entry, prover: Prover | None) -> Json:
        bodies = [entries.encode(one) for one in self._together(entry)]
        plain: list[Json] = [json.loads(body) for body in bodies]
        known = {one: self._trail.opening(one) for one in export.pseudonyms(plain)}
        named = {one: opening for one, opening in known.items() if opening is not None}
        names = {one: name for one, (name, _) in named.items()}
        if prover is None:
            return export.record(self.export.log, plain, names)
        salts = {one: salt for one, (_, salt) in named.items()}
        proofs = [prover.prove(one["i"], body) for one, body in zip(plain, bodies, strict=True)]
        return export.record(self.export.log, plain, names, salts, proofs)

    def _together(self, entry: entries.Entry) -> list[entries.Entry]:
        if not isinstance(entry, entries.Intent):
            return [entry]
        outcome = self._trail.outcome_of(entry)
        ended = outcome is not None and outcome.i < self.export.size
        return [entry, outcome] if outcome is not None and ended else [entry]
