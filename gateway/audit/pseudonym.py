"""What stands in the log for a name: an id that commits to the name, through a salt beside it.

    s1f0c9be4d2a77c35       kind letter, then 16 hex of SHA-256(salt || kind || name)

Standard library only: the offline verifier checks the table of names with it.
"""

from __future__ import annotations

from hashlib import sha256

SALT_BYTES = 16
_HEX_CHARS = 16


def is_erased(pseudonym: bytes, name: bytes, salt: bytes) -> bool:
    """What is left of an erased name: its row stays where it was, with nothing in it."""
    return not salt and name == pseudonym


def pseudonym_of(salt: bytes, kind: str, name: str) -> str:
    """The id of *name*. 64 bits: to find another name for an id takes 2^64 guesses."""
    named = f"{kind}\n{name}".encode("utf-8", "replace")
    return kind + sha256(salt + named).hexdigest()[:_HEX_CHARS]
