"""The keys of one issuer: public ones, each only for the algorithms that its sort and itself allow."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from gateway.domain.algorithms import SORT_OF, KeySort

MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192  # less can be factored, more is slow to check


@dataclass(frozen=True, slots=True)
class SigningKey:
    id: str  # its kid; "" when it has none
    algorithms: frozenset[str]
    key: Key
    thumbprint: str  # RFC 7638


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[SigningKey, ...]

    def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """The one key that can have signed so; None when there is none, or when several could."""
        fitting = [
            one
            for one in self.keys
            if algorithm in one.algorithms and (key_id is None or one.id == key_id)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def holds(self, thumbprint: str) -> bool:
        """Whether a key is still in it that was once."""
        return any(one.thumbprint == thumbprint for one in self.keys)


def read_key_set(raw: bytes) -> KeySet:
    """Read a JSON Web Key Set (RFC 7517). Keys of no use for signatures are left out.

    Raises: ValueError: it is none, or nothing is left.
    """
    try:
        said: Any = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"expected a key set of at most {MAX_KEYS} keys")
    keys = tuple(key for one in listed for key in _usable(one))
    if not keys:
        raise ValueError("no key of the key set can prove a signature")
    return KeySet(keys)


def _usable(said: Any) -> Iterator[SigningKey]:
    # A key that comes with its private half is everybody's; a symmetric one is a secret, not a key.
    if not isinstance(said, dict) or "d" in said or "k" in said:
        return
    sort = KeySort(said.get("kty", ""), said.get("crv", ""))
    algorithms = {name for name, fit in SORT_OF.items() if fit == sort}
    if "alg" in said:
        algorithms &= {said["alg"]} if isinstance(said["alg"], str) else set()
    operations = said.get("key_ops", ["verify"])
    verifies = isinstance(operations, list) and "verify" in operations
    key_id = said.get("kid", "")
    if not algorithms or not verifies or said.get("use", "sig") != "sig":
        return
    if not isinstance(key_id, str):
        return
    try:
        if sort.type == "RSA" and not MIN_RSA_BITS <= _modulus_bits(said) <= MAX_RSA_BITS:
            return
        key = JWKRegistry.import_key(cast("dict[str, str | list[str]]", said))
    except (JoseError, ValueError, TypeError, KeyError):
        return
    yield SigningKey(key_id, frozenset(algorithms), key, key.thumbprint())


def _modulus_bits(said: dict[str, Any]) -> int:
    modulus = said["n"]
    return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))).bit_length()
