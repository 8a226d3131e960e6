"""Opening the database: one writing connection, read-only ones for everybody else, one owner."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DATABASE = "customhouse.db"
SCHEMA_HEAD = "0002"


class FolderInUse(Exception):
    """Another process owns the data folder."""


class SchemaUnknown(Exception):
    """The database was written by a newer Customhouse."""


def lock_folder(data_dir: Path) -> int:
    """Take the exclusive lock on *data_dir*, made when it is new; held until closed or we die.

    Raises: FolderInUse: another process holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(descriptor)
        raise FolderInUse(f"another process owns {data_dir}") from err
    return descriptor


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints; every commit is on disk when it returns.

    SQLite before 3.51.3 can corrupt a WAL that two connections write or checkpoint, so there is
    never a second one.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "recursive_triggers=ON",
        "foreign_keys=ON",
        "secure_delete=ON",
        "wal_autocheckpoint=1000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, whatever is asked of it."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    connection.execute("PRAGMA query_only=ON")
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_reader(path)
    try:
        yield connection
    finally:
        connection.close()


class Readers:
    """Connections that cannot write, kept for whoever reads next, on any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One that nobody else has meanwhile; after an error it is not kept."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = open_reader(self._path)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._is_closed:
            self._let_go()

    def close(self) -> None:
        """Keep none any more; one that is read on just now is closed after it."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def schema_version(path: Path) -> str:
    """The migration the database stands at; "" for a new one."""
    if not path.exists():
        return ""
    with reading(path) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return ""
    return str(row[0]) if row else ""


def prepare(path: Path) -> None:
    """Create or upgrade the schema; nothing is imported when it is already the newest.

    Raises: SchemaUnknown: the database is newer than this program.
    """
    version = schema_version(path)
    if version == SCHEMA_HEAD:
        return
    from alembic.util.exc import CommandError

    from gateway.store.migrations import upgrade

    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        upgrade(path)
    except CommandError as err:
        raise SchemaUnknown(
            f"the database is at {version}, this program knows {SCHEMA_HEAD}"
        ) from err


def free_bytes(data_dir: Path) -> int:
    stat = os.statvfs(data_dir)
    return stat.f_bavail * stat.f_frsize
