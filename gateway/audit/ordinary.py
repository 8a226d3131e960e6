"""A database that others made, taken only if its tables are what they seem, and each page is there once.

SQLite computes what a file asks it to: a view, a virtual table or a generated column is a program, and
a tree whose branches share a page is longer than the file by any factor. None of that is a log.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

Columns = Mapping[str, tuple[str, ...]]  # of each table

# Of SQLite's virtual machine. To verify a log of 160 MiB took a tenth of one.
STEPS_PER_BYTE = 10
_STEPS_AT_ONCE = 10_000
_LEAST_BYTES = 1_048_576  # that a file is taken for
_TABLE = re.compile(r"CREATE TABLE ", re.IGNORECASE)
_EXPRESSION = -2  # the number of a column of an index that is none of the table
_PLAIN_DEFAULTS = (None, "0")


class NotOrdinary(Exception):
    """The file holds more than tables of a log, or other ones."""


def bound(connection: sqlite3.Connection, path: Path) -> None:
    """Let *connection* believe nothing that *path* says, and end what takes too long for its size."""
    for switch in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {switch}")
    files = (path, path.with_name(path.name + "-wal"))
    n_bytes = sum(file.stat().st_size for file in files if file.exists())
    left = max(n_bytes, _LEAST_BYTES) * STEPS_PER_BYTE // _STEPS_AT_ONCE

    def step() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    connection.set_progress_handler(step, _STEPS_AT_ONCE)


def check(connection: sqlite3.Connection, tables: Columns, *, alone: bool = False) -> set[str]:
    """Nothing but tables and their indexes; returns which of *tables* there are, with these columns.

    *alone*: there is no other table, and no trigger. Of a log both are left out of account: nothing
    of them is read, or set off by reading.
    Raises: NotOrdinary, sqlite3.Error.
    """
    found = set[str]()
    query = "SELECT type, name, rootpage, sql FROM sqlite_master"
    for kind, name, page, sql in connection.execute(query):
        if kind == "table":
            if not page or not _TABLE.match(str(sql)):
                raise NotOrdinary(f"its table {name!a:.40} is computed, not stored")
            found.add(str(name).lower())
        elif kind != "index" and (alone or kind != "trigger"):
            raise NotOrdinary(f"it has a {kind!a:.20}, which is no part of a log: {name!a:.40}")
    if alone and found - tables.keys():
        raise NotOrdinary(f"it has other tables, too: {_listed(found - tables.keys())}")
    for table in sorted(found & tables.keys()):
        _check_table(connection, table, tables[table])
    return found & tables.keys()


def check_pages(connection: sqlite3.Connection, table: str) -> None:
    """Each page of *table* belongs to it, once: then there are no more rows than the file can hold.

    Raises: NotOrdinary.
    """
    connection.execute("PRAGMA ignore_check_constraints=ON")  # they are the file's programs
    (said,) = connection.execute(f"PRAGMA quick_check({table})").fetchone()
    # Types and the like are for whoever reads the rows.
    if str(said).startswith("***"):
        raise NotOrdinary(f"its table {table} is damaged: {str(said).splitlines()[-1]!a:.80}")


def told(err: sqlite3.Error) -> str:
    """Why it cannot be read, to a person."""
    if str(err) == "interrupted":
        return "it takes more work than any log of its size"
    return str(err)


def _check_table(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> None:
    rows = connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
    there = [str(name) for _, name, *_ in rows]
    if tuple(there) != columns:
        odd = set(there) ^ set(columns)
        raise NotOrdinary(f"its table {table} has not the columns of one: {_listed(odd or there)}")
    for _, name, _, _, default, _, hidden in rows:
        if hidden or default not in _PLAIN_DEFAULTS:
            raise NotOrdinary(f"its column {table}.{name} is computed, not stored")
    for _, index, *_ in connection.execute(f"PRAGMA index_list({table})").fetchall():
        quoted = str(index).replace("'", "''")
        parts = connection.execute(f"PRAGMA index_xinfo('{quoted}')").fetchall()
        if any(column == _EXPRESSION for _, column, *_ in parts):
            raise NotOrdinary(f"its index {index!a:.40} is computed, not stored")


def _listed(names: set[str] | list[str]) -> str:
    return ", ".join(f"{name!a:.40}" for name in sorted(names)[:5])
