"""An export as a database of its own: one row for each record, to be looked through with SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.audit.export import COLUMNS, Json

AT_ONCE = 1_000
_INTEGERS = ("leaf", "charged_tokens", "charged_calls", "charged_cost")


def write(path: Path, records: Iterable[Json], about: dict[str, str]) -> int:
    """Write *records* into the new, empty file *path*; returns how many there were.

    *about* says of the whole what it is.
    """
    columns = [f"{one} {'INTEGER' if one in _INTEGERS else 'TEXT'}" for one in COLUMNS[1:]]
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=OFF")  # an export that was cut short is thrown away
        connection.execute(
            f"CREATE TABLE records (leaf INTEGER PRIMARY KEY, {', '.join(columns)}, record TEXT NOT NULL)"
        )
        connection.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO about VALUES (?,?)", sorted(about.items()))
        marks = ",".join("?" * (len(COLUMNS) + 1))
        count = 0
        for rows in _pieces(records):
            connection.executemany(f"INSERT INTO records VALUES ({marks})", rows)  # noqa: S608
            count += len(rows)
        connection.execute("COMMIT")
    finally:
        connection.close()
    return count


def _pieces(records: Iterable[Json]) -> Iterator[list[tuple[object, ...]]]:
    piece: list[tuple[object, ...]] = []
    for said in records:
        whole = json.dumps(said, separators=(",", ":"))
        piece.append((*(said.get(column) for column in COLUMNS), whole))
        if len(piece) == AT_ONCE:
            yield piece
            piece = []
    yield piece
