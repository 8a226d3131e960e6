"""How one signing key of the log hands over to the next: an entry says so, and both keys sign it.

    customhouse rotation v1
    entry 4711
    from customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e+1a2b3c4d+AX...
    to customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e+5e6f7a8b+AY...

A log of up to 4711 entries is signed with the old key, one of more with the next: each size has one
key. So whoever keeps any key of the chain can verify the log, and whoever has a key that was handed
over can sign nothing behind that entry.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit import checkpoint, grammar
from gateway.audit.checkpoint import BadVkey, Checkpoint, Vkey, unbase64


class BadRotation(ValueError):
    """Not a change of key that both keys signed, or not one of this log's keys."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of key that both have signed: sizes above *leaf* are signed with *next*."""

    leaf: int
    old: Vkey
    next: Vkey


def statement(leaf: int, old: Vkey, following: Vkey) -> bytes:
    """What both keys sign."""
    return f"customhouse rotation v1\nentry {leaf}\nfrom {old}\nto {following}\n".encode()


def sign(key: Ed25519PrivateKey, stated: bytes) -> str:
    """One of the two signatures, as the entry has it."""
    return b64encode(key.sign(stated)).decode()


def read(leaf: int, raw: bytes) -> Rotation:
    """The rotation that stands in the entry at *leaf*, in JSON. Raises: BadRotation."""
    try:
        said = json.loads(raw)
        old, following = Vkey.parse(said["old"]), Vkey.parse(said["next"])
        signatures = [unbase64(text) or b"" for text in said["signatures"]]
    except (ValueError, KeyError, TypeError, BadVkey) as err:
        raise BadRotation(f"entry {leaf} names no keys: {err}") from err
    stated = statement(leaf, old, following)
    for vkey, signature in zip((old, following), signatures, strict=True):
        try:
            Ed25519PublicKey.from_public_bytes(vkey.public).verify(signature, stated)
        except (InvalidSignature, ValueError) as err:
            raise BadRotation(f"the rotation in entry {leaf} is not signed by {vkey.id}") from err
    return Rotation(leaf, old, following)


def among(bodies: Iterable[tuple[int, bytes]]) -> list[Rotation]:
    """The rotations among entries, given as (leaf, body). Raises: BadRotation."""
    found: list[Rotation] = []
    for leaf, body in bodies:
        line = grammar.read(b"change", body)
        if line is not None and line.leaf == leaf and line.taken[2]:
            found.append(read(leaf, line.taken[2]))
    return found


class Keys:
    """The keys of one log in their order, each with the sizes that it signs."""

    def __init__(self, given: Vkey, rotations: Sequence[Rotation] = ()) -> None:
        """*given*: the key that is trusted, any of the chain.

        Raises: BadRotation: the rotations are no chain, or one that *given* is no part of.
        """
        chain = [rotations[0].old] if rotations else [given]
        for rotation in rotations:
            if rotation.old != chain[-1] or rotation.next.name != given.name:
                raise BadRotation(
                    f"entry {rotation.leaf} rotates {rotation.old.id}, the key was {chain[-1].id}"
                )
            chain.append(rotation.next)
        if given not in chain:
            raise BadRotation(f"{given.id} is none of the keys that this log names")
        self.rotations = tuple(rotations)
        self._chain = chain
        self._leaves = [rotation.leaf for rotation in rotations]

    @property
    def newest(self) -> Vkey:
        return self._chain[-1]

    def at(self, size: int) -> Vkey:
        """The key that signs a log of *size* entries."""
        return self._chain[sum(leaf < size for leaf in self._leaves)]

    def open(self, note: bytes) -> Checkpoint:
        """What *note* states, verified with the key for its size.

        Raises: BadCheckpoint, BadSignature: as `checkpoint.open`.
        """
        return checkpoint.open(note, self.at(checkpoint.parse(note).size))
