"""One token as RFC 9068 and RFC 8725 have it read: strictly, and believed only when all of it holds."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key, OKPKey
from joserfc.jws import JWSRegistry, deserialize_compact, serialize_compact

from gateway.edge.oauth.issuer import Issuer, NotGood

MAX_CHARS = 8_192
LEEWAY_S = 5  # for clocks that are ahead of ours; none for the end of a token
MAX_AUDIENCES = 32
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
# What an access token may say it is. Not a logout, not a proof of possession, not an assertion.
_UNTYPED = "jwt"
_TYPES = frozenset({_UNTYPED, "at+jwt", "application/at+jwt"})
# Where issuers that do not write the type say in a claim what it is, and what they say of access
# tokens. ID tokens, and those that only the issuer may be shown, are signed with the same keys.
_USE_CLAIMS = ("token_use", "token_type", "typ")
_USES = _TYPES | {"access", "access_token", "bearer"}
# Of OpenID Connect Core s2 and s3.3.2.11.
_ID_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})


class Said(NamedTuple):
    """What a token says; nothing of it is proved."""

    header: dict[str, Any]
    claims: dict[str, Any]
    algorithm: str
    key_id: str | None


class Times(NamedTuple):
    """In seconds since the epoch; *issued_s* is 0 where the token does not say."""

    ends_s: float
    issued_s: float


def read(token: str) -> Said:
    """Raises: NotGood: it is no signed JWT that can be read in one way only."""
    found = _SHAPE.fullmatch(token) if len(token) <= MAX_CHARS else None
    if found is None:
        raise NotGood("it is no signed JWT, or too long")
    header, claims = _members(found[1]), _members(found[2])
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        raise NotGood("its header does not name an algorithm and a key")
    return Said(header, claims, algorithm, key_id)


def check_header(said: Said, issuer: Issuer) -> None:
    """Raises: NotGood: it is signed otherwise than this issuer signs, or is no access token."""
    if said.algorithm not in issuer.algorithms:
        raise NotGood("its algorithm is not one of the issuer's")
    # What is critical and not understood must not be passed over (RFC 7515 s4.1.11).
    if "crit" in said.header or "b64" in said.header:
        raise NotGood("its header has extensions that are not known here")
    type_ = said.header.get("typ", "JWT")
    if not isinstance(type_, str) or type_.lower() not in _TYPES:
        raise NotGood("it is a JWT of another type than access tokens are")
    _check_use(said.claims, is_typed=type_.lower() != _UNTYPED)
    # Without a proof that its owner sent it, such a token is a stolen one (RFC 9449, RFC 8705).
    if "cnf" in said.claims:
        raise NotGood("it is bound to a key of its owner, which is not checked here")


def _check_use(claims: Mapping[str, Any], *, is_typed: bool) -> None:
    """Raises: NotGood: it can be seen that it was not made to be shown here."""
    uses = [claims[name] for name in _USE_CLAIMS if name in claims]
    if not all(isinstance(use, str) and use.lower() in _USES for use in uses):
        raise NotGood("it says that it is for another use than access")
    # Some issuers put the nonce into access tokens too, which then say what they are.
    if not (is_typed or uses) and not _ID_CLAIMS.isdisjoint(claims):
        raise NotGood("it has the claims of an ID token")


def check_times(claims: Mapping[str, Any], now_us: int) -> Times:
    """Raises: NotGood: it has ended, has not begun, or says no time."""
    now_s = now_us / 1e6
    ends_s = _seconds(claims, "exp")
    if ends_s is None:
        raise NotGood("it never ends")
    if now_s >= ends_s:
        raise NotGood("it has expired")
    begins_s, issued_s = _seconds(claims, "nbf") or 0.0, _seconds(claims, "iat") or 0.0
    if max(begins_s, issued_s) > now_s + LEEWAY_S:
        raise NotGood("it is not good yet")
    return Times(ends_s, issued_s)


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom the token is for. Raises: NotGood."""
    said = claims.get("aud")
    listed = said if isinstance(said, list) else [said]
    if len(listed) > MAX_AUDIENCES or not all(isinstance(one, str) for one in listed):
        raise NotGood("its audience is missing or malformed")
    return tuple(listed)


def check_signature(token: str, said: Said, key: Key) -> None:
    """Raises: NotGood: *key* did not sign it so."""
    try:
        proved = deserialize_compact(token, key, registry=_Registry(algorithms=[said.algorithm]))
    except (JoseError, ValueError) as err:
        raise NotGood("its signature is wrong") from err
    if _object(proved.payload) != said.claims:
        raise NotGood("its signature is of something else")


def sign(header: dict[str, Any], claims: bytes, key: OKPKey) -> str:
    """A token of our own, in the compact form (RFC 7515)."""
    return serialize_compact(header, claims, key, registry=_Registry(algorithms=[header["alg"]]))


class _Registry(JWSRegistry):
    """One algorithm; nothing that is recommended elsewhere comes in beside it."""

    max_header_length = MAX_CHARS

    def __init__(self, algorithms: list[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        # Without the library's warning that EdDSA is called Ed25519 now: issuers decide on that.
        if self.allowed is None or name not in self.allowed:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def _members(segment: str) -> dict[str, Any]:
    try:
        return _object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as err:
        raise NotGood("it is not in base64url") from err


def _object(raw: bytes) -> dict[str, Any]:
    """One JSON object in which no name comes twice: nobody reads it otherwise."""
    try:
        said: Any = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as err:
        raise NotGood("it is not strict JSON") from err
    if not isinstance(said, dict):
        raise NotGood("it is not a JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes twice")
    return members


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotGood("a time in it is not a number")
    if not math.isfinite(value) or not 0 <= value < 2**53:
        raise NotGood("a time in it is out of range")
    return float(value)
