"""A new log in the place of one that cannot be continued, and the old one kept beside it.

    keys/checkpoint.6f0c0f9c          what was remembered of the old log
    keys/log.vkey.1a2b3c4d            the key that verifies it
    data/customhouse-6f0c0f9c.db      the old log itself, read-only

The new log is whole before anything is moved, so that a crash leaves either the old state, or one
that the same command finishes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import checkpoint
from gateway.audit.checkpoint import BadCheckpoint, BadSignature, BadVkey, Checkpoint, Vkey
from gateway.audit.entry import BadEntry, Open, Predecessor, decode
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.store.engine import DATABASE, open_writer, reading
from gateway.store.keyring import vkey_files
from gateway.store.keys import CHECKPOINT, LOG_VKEY, replace_file, sync_folder
from gateway.store.withdrawals import Withdrawn, withdrawn

NEW = DATABASE + ".new"
_SHOWN = 8  # of the id of a log, in the names of files
_BESIDE = (CHECKPOINT, f"{CHECKPOINT}.frontier", f"{CHECKPOINT}.changes")
_COUNTED = {
    "agents": "SELECT COUNT(*) FROM agents WHERE origin = 'registry'",
    "keys": "SELECT COUNT(*) FROM keys WHERE origin = 'registry' AND revoked_at = 0",
    "servers": "SELECT COUNT(*) FROM servers WHERE origin = 'registry'",
    "approvals": "SELECT COUNT(*) FROM definitions WHERE approval = 'approved' AND gone = 0",
}


class NothingKnown(Exception):
    """No signed checkpoint says which log this was."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The log that cannot be continued, as far as it is known."""

    last: Predecessor
    left_behind: dict[str, int]  # rows of the registry, by table, where they can be read
    withdrawn: Withdrawn  # what is taken over of it

    @property
    def short_id(self) -> str:
        return self.last.log[:_SHOWN]


def examine(data_dir: Path, keys_dir: Path, own: list[Vkey], now_us: int) -> Lost:
    """What the last signed checkpoint says, wherever it is kept; *own*: more keys to try.

    Raises: NothingKnown.
    """
    keys = [*own, *_vkeys(keys_dir)]
    signed = [found for note in _notes(data_dir, keys_dir) for found in _opened(note, keys)]
    if not signed:
        raise NothingKnown("neither the keys folder nor the database has a checkpoint of the log")
    last = max(signed, key=lambda one: one.size)
    log = last.origin.removeprefix(ORIGIN_PREFIX)
    prior = Predecessor(log=log, size=last.size, root=last.root.hex())
    return Lost(prior, _counts(data_dir), withdrawn(data_dir / DATABASE, now_us))


def origins(data_dir: Path, keys_dir: Path) -> set[str]:
    """The names of logs that checkpoints here are about, whoever signed them."""
    found: set[str] = set()
    for note in _notes(data_dir, keys_dir):
        with suppress(BadCheckpoint):
            found.add(checkpoint.parse(note).origin)
    return found


def is_unfinished(data_dir: Path, keys_dir: Path) -> bool:
    """The log here has taken the place of the one that is still remembered: a crash came between."""
    remembered = _read(keys_dir / CHECKPOINT)
    with suppress(BadCheckpoint, BadEntry, sqlite3.Error):
        with reading(data_dir / DATABASE) as connection:
            row = connection.execute("SELECT body FROM entries WHERE idx = 0").fetchone()
        first = decode(row[0]) if row else None
        if isinstance(first, Open) and first.prior is not None:
            return checkpoint.parse(remembered).origin == ORIGIN_PREFIX + first.prior.log
    return False


def put_in_place(data_dir: Path, keys_dir: Path, lost: Lost) -> str:
    """Move the old log aside, and the new one, which lies ready as NEW, into its place.

    Returns the name of the old one; "" when there was none.
    """
    for name in _BESIDE:
        content = _read(keys_dir / name)
        if content:
            replace_file(keys_dir / f"{name}.{lost.short_id}", content)
    database, aside = data_dir / DATABASE, _free_name(data_dir, lost)
    was = database.exists() and _has_entries(database)
    if was:
        _let_go_of_wal(database, aside)
        database.replace(aside)
        aside.chmod(0o400)
    (data_dir / NEW).replace(database)
    sync_folder(data_dir)
    return aside.name if was else ""


def finish(data_dir: Path, keys_dir: Path) -> None:
    """Remember the new log in the place of the old one."""
    with reading(data_dir / DATABASE) as connection:
        note, frontier = connection.execute("SELECT note, frontier FROM head").fetchone()
    for name in _BESIDE[1:]:
        with suppress(FileNotFoundError):
            (keys_dir / name).unlink()
    replace_file(keys_dir / f"{CHECKPOINT}.frontier", frontier)
    replace_file(keys_dir / CHECKPOINT, str(note).encode())


def vkey_of(keys_dir: Path, lost: Lost) -> str:
    """The file with a key that verifies the old log; "" when none was kept."""
    for path in vkey_files(keys_dir):
        with suppress(BadVkey):
            vkey = Vkey.parse(_read(path).decode("ascii", "replace"))
            if vkey.name == ORIGIN_PREFIX + lost.last.log:
                return path.name
    return ""


def set_aside(data_dir: Path) -> list[str]:
    """The files of logs that were reopened: nothing is erased from these."""
    return sorted(path.name for path in data_dir.glob("customhouse-*.db*"))


def clear(data_dir: Path) -> Path:
    """Where the new log is made; what an earlier attempt left there is gone."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (data_dir / (NEW + suffix)).unlink()
    return data_dir / NEW


def _vkeys(keys_dir: Path) -> Iterator[Vkey]:
    for path in (keys_dir / LOG_VKEY, *vkey_files(keys_dir)):
        with suppress(BadVkey):
            yield Vkey.parse(_read(path).decode("ascii", "replace"))


def _notes(data_dir: Path, keys_dir: Path) -> Iterator[bytes]:
    yield _read(keys_dir / CHECKPOINT)
    with suppress(sqlite3.Error), reading(data_dir / DATABASE) as connection:
        for (note,) in connection.execute("SELECT note FROM head"):
            yield str(note).encode()
        newest = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
        for (note,) in connection.execute(newest):
            yield str(note).encode()


def _opened(note: bytes, keys: list[Vkey]) -> Iterator[Checkpoint]:
    for vkey in keys:
        with suppress(BadCheckpoint, BadSignature):
            yield checkpoint.open(note, vkey)


def _counts(data_dir: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    with suppress(sqlite3.Error), reading(data_dir / DATABASE) as connection:
        for name, query in _COUNTED.items():
            counts[name] = int(connection.execute(query).fetchone()[0])
    return counts


def _has_entries(database: Path) -> bool:
    try:
        with reading(database) as connection:
            return bool(connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone())
    except sqlite3.Error:
        return database.stat().st_size > 0  # whatever it is, it is not thrown away


def _free_name(data_dir: Path, lost: Lost) -> Path:
    stem = f"customhouse-{lost.short_id}"
    names = (f"{stem}.db", *(f"{stem}-{number}.db" for number in range(2, 1_000)))
    return next(data_dir / name for name in names if not (data_dir / name).exists())


def _let_go_of_wal(database: Path, aside: Path) -> None:
    """Bring the write-ahead log into the file; where SQLite cannot, it goes aside with it."""
    with suppress(sqlite3.Error), closing(open_writer(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            database.with_name(database.name + suffix).replace(aside.with_name(aside.name + suffix))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
