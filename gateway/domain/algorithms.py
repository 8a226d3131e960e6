"""The signatures that a token may have: asymmetric ones only, each with the one sort of key it fits.

What is not in this table cannot be configured: with `none` nobody signed, and with HS256 whoever
can check a signature can make one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class KeySort(NamedTuple):
    """The `kty` and `crv` of a JSON Web Key; RSA keys have no curve."""

    type: str
    curve: str = ""


_RSA, _ED25519 = KeySort("RSA"), KeySort("OKP", "Ed25519")

SORT_OF: Mapping[str, KeySort] = MappingProxyType(
    {
        "RS256": _RSA,
        "RS384": _RSA,
        "RS512": _RSA,
        "PS256": _RSA,
        "PS384": _RSA,
        "PS512": _RSA,
        "ES256": KeySort("EC", "P-256"),
        "ES384": KeySort("EC", "P-384"),
        "ES512": KeySort("EC", "P-521"),
        "EdDSA": _ED25519,
        "Ed25519": _ED25519,  # as RFC 9864 calls it
    }
)
