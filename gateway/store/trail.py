"""The log as somebody reads it who does not own it: by time, by call, with the names behind ids."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import entry as entries
from gateway.store.engine import DATABASE, SCHEMA_HEAD, SchemaUnknown, reading, schema_version

# One look at the outcome, however many words are looked for in it.
_OUTCOME_HAS = """EXISTS (SELECT 1 FROM entries ended WHERE ended.call_id = entries.call_id
    AND ended.call_id <> '' AND ended.kind = 'outcome' AND {})"""
PIECE = 5_000  # entries that are read at once
STEPS = 10_000  # of SQLite's machine, between two questions whether to go on
MAX_NAMES = 100_000  # kept while reading; the table may hold millions of addresses
PROPOSE = "policy.propose"  # the one entry about policy whose digest is not in force


def puts_in_force(entry: entries.Change) -> bool:
    """Whether a version of the policy is in force from this entry on."""
    about = entry.what.startswith(("policy.", "agent.")) and entry.what != PROPOSE
    return about and bool(entry.digest)


class NoLog(Exception):
    """There is no log in this data folder yet."""


class Interrupted(Exception):
    """Reading was stopped before its end."""


class NotReadableHere(Exception):
    """This user may not read the data folder."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Which entries to look at: all conditions hold; none of an empty tuple means any."""

    since_us: int = 0
    until_us: int = 10**16
    kinds: tuple[str, ...] = ()
    containing: tuple[tuple[str, ...], ...] = ()  # of each group at least one stands in the entry
    codes: tuple[str, ...] = ()  # one of these is the code of the entry, or of an intent's outcome
    statuses: tuple[str, ...] = ()  # an intent ended with one of these; says nothing of the others


def database_of(data_dir: Path) -> Path:
    """The database in *data_dir*.

    Raises: NoLog, NotReadableHere, SchemaUnknown: it cannot be read as it is.
    """
    database = data_dir / DATABASE
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError) as err:
        raise NoLog(f"there is no log in {data_dir}") from err
    except PermissionError as err:
        raise NotReadableHere(f"{data_dir} cannot be read by this user") from err
    if not os.access(database, os.R_OK):
        raise NotReadableHere(f"{database} cannot be read by this user")
    version = schema_version(database)
    if version != SCHEMA_HEAD:
        raise SchemaUnknown(f"the database is at {version!r}, this program reads {SCHEMA_HEAD!r}")
    return database


@contextmanager
def opened(data_dir: Path) -> Iterator[Trail]:
    """The log in *data_dir*, for reading. Raises: as `database_of`."""
    with reading(database_of(data_dir)) as connection:
        yield Trail(connection)


