"""One key of the house after another: files first, then the entry, then the file in its place.

log.ed25519.next        durable before the entry that hands over; afterwards renamed onto its name
payload.kek.1a2b3c4d    an earlier payload key: what it sealed is opened with it
log.vkey.1a2b3c4d       the public half of an earlier log key, for proofs made under it

A crash in between leaves a `.next`. The log says what becomes of it: when it knows the key, the
renaming is made up for; when it does not, the key was never used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from gateway.audit.checkpoint import Vkey
from gateway.store.keys import (
    LOG_KEY,
    PAYLOAD_KEY,
    SECRET_BYTES,
    STATE_KEY,
    KeyDamaged,
    fresh_key,
    replace_file,
    signing_key,
    sync_folder,
)
from gateway.store.writer import signed_head

NEXT = ".next"
ROTATED = "key.rotate"
KEPT_HEX = 8  # of the id of a key, in the name of its file


def key_id(name: str, content: bytes) -> str:
    """What the log calls a key: a digest that tells nothing of it."""
    if name == LOG_KEY:
        return sha256(signing_key(content).public_key().public_bytes_raw()).hexdigest()
    return sha256(b"customhouse key\n" + content).hexdigest()


def begin(folder: Path, name: str) -> bytes:
    """Make the next key *name*, durable; nothing uses it yet. Returns the file's content."""
    content = fresh_key(name)
    replace_file(folder / (name + NEXT), content)
    if name == PAYLOAD_KEY:
        old = (folder / name).read_bytes()
        replace_file(folder / f"{name}.{key_id(name, old)[:KEPT_HEX]}", old)
    return content


def promote(folder: Path, name: str) -> None:
    """Put the next key *name* in its place; the one before it is gone, or kept beside it."""
    with suppress(FileNotFoundError):  # it was done already, after a crash
        (folder / (name + NEXT)).replace(folder / name)
    sync_folder(folder)


def discard(folder: Path, name: str) -> None:
    """Forget a next key that nothing was signed or sealed with."""
    with suppress(FileNotFoundError):
        (folder / (name + NEXT)).unlink()
    sync_folder(folder)


def settle(folder: Path, connection: sqlite3.Connection, origin: str) -> list[str]:
    """End every rotation that a crash cut short, as the log at *origin* has it.

    Returns the names of the keys that took their place now.
    """
    promoted: list[str] = []
    for name in (LOG_KEY, PAYLOAD_KEY, STATE_KEY):
        try:
            content = (folder / (name + NEXT)).read_bytes()
            used = _is_used(connection, name, content, origin)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except KeyDamaged:  # it was being written: nothing can have been made with it
            used = False
        if used:
            promote(folder, name)
            promoted.append(name)
        else:
            discard(folder, name)
    return promoted


def payload_keys(folder: Path) -> Iterator[bytes]:
    """Every key that payloads may be sealed with, the newest first."""
    names = [PAYLOAD_KEY, PAYLOAD_KEY + NEXT]
    others = (path.name for path in folder.glob(f"{PAYLOAD_KEY}.*"))
    for name in dict.fromkeys((*names, *sorted(others))):
        with suppress(FileNotFoundError):
            content = (folder / name).read_bytes()
            if len(content) == SECRET_BYTES:
                yield content


def vkey_files(folder: Path) -> Sequence[Path]:
    """The public halves of earlier log keys."""
    return sorted(path for path in folder.glob("log.vkey.*") if not path.name.endswith(".new"))


def _is_used(connection: sqlite3.Connection, name: str, content: bytes, origin: str) -> bool:
    if name == LOG_KEY:
        # Not by what an entry says: only who has the key can have signed the head.
        return signed_head(connection, Vkey(origin, _public(content)))
    if len(content) != SECRET_BYTES:
        raise KeyDamaged("not a whole key")
    said = f'"digest":"{key_id(name, content)}"'.encode()
    row = connection.execute(
        "SELECT 1 FROM entries WHERE kind = 'change' AND instr(body, ?) > 0", (said,)
    ).fetchone()
    return row is not None


def _public(pem: bytes) -> bytes:
    return signing_key(pem).public_key().public_bytes_raw()
