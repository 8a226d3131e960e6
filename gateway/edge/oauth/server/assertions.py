"""private_key_jwt (RFC 7523): an agent proves itself with a JWT that its own key signed, once.

{"iss": "worker", "sub": "worker", "aud": "https://tools.example.com", "jti": ..., "exp": now + 60}
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from threading import Lock
from typing import Any

from gateway.edge.oauth import jwt
from gateway.edge.oauth.issuer import MAX_NAME_CHARS, NotGood
from gateway.edge.oauth.keyset import KeySet, SigningKey
from gateway.edge.oauth.server.wire import ASSERTION_ALGORITHMS

MAX_LIFE_S = 300
MAX_USED = 5_000  # of one client at a time; more than it may ask for in that time
_TYPES = (None, "JWT", "jwt", "client-authentication+jwt")


class Assertions:
    """Which keys prove which agent, and what was shown already. Used from several threads."""

    def __init__(
        self, keys: Mapping[str, KeySet], audiences: tuple[str, ...], began_us: int
    ) -> None:
        """*began_us*: what was made before could have been shown before, which nobody remembers."""
        self._keys = keys
        self._audiences = frozenset(audiences)
        self._began_s = began_us // 1_000_000
        self._used: dict[str, OrderedDict[bytes, float]] = {}  # by client: digest of a jti, its end
        self._lock = Lock()

    def proved(self, assertion: str, now_us: int) -> tuple[str, SigningKey]:
        """The agent that *assertion* proves, and with which key. Raises: NotGood."""
        said = jwt.read(assertion)
        _check_header(said.header, said.algorithm)
        client = said.claims.get("sub")
        if not isinstance(client, str) or said.claims.get("iss") != client:
            raise NotGood("its issuer and its subject are not the client")
        key_set = self._keys.get(client)
        key = key_set.find(said.key_id, said.algorithm) if key_set is not None else None
        if key is None:
            raise NotGood("no key of the client can have signed it")
        jwt.check_signature(assertion, said, key.key)
        named = jwt.audiences(said.claims)
        if len(named) != 1 or named[0] not in self._audiences:
            raise NotGood("it is for another audience")
        self._use_up(client, said.claims, now_us)
        return client, key

    def _use_up(self, client: str, claims: Mapping[str, Any], now_us: int) -> None:
        times, now_s = jwt.check_times(claims, now_us), now_us / 1e6
        if times.ends_s > now_s + MAX_LIFE_S + jwt.LEEWAY_S:
            raise NotGood("it is good for more than five minutes")
        if (times.issued_s or times.ends_s - MAX_LIFE_S) < self._began_s:
            raise NotGood("it was made before the gateway was started")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAX_NAME_CHARS:
            raise NotGood("it has no jti, or too long a one")
        mark = sha256(jti.encode("utf-8", "surrogatepass")).digest()[:16]
        with self._lock:
            used = self._used.setdefault(client, OrderedDict())
            if len(used) >= MAX_USED:
                for old in [one for one, ends_s in used.items() if ends_s <= now_s]:
                    del used[old]
            if mark in used:
                raise NotGood("it was shown before")
            if len(used) >= MAX_USED:  # to forget one would be to let it be shown again
                raise NotGood("the client has shown too many of them")
            used[mark] = times.ends_s


def _check_header(header: Mapping[str, Any], algorithm: str) -> None:
    if algorithm not in ASSERTION_ALGORITHMS:
        raise NotGood("its algorithm is none that clients may use")
    if "crit" in header or "b64" in header or header.get("typ") not in _TYPES:
        raise NotGood("it is a JWT of another sort")
