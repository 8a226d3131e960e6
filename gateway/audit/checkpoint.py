"""Checkpoints: the head of the log as a signed statement (C2SP tlog-checkpoint, signed-note).

customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e
1024
Wm9fEnN2AVgB1Xh0RDPHG6YoFmGgkM+BMXnXVoXlx8E=

— customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e HvQZ8Tm...base64 of key hash and signature...
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.merkle import HASH_BYTES

# signed-note: at least 16 signatures must be read, and post-quantum ones are up to 5 kB.
MAX_NOTE_BYTES = 131_072
MAX_SIGNATURES = 16

_ED25519 = b"\x01"  # signed-note: the type byte in front of the key
_KEY_HASH_BYTES = 4
_NAME = re.compile(r"[!-*,-~]{1,200}")  # signed-note: no white space and no plus sign
_FOREIGN_NAME = re.compile(r"[^\s+]+")  # witnesses may have names in any script


class BadCheckpoint(ValueError):
    """A note is not a checkpoint as written by `Signer.sign`, in form."""


class BadVkey(ValueError):
    """A text is not a verifier key."""


class BadSignature(ValueError):
    """A well-formed note is not signed by the key it was opened with."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who claims to have signed, with which key."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint states: that the log of this origin had this root at this size."""

    origin: str
    size: int
    root: bytes
    text: bytes  # what is signed
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Vkey:
    """A public key by which notes are verified, e.g. `example.com/log+1a2b3c4d+AX...=`."""

    name: str
    public: bytes  # raw Ed25519 public key

    @property
    def key_hash(self) -> bytes:
        """The four bytes by which a signature line refers to this key."""
        hashed = self.name.encode() + b"\n" + _ED25519 + self.public
        return sha256(hashed).digest()[:_KEY_HASH_BYTES]

    @property
    def id(self) -> str:
        """Name and key hash: enough to tell keys apart, not to verify."""
        return f"{self.name}+{self.key_hash.hex()}"

    def __str__(self) -> str:
        return f"{self.id}+{b64encode(_ED25519 + self.public).decode()}"

    def open(self, note: bytes) -> Checkpoint:
        """What *note* states. Raises: BadCheckpoint, BadSignature: see `open`."""
        return open(note, self)

    @classmethod
    def parse(cls, text: str) -> Vkey:
        """Return the key written in *text*; white space around it is ignored.

        Raises: BadVkey: it is not a signed-note verifier key for Ed25519.
        """
        parts = text.strip().split("+", 2)  # base64 may hold further plus signs
        if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
            raise BadVkey("a verifier key is written name+hash+key; this text is not")
        key = unbase64(parts[2])
        if key is None or len(key) != 33 or key[:1] != _ED25519:
            raise BadVkey(f"the verifier key of {parts[0]} is not a base64 Ed25519 key")
        vkey = cls(parts[0], key[1:])
        if vkey.key_hash.hex() != parts[1]:
            raise BadVkey(f"the verifier key of {parts[0]} does not match its hash {parts[1]!r}")
        return vkey


class Opener(Protocol):
    """What checkpoints are opened with: one key, or those of a succession."""

    def open(self, note: bytes) -> Checkpoint: ...


class Signer:
    """Signs the heads of one log."""

    def __init__(self, key: Ed25519PrivateKey, origin: str) -> None:
        if not _NAME.fullmatch(origin):
            raise ValueError(f"{origin!r} cannot be the origin of a log: white space or plus sign")
        self._key = key
        self.vkey = Vkey(origin, key.public_key().public_bytes_raw())
        self._head = f"{origin}\n".encode()
        self._line = f"\n\u2014 {origin} ".encode()
        self._key_hash = self.vkey.key_hash

    @property
    def origin(self) -> str:
        return self.vkey.name

    def sign(self, size: int, root: bytes) -> bytes:
        """Return the signed note that states *root* at *size*."""
        text = b"%b%d\n%b\n" % (self._head, size, b64encode(root))
        signature = b64encode(self._key_hash + self._key.sign(text))
        return b"%b%b%b\n" % (text, self._line, signature)


def parse(note: bytes) -> Checkpoint:
    """Return what *note* states, without looking at whether anybody signed it.

    Raises: BadCheckpoint: it is not what its own content would be written as.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise BadCheckpoint(f"a checkpoint of {len(note)} bytes; at most {MAX_NOTE_BYTES} are read")
    text, blank, lines = note.rpartition(b"\n\n")
    if not blank or not lines.endswith(b"\n"):
        raise BadCheckpoint("no blank line between a checkpoint's text and its signatures")
    text += b"\n"
    origin, size, root = _statement(text)
    rows = lines.split(b"\n")[:-1]
    if len(rows) > MAX_SIGNATURES:
        raise BadCheckpoint(f"{len(rows)} signatures; at most {MAX_SIGNATURES} are read")
    return Checkpoint(origin, size, root, text, tuple(_signature(row) for row in rows))