class Trail:
    """Reads entries, newest first or oldest first, and the tables beside them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[str, str] = {}

    @contextmanager
    def while_true(self, goes_on: Callable[[], bool]) -> Iterator[None]:
        """Read for as long as *goes_on* says so; SQLite itself asks it, even where nothing is found.

        Raises: Interrupted.
        """
        self._connection.set_progress_handler(lambda: not goes_on(), STEPS)
        try:
            yield
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise Interrupted from err
        finally:
            self._connection.set_progress_handler(None, 0)

    def size(self) -> int:
        row = self._connection.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries").fetchone()
        return int(row[0])

    def last_us(self) -> int:
        """When the newest entry was made; 0 for an empty log."""
        row = self._connection.execute("SELECT COALESCE(MAX(at), 0) FROM entries").fetchone()
        return int(row[0])

    def published_us(self) -> int:
        """When the newest checkpoint was published; 0 when none was."""
        row = self._connection.execute("SELECT COALESCE(MAX(at), 0) FROM checkpoints").fetchone()
        return int(row[0])

    def published(self) -> Iterator[int]:
        """When each checkpoint was published, in order."""
        for (at_us,) in self._connection.execute("SELECT at FROM checkpoints ORDER BY at"):
            yield int(at_us)

    def newest_first(self, wanted: Slice) -> Iterator[entries.Entry]:
        """Every entry of *wanted*, from the end of the log."""
        yield from self.newest_between(wanted, *self._bounds(wanted))

    def span(self, wanted: Slice) -> tuple[int, int]:
        """The indexes between which all of *wanted* lie: the first, and the one behind the last."""
        return self._bounds(wanted)

    def newest_between(self, wanted: Slice, first: int, end: int) -> Iterator[entries.Entry]:
        """As `newest_first`, of the entries from *first* up to *end*, whenever they were made."""
        where, values = self._within(wanted, first, end)
        rows = self._connection.execute(
            f"SELECT body FROM entries {where} ORDER BY idx DESC",  # noqa: S608 - made of constants
            values,
        )
        for (body,) in rows:
            yield entries.decode(body)

    def oldest_first(self, wanted: Slice) -> Iterator[entries.Entry]:
        """Every entry of *wanted*, from the beginning: read in pieces, so that however long it
        takes, no piece keeps the server from trimming its write-ahead log."""
        first, end = self._bounds(wanted)
        for low in range(first, end, PIECE):
            where, values = self._within(wanted, low, min(low + PIECE, end))
            rows = self._connection.execute(
                f"SELECT body FROM entries {where} ORDER BY idx",  # noqa: S608 - made of constants
                values,
            ).fetchall()
            for (body,) in rows:
                yield entries.decode(body)

    def after(self, leaf: int) -> Iterator[entries.Entry]:
        """Every entry behind *leaf*, in order."""
        rows = self._connection.execute(
            "SELECT body FROM entries WHERE idx > ? ORDER BY idx", (leaf,)
        )
        for (body,) in rows:
            yield entries.decode(body)

    def entry(self, leaf: int) -> entries.Entry:
        """The entry at *leaf*. Raises: LookupError: there is none."""
        row = self._connection.execute("SELECT body FROM entries WHERE idx = ?", (leaf,)).fetchone()
        if row is None:
            raise LookupError(f"the log has no entry {leaf}")
        return entries.decode(row[0])

    def of_call(self, call_id: str) -> list[entries.Entry]:
        """All that the log says of one call, in order."""
        rows = self._connection.execute(
            "SELECT body FROM entries WHERE call_id = ? AND call_id <> '' ORDER BY idx", (call_id,)
        )
        return [entries.decode(body) for (body,) in rows]

    def calls_like(self, beginning: str, most: int) -> list[str]:
        """The ids of calls that begin so, at most *most* of them."""
        # Call ids are plain ASCII below "~".
        rows = self._connection.execute(
            "SELECT DISTINCT call_id FROM entries WHERE call_id >= ? AND call_id < ?"
            " AND call_id <> '' LIMIT ?",
            (beginning, beginning + "~", most),
        )
        return [str(row[0]) for row in rows]

    def outcome_of(self, intent: entries.Intent) -> entries.Outcome | None:
        """How the call of *intent* ended; None while it is in flight."""
        return next(
            (
                entry
                for entry in self.of_call(intent.call)
                if isinstance(entry, entries.Outcome) and entry.intent == intent.i
            ),
            None,
        )

    # -- the tables beside the log ----------------------------------------------------------------

    def name(self, pseudonym: str) -> str:
        """The name behind *pseudonym*; the pseudonym itself when it was erased."""
        if not pseudonym:
            return ""
        known = self._names.get(pseudonym)
        if known is None:
            row = self._connection.execute(
                "SELECT name FROM pseudonyms WHERE id = ?", (pseudonym,)
            ).fetchone()
            known = str(row[0]) if row else pseudonym
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names[pseudonym] = known
        return known

    def opening(self, pseudonym: str) -> tuple[str, str] | None:
        """The name behind *pseudonym* and the salt, in hex, that proves it; None when erased."""
        row = self._connection.execute(
            "SELECT name, salt FROM pseudonyms WHERE id = ? AND salt <> x''", (pseudonym,)
        ).fetchone()
        return (str(row[0]), bytes(row[1]).hex()) if row else None

    def pseudonym(self, kind: str, name: str) -> str:
        """The id that stands for *name*; "" when it never occurred."""
        row = self._connection.execute(
            "SELECT id FROM pseudonyms WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return str(row[0]) if row else ""

    def pseudonyms(self, kind: str) -> Iterator[tuple[str, str]]:
        """(id, name) of everything of one kind that ever occurred."""
        rows = self._connection.execute("SELECT id, name FROM pseudonyms WHERE kind = ?", (kind,))
        for pseudonym, name in rows:
            yield str(pseudonym), str(name)

    def payload(self, leaf: int) -> tuple[bytes, bytes] | None:
        """(nonce, sealed) of what lies beside an entry; None when there is nothing, or no more."""
        row = self._connection.execute(
            "SELECT nonce, sealed FROM payloads WHERE leaf = ? AND sealed <> x''", (leaf,)
        ).fetchone()
        return (bytes(row[0]), bytes(row[1])) if row else None

    def policy_version(self, until_us: int = 10**16) -> str:
        """The version that the newest entry about policy before *until_us* put in force; "" when
        none did.

        Not the newest that is stored: a version that comes back is stored already. Roles of agents
        are a part of the version, so entries about agents put one in force, too.
        """
        for entry in self.newest_first(Slice(until_us=until_us, kinds=("change",))):
            if isinstance(entry, entries.Change) and puts_in_force(entry):
                return entry.digest
        return ""

    def policy_bundle(self, version: str) -> bytes | None:
        """The policy files of one version, as they were stored."""
        row = self._connection.execute(
            "SELECT bundle FROM policy_versions WHERE version = ?", (version,)
        ).fetchone()
        return bytes(row[0]) if row else None

    def _within(self, wanted: Slice, first: int, end: int) -> tuple[str, list[object]]:
        clauses, values = ["idx >= ? AND idx < ?"], list[object]([first, end])
        if wanted.kinds == ("change",):
            clauses.append("kind = 'change'")  # to the letter, or SQLite does not use their index
        elif wanted.kinds:
            clauses.append(f"kind IN ({_marks(wanted.kinds)})")
            values += wanted.kinds
        for group in wanted.containing:
            # A scan in C: far cheaper than decoding an entry to find out that it is not meant.
            clauses.append(_has("body", group))
            values += [text.encode() for text in group]
        if wanted.codes:
            ended = _OUTCOME_HAS.format(_has("ended.body", wanted.codes))
            said = _has("body", wanted.codes)
            clauses.append(f"CASE kind WHEN 'intent' THEN {ended} ELSE {said} END")
            values += [f'"{code}"'.encode() for code in wanted.codes] * 2
        if wanted.statuses:
            ended = _OUTCOME_HAS.format(_has("ended.body", wanted.statuses))
            clauses.append(f"(kind <> 'intent' OR {ended})")
            values += [f'"status":"{status}"'.encode() for status in wanted.statuses]
        return "WHERE " + " AND ".join(clauses), values

    def _bounds(self, wanted: Slice) -> tuple[int, int]:
        """Times never go back along the log, so a span of time is a span of indexes."""
        return self._first_since(wanted.since_us), self._first_since(wanted.until_us)

    def _first_since(self, at_us: int) -> int:
        # In the order of the index on times; MIN(idx) would go through the log.
        row = self._connection.execute(
            "SELECT idx FROM entries WHERE at >= ? ORDER BY at, idx LIMIT 1", (at_us,)
        ).fetchone()
        return self.size() if row is None else int(row[0])


def _has(column: str, texts: Sequence[object]) -> str:
    """At least one of as many texts stands in *column*."""
    return "(" + " OR ".join(f"instr({column}, ?) > 0" for _ in texts) + ")"


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" for _ in values)
