"""Signed calls: a token with each request, by which a server sees that it crossed the border.

    Customhouse-Call: eyJhbGciOiJFZERTQSIs...        a JWT (RFC 7519), EdDSA (RFC 8037)
    {"iss": "https://tools.example.com", "aud": "https://docs.example.com/mcp", "iat": ..., "exp": iat + 60,
     "jti": never twice, "request": digest of b"POST /mcp\\n" + body,
     "sub": "report-bot", "tenant": "default", "act": {"sub": "planner"}, "call": its id,
     "method": "tools/call", "tool": "get_page", "args": digest of params.arguments}

Digests are SHA-256 over the bytes as they are sent, base64url without padding. What else is said in
a call (answers to what the server asks, its cancellation) is its caller's, too, up to `method`. What
belongs to no call (lists, greetings, streams) has the subject `system:discover`, and nothing after it.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.domain.base64url import base64url
from gateway.domain.model import Call, Kind

HEADER = "Customhouse-Call"
LIFE_S = 60
# A server may keep the key set that long, so a key is published for as long before it is used.
CACHE_S = 60
SKEW_S = 10  # that the clock of a server may be behind
DISCOVER = "system:discover"
_TYPE = "customhouse-call+jwt"
_PURPOSE = b"customhouse signed calls 1"


class CallKey:
    """A key pair with its name: the thumbprint of its public half (RFC 7638)."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = base64url(private.public_key().public_bytes_raw())
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": public}
        self.kid = _digest(msgspec.json.encode(jwk, order="sorted"))
        self.jwk = {**jwk, "kid": self.kid, "use": "sig", "alg": "EdDSA"}
        self._head = {"alg": "EdDSA", "kid": self.kid, "typ": _TYPE}

    def token(self, claims: dict[str, Any]) -> str:
        return self.jws(msgspec.json.encode(self._head), msgspec.json.encode(claims))

    def jws(self, head: bytes, payload: bytes) -> str:
        """The compact form (RFC 7515)."""
        signed = f"{base64url(head)}.{base64url(payload)}"
        return f"{signed}.{base64url(self._private.sign(signed.encode()))}"


@dataclass(frozen=True, slots=True)
class _Term:
    """From when on a key signs."""

    key: CallKey
    from_s: int


class CallSigner:
    """Signs what one house sends. Its key follows from the state key, and is rotated with it."""

    def __init__(self, state_key: bytes, issuer: str, clock: Callable[[], int]) -> None:
        """*clock*: microseconds since the epoch."""
        self._issuer = issuer
        self._clock = clock
        self._terms = [_Term(_derived(state_key), 0)]
        self._numbers = itertools.count(1)
        self._process = secrets.token_urlsafe(12)  # numbers begin anew with each process

    def rekey(self, state_key: bytes) -> None:
        """Publish the next key now, and sign with it once every server can know it."""
        self._terms.append(_Term(_derived(state_key), self._now_s() + CACHE_S))

    def jwks(self) -> bytes:
        """The key set by which tokens that are good now, or soon, are verified (RFC 7517)."""
        now_s = self._now_s()
        later = [term.from_s for term in self._terms[1:]]
        while later and later[0] + LIFE_S + SKEW_S <= now_s:  # the last token of the first is over
            del self._terms[0], later[0]
        return msgspec.json.encode({"keys": [term.key.jwk for term in self._terms]})

    def line(self, call: Call | None, audience: str, first_line: bytes, body: bytes) -> bytes:
        """The header line for one request. *first_line*: its method and target."""
        now_s = self._now_s()
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "iat": now_s,
            "exp": now_s + LIFE_S,
            "jti": f"{self._process}.{next(self._numbers)}",
            "request": _digest(first_line + b"\n" + body),
            **_of_call(call),
        }
        return f"{HEADER}: {self._key(now_s).token(claims)}\r\n".encode()

    def detached(self, key_set: str, payload: bytes) -> tuple[str, str]:
        """Header and signature of a JWS over *payload*, whose key is found in *key_set*, a URL."""
        key = self._key(self._now_s())
        head = {"alg": "EdDSA", "jku": key_set, "kid": key.kid, "typ": "JOSE"}
        protected, _, signature = key.jws(msgspec.json.encode(head), payload).split(".")
        return protected, signature

    def _key(self, now_s: int) -> CallKey:
        due = (term.key for term in reversed(self._terms) if term.from_s <= now_s)
        return next(due, self._terms[0].key)

    def _now_s(self) -> int:
        return self._clock() // 1_000_000


def said_in(call: Call) -> Call:
    """*call*, as what is not its request is signed: whose it is, and no use of a tool."""
    return replace(call, kind=Kind.SERVER, params={}, arguments={}, meta={})


def _derived(state_key: bytes) -> CallKey:
    seed = HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(state_key)
    return CallKey(Ed25519PrivateKey.from_private_bytes(seed))


def _of_call(call: Call | None) -> dict[str, Any]:
    if call is None or not call.id:
        return {"sub": DISCOVER}
    who = call.principal
    claims: dict[str, Any] = {"sub": who.subject, "tenant": who.tenant}
    actor: dict[str, Any] = {}
    for name in reversed(who.actors):  # RFC 8693 s4.1: the nearest holds those before it
        actor = {"sub": name, **({"act": actor} if actor else {})}
    if actor:
        claims["act"] = actor
    claims |= {"call": call.id, "method": call.method}
    if call.kind is Kind.TOOL:
        claims["tool"] = call.name
    if "arguments" in call.params:
        claims["args"] = _digest(call.params["arguments"])
    return claims


def _digest(content: bytes) -> str:
    return base64url(hashlib.sha256(content).digest())