def open(note: bytes, vkey: Vkey) -> Checkpoint:
    """Return what *note* states, once *vkey* has verified it; other signatures are ignored.

    Raises: BadCheckpoint: not a checkpoint. BadSignature: not signed by this key, or its
    origin is not the key's name (a log and its key share one name).
    """
    checkpoint = parse(note)
    if checkpoint.origin != vkey.name:
        raise BadSignature(f"a checkpoint of {checkpoint.origin}, opened with a key of {vkey.name}")
    known = (vkey.name, vkey.key_hash)
    for line in checkpoint.signatures:
        if (line.name, line.key_hash) == known:
            _verify(vkey, line.signature, checkpoint)
            return checkpoint
    others = (line.key_hash.hex() for line in checkpoint.signatures if line.name == vkey.name)
    another = next(others, "")
    hint = (
        f", but names the key {another}: if the log's key was rotated, "
        "give the log.vkey of that time"
    )
    raise BadSignature(
        f"the checkpoint at size {checkpoint.size} is not signed by {vkey.id}{hint if another else ''}"
    )


def _verify(vkey: Vkey, signature: bytes, checkpoint: Checkpoint) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(vkey.public).verify(signature, checkpoint.text)
    except (InvalidSignature, ValueError) as err:
        raise BadSignature(
            f"the signature of the checkpoint at size {checkpoint.size} is not by {vkey.id}"
        ) from err


def _statement(text: bytes) -> tuple[str, int, bytes]:
    try:
        origin, decimal, encoded, end = text.decode("ascii").split("\n")
    except ValueError as err:  # of the decoding and of the unpacking
        raise BadCheckpoint("a checkpoint is three lines of ASCII: origin, size, root") from err
    if end or not _NAME.fullmatch(origin):
        raise BadCheckpoint("the first line of a checkpoint is its origin")
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", decimal):
        raise BadCheckpoint("the second line of a checkpoint is its size, in decimal")
    root = unbase64(encoded)
    if root is None or len(root) != HASH_BYTES:
        raise BadCheckpoint("the third line of a checkpoint is its root, 32 bytes in base64")
    return origin, int(decimal), root


def _signature(row: bytes) -> Signature:
    try:
        dash, name, encoded = row.decode().split(" ")
    except ValueError as err:
        raise BadCheckpoint("a signature line is: em dash, name, base64") from err
    signed = unbase64(encoded)
    if dash != "\u2014" or not _FOREIGN_NAME.fullmatch(name) or not signed:
        raise BadCheckpoint("a signature line is: em dash, name, base64")
    # Other algorithms (cosignatures of witnesses) have other lengths; only ours is verified.
    return Signature(name, signed[:_KEY_HASH_BYTES], signed[_KEY_HASH_BYTES:])


def unbase64(text: str) -> bytes | None:
    """Return the bytes of strict base64; None where another encoding of them was written."""
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        return None
    return decoded if b64encode(decoded).decode() == text else None
