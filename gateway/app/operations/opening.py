"""Opening payloads: names, arguments and results, for whoever holds the key."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag

from gateway.audit import entry as entries
from gateway.domain.operator import Exit, OperationRefused
from gateway.store.keyring import payload_keys
from gateway.store.keys import PAYLOAD_KEY, SECRET_BYTES
from gateway.store.log import SALT_BYTES
from gateway.store.trail import Trail
from gateway.store.writer import unseal


@dataclass(frozen=True, slots=True)
class Opened:
    """What lies behind one commitment, or why it cannot be shown."""

    leaf: int
    of: str  # arguments | result | note
    content: bytes = b""
    problem: str = ""


Ring = tuple[bytes, ...]  # every key that payloads were ever sealed with, the newest first


def payload_key(keys_dir: Path) -> Ring:
    """The keys that payloads are sealed with.

    Raises: OperationRefused: this user may not read it, or it is not there.
    """
    path = keys_dir / PAYLOAD_KEY
    try:
        key = path.read_bytes()
    except PermissionError as err:
        raise OperationRefused(
            f"{path} cannot be read by this user",
            "arguments and results are shown to holders of the key only",
            "run the command as the owner of the keys folder, or leave out --payloads",
            Exit.NOT_OPERATOR,
        ) from err
    except OSError as err:
        raise OperationRefused(
            f"{path} cannot be read: {err.strerror}",
            "without the key payloads stay sealed",
            "correct keys_dir, or leave out --payloads",
            Exit.INVALID,
        ) from err
    if len(key) != SECRET_BYTES:
        raise OperationRefused(
            f"{path} holds {len(key)} bytes, not {SECRET_BYTES}",
            "it is not the key that payloads were sealed with",
            "restore it from your backup",
            Exit.INVALID,
        )
    return tuple(payload_keys(keys_dir))


def open_payload(trail: Trail, ring: Ring, entry: entries.Entry) -> Opened | None:
    """What *entry* commits to; None when it commits to nothing."""
    of, commitment = _commitment(entry)
    if not commitment:
        return None
    stored = trail.payload(entry.i)
    if stored is None:
        return Opened(entry.i, of, problem="not kept: too large, erased, or past its time")
    payload = unsealed(ring, entry.i, *stored)
    if payload is None:
        return Opened(entry.i, of, problem="sealed with another key, or altered")
    if hashlib.sha256(payload).hexdigest() != commitment:
        return Opened(entry.i, of, problem="not what the entry commits to: it was altered")
    return Opened(entry.i, of, payload[SALT_BYTES:])


def unsealed(ring: Ring, leaf: int, nonce: bytes, sealed: bytes) -> bytes | None:
    """The seal itself says which key it is: all others fail."""
    for key in ring:
        with suppress(InvalidTag):
            return unseal(key, leaf, nonce, sealed)
    return None


def _commitment(entry: entries.Entry) -> tuple[str, str]:
    if isinstance(entry, entries.Intent | entries.Refused):
        return "arguments", entry.args
    if isinstance(entry, entries.Outcome):
        return "result", entry.result
    if isinstance(entry, entries.Change):
        return "note", entry.note
    return "", ""
