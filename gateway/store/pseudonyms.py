"""Random ids that stand for names in the log; the names live in a table that can be erased.

An id commits to its name (gateway.audit.pseudonym), so that whoever can write the table cannot
give what one agent did to another; without the row, salt and all, it is only a random number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from gateway.audit.pseudonym import SALT_BYTES, pseudonym_of
from gateway.store.entropy import Entropy
from gateway.store.writer import Effect

INSERT = "INSERT OR IGNORE INTO pseudonyms VALUES (?,?,?,?)"
# Emptied, not deleted: see gateway.store.erasure.
_ERASE = "UPDATE pseudonyms SET name = id, salt = x'' WHERE id = ?"
# first letter of the id: what kind of name it stands for
TENANT, TEAM, SUBJECT, OBJECT, SERVER, ADDRESS, CREDENTIAL = "t", "g", "s", "o", "v", "a", "c"


Row = tuple[str, str, str, bytes]  # id, kind, name, salt


def stored_pseudonyms(connection: sqlite3.Connection) -> list[Row]:
    """All that are needed again: an address has a new one each time."""
    return connection.execute(
        "SELECT id, kind, name, salt FROM pseudonyms WHERE kind <> ? AND salt <> x''", (ADDRESS,)
    ).fetchall()


class Pseudonyms:
    """The table in memory. A new name gets its id at once; its row commits with the next entry."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}
        self._names: dict[str, str] = {}
        self._salt_of: dict[str, bytes] = {}
        self._fresh: list[Effect] = []
        self._salts = Entropy()

    def resume(self, rows: Iterable[Row]) -> None:
        """Begin anew with what is on disk; a name whose row did not get there has no id."""
        self._ids.clear()
        self._names.clear()
        self._salt_of.clear()
        self._fresh.clear()
        self._remember(rows)

    def of(self, kind: str, name: str) -> str:
        known = self._ids.get((kind, name))
        if known is not None:
            return known
        pseudonym, salt = self._made(kind, name)
        self._ids[kind, name] = pseudonym
        self._names[pseudonym] = name
        self._salt_of[pseudonym] = salt
        return pseudonym

    def known(self, kind: str, name: str) -> str:
        """The pseudonym that *name* has; "" when it has none."""
        return self._ids.get((kind, name), "")

    def of_names(self, kind: str, fits: Callable[[str], bool]) -> list[str]:
        """The pseudonyms of *kind* whose names fit."""
        return [pseudonym for (k, name), pseudonym in self._ids.items() if k == kind and fits(name)]

    def forget(self, pseudonyms: Iterable[str]) -> list[Row]:
        """Let names go: whoever comes under one of them again gets a new pseudonym.

        What destroys their rows commits with the next entry. Put it in the same step, or take it
        back with `restore`.
        """
        gone = set(pseudonyms)
        keys = [key for key, pseudonym in self._ids.items() if pseudonym in gone]
        # First, because a name that is given again at once would meet its old row.
        self._fresh += [(_ERASE, (self._ids[key],)) for key in keys]
        return [self._forgotten(*key) for key in keys]

    def restore(self, rows: Iterable[Row]) -> None:
        """Take `forget` back: nothing was put."""
        self._fresh = [effect for effect in self._fresh if effect[0] != _ERASE]
        self._remember(rows)

    def _forgotten(self, kind: str, name: str) -> Row:
        pseudonym = self._ids.pop((kind, name))
        del self._names[pseudonym]
        return pseudonym, kind, name, self._salt_of.pop(pseudonym)

    def _remember(self, rows: Iterable[Row]) -> None:
        for pseudonym, kind, name, salt in rows:
            self._ids[kind, name] = pseudonym
            self._names[pseudonym] = name
            self._salt_of[pseudonym] = salt

    def once(self, kind: str, name: str) -> str:
        """A new pseudonym for *name*, whether it has one or not; nothing is kept in memory."""
        return self._made(kind, name)[0]

    def _made(self, kind: str, name: str) -> tuple[str, bytes]:
        salt = self._salts.take(SALT_BYTES)
        # The row must reach the disk whatever a name holds: SQLite refuses lone surrogates.
        stored = name.encode("utf-8", "backslashreplace").decode()
        pseudonym = pseudonym_of(salt, kind, stored)
        self._fresh.append((INSERT, (pseudonym, kind, stored, salt)))
        return pseudonym, salt

    def salt(self, pseudonym: str) -> bytes:
        """What made the pseudonym of a name in memory; it is erased with its row."""
        return self._salt_of[pseudonym]

    def name(self, pseudonym: str) -> str:
        """The name behind *pseudonym*; the pseudonym itself when it was erased."""
        return self._names.get(pseudonym, pseudonym)

    def all(self, kind: str) -> list[str]:
        """Every pseudonym of *kind*."""
        return [pseudonym for (k, _), pseudonym in self._ids.items() if k == kind]

    def take_fresh(self) -> list[Effect]:
        """Rows not handed to the writer yet; they belong to the entry that is about to be put."""
        if not self._fresh:
            return []
        fresh, self._fresh = self._fresh, []
        return fresh
