"""One key of the house after another: files first, then the entry, then the file in its place.

log.ed25519.next        durable before the entry that hands over; afterwards renamed onto its name
payload.kek.1a2b3c4d    an earlier payload key: what it sealed is opened with it
log.vkey.1a2b3c4d       the public half of an earlier log key, for proofs made under it
token.pub.1a2b3c4d      the public half of an earlier token key, until the last token of it is over

A crash in between leaves a `.next`. The log says what becomes of it: when it knows the key, the
renaming is made up for; when it does not, the key was never used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.audit.checkpoint import Vkey
from gateway.store.keys import (
    LOG_KEY,
    PAYLOAD_KEY,
    SECRET_BYTES,
    STATE_KEY,
    TOKEN_KEY,
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
TOKEN_PUBLIC = "token.pub"  # noqa: S105 - the name of a file
SIGNING = ("token.issue", "token.exchange")  # changes behind which stands a token


@dataclass(frozen=True, slots=True)
class Retired:
    """An earlier token key: it signs nothing any more, and what it signed is good until then."""

    public: bytes
    until_s: int


def key_id(name: str, content: bytes) -> str:
    """What the log calls a key: a digest that tells nothing of it."""
    if name in (LOG_KEY, TOKEN_KEY):
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
    for name in (LOG_KEY, PAYLOAD_KEY, STATE_KEY, TOKEN_KEY):
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


def tokens_were_signed(connection: sqlite3.Connection) -> bool:
    """Whether the log knows of a token that this house gave out."""
    found = "SELECT 1 FROM entries WHERE kind = 'change' AND instr(body, ?) > 0"
    said = (f'"what":"{what}"'.encode() for what in SIGNING)
    return any(connection.execute(found, (one,)).fetchone() for one in said)


def retire_token_key(folder: Path, now_s: int, until_s: int) -> None:
    """Keep the public half of the token key beside it, and let go of those whose time is over.

    Done before another one takes its place: a crash in between leaves the present key twice.
    """
    for path in _retired_files(folder):
        if _retired(path).until_s <= now_s:
            path.unlink()
    public = _public((folder / TOKEN_KEY).read_bytes())
    said = {"public": public.hex(), "until_s": until_s}
    name = f"{TOKEN_PUBLIC}.{sha256(public).hexdigest()[:KEPT_HEX]}"
    replace_file(folder / name, json.dumps(said).encode())


def retired_token_keys(folder: Path) -> tuple[Retired, ...]:
    """The earlier token keys that lie in *folder*, whether their time is over or not."""
    return tuple(_retired(path) for path in _retired_files(folder))


def _retired_files(folder: Path) -> list[Path]:
    files = folder.glob(f"{TOKEN_PUBLIC}.*")
    return sorted(path for path in files if not path.name.endswith(".new"))


def _retired(path: Path) -> Retired:
    """What cannot be read was signed by nobody: its time is over."""
    with suppress(ValueError, KeyError, TypeError, OSError):
        said = json.loads(path.read_bytes())
        return Retired(bytes.fromhex(said["public"]), int(said["until_s"]))
    return Retired(b"", 0)


def _is_used(connection: sqlite3.Connection, name: str, content: bytes, origin: str) -> bool:
    if name == LOG_KEY:
        # Not by what an entry says: only who has the key can have signed the head.
        return signed_head(connection, Vkey(origin, _public(content)))
    if name != TOKEN_KEY and len(content) != SECRET_BYTES:
        raise KeyDamaged("not a whole key")
    said = f'"digest":"{key_id(name, content)}"'.encode()
    row = connection.execute(
        "SELECT 1 FROM entries WHERE kind = 'change' AND instr(body, ?) > 0", (said,)
    ).fetchone()
    return row is not None


def _public(pem: bytes) -> bytes:
    return signing_key(pem).public_key().public_bytes_raw()
