"""The keys of the house: files of their own, outside the data folder, never made twice.

keys_dir/            0700
  log.ed25519        signs the head of the log (PKCS #8 PEM)
  log.vkey           its public half, for verifiers: name+hash+base64
  payload.kek        seals payloads (32 bytes)
  state.key          seals requestState (32 bytes)
  token.ed25519      signs the tokens that the gateway gives out (PKCS #8 PEM)
  checkpoint         the last published checkpoint: remembers how long the log was

Beside them lie keys of earlier times, and for a moment the next one: gateway.store.keyring.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.audit.checkpoint import BadVkey, Vkey

LOG_KEY, LOG_VKEY, PAYLOAD_KEY, STATE_KEY = "log.ed25519", "log.vkey", "payload.kek", "state.key"
TOKEN_KEY = "token.ed25519"  # noqa: S105 - the name of a file
CHECKPOINT = "checkpoint"
SECRET_BYTES = 32


class KeysMissing(Exception):
    """A key that the log depends on is gone or unreadable; it is never made again."""


class KeyDamaged(Exception):
    """The file of a key holds something else."""


@dataclass(frozen=True, slots=True)
class HouseKeys:
    folder: Path
    signing: Ed25519PrivateKey
    payload: bytes
    state: bytes


def load_or_create(folder: Path, log_is_empty: bool) -> HouseKeys:
    """The keys in *folder*; made only when the log is empty and no key exists yet.

    Raises: KeysMissing: a key is missing beside a non-empty log, or one is damaged.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_readable(folder)
    missing = [n for n in (LOG_KEY, PAYLOAD_KEY, STATE_KEY) if not (folder / n).exists()]
    if missing and not log_is_empty:
        raise KeysMissing(
            f"{', '.join(missing)} missing in {folder} beside a log that was written with it: "
            "restore it from your backup; a new key would orphan the log"
        )
    for name in missing:
        _write_new(folder / name, fresh_key(name))
    return _load(folder)


def token_key(folder: Path, *, was_used: bool) -> Ed25519PrivateKey:
    """The key in *folder* that signs tokens; made where there is none and none *was_used* before.

    Raises: KeysMissing: it is gone, and the log says that tokens were signed with one; or damaged.
    """
    path = folder / TOKEN_KEY
    if not path.exists():
        if was_used:
            raise KeysMissing(
                f"{TOKEN_KEY} missing in {folder} beside a log with tokens that it signed: "
                "restore it from your backup; a new key would make them worthless unnoticed"
            )
        _write_new(path, fresh_key(TOKEN_KEY))
    try:
        return signing_key(path.read_bytes())
    except (KeyDamaged, OSError) as err:
        raise KeysMissing(f"{path} cannot be used: {err}") from err


def refuse_readable(folder: Path) -> None:
    """Raises: KeysMissing: others can read what is in it."""
    if folder.stat().st_mode & 0o077:
        raise KeysMissing(f"{folder} can be read by others: chmod 700 {folder}")


def signing_key(pem: bytes) -> Ed25519PrivateKey:
    """Raises: KeyDamaged."""
    try:
        key = load_pem_private_key(pem, password=None)
    except ValueError as err:
        raise KeyDamaged("not a private key in PEM") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyDamaged("not an Ed25519 key")
    return key


def write_vkey(folder: Path, vkey: str) -> None:
    """Keep the public half where a verifier finds it, and the one before it beside it."""
    path = folder / LOG_VKEY
    before = path.read_text().strip() if path.exists() else ""
    if before == vkey:
        return
    with suppress(BadVkey):
        kept = Vkey.parse(before).key_hash.hex()
        replace_file(folder / f"{LOG_VKEY}.{kept}", f"{before}\n".encode())
    replace_file(path, f"{vkey}\n".encode())


def _load(folder: Path) -> HouseKeys:
    try:
        signing = signing_key((folder / LOG_KEY).read_bytes())
    except (KeyDamaged, OSError) as err:
        raise KeysMissing(f"{folder / LOG_KEY} cannot be used: {err}") from err
    return HouseKeys(folder, signing, _secret(folder / PAYLOAD_KEY), _secret(folder / STATE_KEY))


def _secret(path: Path) -> bytes:
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise KeysMissing(f"{path} must hold {SECRET_BYTES} bytes, it holds {len(secret)}")
    return secret


def fresh_key(name: str) -> bytes:
    """The content of a new key file."""
    if name not in (LOG_KEY, TOKEN_KEY):
        return os.urandom(SECRET_BYTES)
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Replace *path* so that a crash leaves the old or the new content, never a mixture."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
