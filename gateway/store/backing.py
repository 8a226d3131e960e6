"""Binding the tables of administration to the log: each row is entered with its digest, and none is
believed at a start that the log does not stand behind.

Write access to the database alone must not open the border. What is held against it: the head is
signed; entries behind the remembered checkpoint are hashed up to that head; older changes are
held to a chain of their hashes, which is kept with the checkpoint beside the keys.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.audit import copy, grammar
from gateway.audit.backing import (
    OBJECT,
    Backing,
    Name,
    Row,
    opens_nothing,
    row_digest,
    subject_of,
)
from gateway.audit.merkle import Frontier, leaf_hash
from gateway.audit.rotation import Keys
from gateway.store.keys import CHECKPOINT, replace_file
from gateway.store.log import LogDamaged
from gateway.store.pseudonyms import Pseudonyms
from gateway.store.writer import Effect

CHANGES = "checkpoint.changes"
SHOWN = 5
MAX_ROWS = 500  # that one change may write: what it states of each has to fit into the entry
_KEEP = {
    "agents": "REPLACE INTO agents VALUES (?,?,?,?,?,?,?)",
    "keys": "REPLACE INTO keys VALUES (?,?,?,?,?,?,?)",
    "servers": "REPLACE INTO servers VALUES (?,?,?,?)",
    "definitions": "REPLACE INTO definitions VALUES (?,?,?,?,?,?,?,?,?,?)",
}
_TABLE_OF = {statement: table for table, statement in _KEEP.items()}


class NotBacked(Exception):
    """A row of administration is not what the log says was entered; somebody wrote around it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes among the first *size* entries, as one hash: each is chained to those before."""

    size: int = 0
    chain: bytes = b""

    def after(self, size: int, bodies: Iterable[bytes]) -> Changes:
        """The same up to *size*, where *bodies* are the changes that came in between."""
        chain = self.chain
        for body in bodies:
            chain = sha256(chain + leaf_hash(body)).digest()
        return Changes(size, chain)


def keep(table: str, row: Row) -> Effect:
    """Write *row*, whole; `rows_entered` finds it again in the effects of a change."""
    return _KEEP[table], tuple(row)


def rows_entered(effects: Sequence[Effect], pseudonyms: Pseudonyms) -> dict[str, str]:
    """What a change has to state of the rows that its *effects* write: pseudonym -> digest."""
    rows: dict[str, str] = {}
    for statement, row in effects:
        table = _TABLE_OF.get(statement)
        if table is not None and not opens_nothing(table, row):
            pseudonym = pseudonyms.of(OBJECT, subject_of(table, row))
            rows[pseudonym] = row_digest(pseudonyms.salt(pseudonym), table, row)
    return rows


def check(connection: sqlite3.Connection, keys_dir: Path, keys: Keys, head: Frontier) -> Changes:
    """The log up to its signed head stands behind every row of administration.

    Call it after `recovery.check_remembered`. Returns what to remember of the changes.
    Raises: LogDamaged: the head or an entry is not what was signed. NotBacked.
    """
    _check_signature(connection, keys, head)
    backing = Backing()
    known = _remembered(keys_dir, keys)
    old = _taken(backing, _changes(connection, 0, known.size))
    if Changes().after(known.size, old) != known:
        raise LogDamaged(f"the changes among the first {known.size} entries are not as they were")
    changes = known.after(head.size, _taken(backing, _newer(connection, known.size, head)))
    problems = list(backing.judge(copy.registered(connection), _subjects(connection)))
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise NotBacked("; ".join(problems[:SHOWN]) + more)
    return changes


def _taken(backing: Backing, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Each of *bodies* once *backing* has taken what it states: there may be millions."""
    for body in bodies:
        line = grammar.read(b"change", body)
        if line is None:
            raise LogDamaged("a change in the log is not in the form of changes")
        rows, erased, _ = line.taken
        if rows or erased:
            gone = json.loads(erased)["names"] if erased else ()
            backing.take(json.loads(rows) if rows else {}, gone)
        yield body


def grown(connection: sqlite3.Connection, known: Changes, size: int) -> Changes:
    """*known*, taken on to *size* entries."""
    return known.after(size, _changes(connection, known.size, size))


def remember(keys_dir: Path, changes: Changes) -> None:
    said = {"chain": changes.chain.hex(), "size": changes.size}
    replace_file(keys_dir / CHANGES, json.dumps(said).encode())


def _check_signature(connection: sqlite3.Connection, keys: Keys, head: Frontier) -> None:
    """What was appended without the key must not be continued, and signed, by us."""
    row = connection.execute("SELECT note FROM head WHERE id = 1").fetchone()
    if row is None:
        return  # an empty log; with entries, `read_head` refuses it
    try:
        signed = keys.open(str(row[0]).encode())
    except ValueError as err:
        raise LogDamaged(f"the head of the log is not signed with its key: {err}") from err
    if (signed.size, signed.root) != (head.size, head.root()):
        raise LogDamaged(f"the head of {head.size} entries is not the one that was signed")


def _remembered(keys_dir: Path, keys: Keys) -> Changes:
    """The chain that is kept beside the checkpoint, if it belongs to it; else that of an empty log."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((keys_dir / CHANGES).read_bytes())
        published = keys.open((keys_dir / CHECKPOINT).read_bytes())
        if said["size"] == published.size:
            return Changes(published.size, bytes.fromhex(said["chain"]))
    return Changes()


def _changes(connection: sqlite3.Connection, first: int, end: int) -> Iterator[bytes]:
    rows = connection.execute(
        "SELECT body FROM entries WHERE kind = 'change' AND idx >= ? AND idx < ? ORDER BY idx",
        (first, end),
    )
    return (bytes(body) for (body,) in rows)


def _newer(connection: sqlite3.Connection, first: int, head: Frontier) -> Iterator[bytes]:
    """The changes from *first* on, by what the entries say themselves: columns are not signed."""
    whole = Frontier()
    rows = connection.execute(
        "SELECT kind, body FROM entries WHERE idx >= ? ORDER BY idx", (first,)
    )
    for kind, body in rows:
        if first == 0:
            whole.append(leaf_hash(body))
        is_change = b'"k":"change"' in body and grammar.kind_of(body) == b"change"
        if is_change is not (kind == "change"):
            # Whoever looks for changes by their kind would not find which policy is in force.
            raise LogDamaged("an entry is not filed under the kind that it says it is")
        if is_change:
            yield bytes(body)
    # From a remembered size on, `check_remembered` has hashed them up to the head.
    if first == 0 and whole.root() != head.root():
        raise LogDamaged(f"the {head.size} entries are not those that were signed")


def _subjects(connection: sqlite3.Connection) -> Iterator[Name]:
    return connection.execute(
        "SELECT CAST(id AS BLOB), CAST(kind AS BLOB), CAST(name AS BLOB), CAST(salt AS BLOB)"
        " FROM pseudonyms WHERE kind = ?",
        (OBJECT,),
    )
