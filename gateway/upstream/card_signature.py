"""Whether a card is signed by one of the keys that the operator pinned (A2A 1.0 s8.4.3).

The signature is a JWS over the card in canonical form. A key says by its own sort which algorithm
it is for; what the signature says of its algorithm only has to agree.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.domain.base64url import base64url
from gateway.domain.card import BadCard, Card, Signature, signed_payloads

MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192
_ES256_BYTES = 64  # r and s, 32 each
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class _Key:
    id: str  # "" when it has none
    public: PublicKey


def check_signed(card: Card, key_set: bytes) -> None:
    """Raises: BadCard: none of its signatures is by a key of *key_set*."""
    keys = tuple(_read(key_set))
    if not keys:
        raise BadCard("the pinned key set has no key that could have signed a card")
    if not card.signatures:
        raise BadCard("it is not signed, and has to be")
    payloads = [base64url(payload).encode() for payload in signed_payloads(card)]
    if not any(_by(key, one, payloads) for one in card.signatures for key in keys):
        raise BadCard("none of its signatures is by a pinned key")


def _by(key: _Key, signature: Signature, payloads: list[bytes]) -> bool:
    try:
        head: Any = json.loads(_bytes(signature.protected))
        raw = _bytes(signature.signature)
    except (ValueError, RecursionError):
        return False
    # What is critical would have to be understood (RFC 7515 s4.1.11).
    if not isinstance(head, dict) or "crit" in head or head.get("kid", key.id) != key.id:
        return False
    start = signature.protected.encode() + b"."
    return any(_proves(key.public, head.get("alg"), raw, start + one) for one in payloads)


def _proves(public: PublicKey, algorithm: Any, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            if algorithm != "ES256" or len(signature) != _ES256_BYTES:
                return False
            r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
            public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
        elif isinstance(public, ed25519.Ed25519PublicKey):
            if algorithm not in {"EdDSA", "Ed25519"}:
                return False
            public.verify(signature, signed)
        else:
            if algorithm != "RS256":
                return False
            public.verify(signature, signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _read(key_set: bytes) -> Iterator[_Key]:
    """The keys of a JSON Web Key Set that can be used; private and symmetric ones cannot."""
    try:
        said: Any = json.loads(key_set)
    except (ValueError, RecursionError):
        return
    listed = said.get("keys") if isinstance(said, dict) else None
    for one in listed[:MAX_KEYS] if isinstance(listed, list) else []:
        is_public = isinstance(one, dict) and "d" not in one and "k" not in one
        if (
            not is_public
            or one.get("use", "sig") != "sig"
            or not isinstance(one.get("kid", ""), str)
        ):
            continue
        try:
            public = _public(one)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if public is not None:
            yield _Key(one.get("kid", ""), public)


def _public(said: dict[str, Any]) -> PublicKey | None:
    sort = (said.get("kty"), said.get("crv"))
    if sort == ("EC", "P-256"):
        x, y = (int.from_bytes(_bytes(said[name])) for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    if sort == ("OKP", "Ed25519"):
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(said["x"]))
    if sort[0] == "RSA":
        n, e = (int.from_bytes(_bytes(said[name])) for name in ("n", "e"))
        if MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS:
            return rsa.RSAPublicNumbers(e, n).public_key()
    return None


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
