"""One issuer, what it signs, and a house that believes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import JWKRegistry, Key

from gateway.domain.algorithms import SORT_OF
from gateway.domain.model import Principal
from gateway.edge.oauth.issuer import Issuer
from gateway.edge.oauth.tokens import Tokens
from tests.edge.people import NOW_US
from tests.servers.issuer import signed

URL, RESOURCE = "https://login.example.com", "https://tools.example.com/mcp"
NOW_S = NOW_US // 1_000_000
SECOND_US = 1_000_000
CORP = Issuer("corp", URL, "", frozenset(SORT_OF), (), "default")


def made(kind: str, of: str | int, **members: Any) -> Key:
    return JWKRegistry.generate_key(kind, of, members)  # type: ignore[arg-type]  # what tests ask for


ES = made("EC", "P-256", kid="e1")


def published(*keys: Key | Mapping[str, Any]) -> bytes:
    return json.dumps(
        {"keys": [key if isinstance(key, Mapping) else key.as_dict(False) for key in keys]}
    ).encode()


def claims(**over: Any) -> dict[str, Any]:
    said = {"iss": URL, "sub": "alice", "aud": RESOURCE, "iat": NOW_S - 10, "exp": NOW_S + 600}
    return {name: value for name, value in {**said, **over}.items() if value is not None}


def token(key: Key = ES, header: Mapping[str, Any] | None = None, **over: Any) -> str:
    return signed(claims(**over), key, **(header or {}))


class House:
    """The tokens of one issuer, and what was revoked."""

    def __init__(self, issuer: Issuer = CORP, *keys: Key) -> None:
        self.revoked: dict[str, int] = {}
        self.tokens = Tokens([issuer], RESOURCE, lambda key_id: self.revoked.get(key_id, 0))
        self.tokens.take_keys(issuer.name, published(*(keys or (ES,))), NOW_US)

    def ask(self, token: str, now_us: int = NOW_US, resource: str = RESOURCE) -> Principal | None:
        return self.tokens.authenticate(token, resource, now_us)

    def is_live(self, found: Principal, now_us: int = NOW_US) -> bool:
        return found.token is not None and self.tokens.is_live(found.token, now_us)

    def subject(self, token: str, now_us: int = NOW_US) -> str:
        found = self.ask(token, now_us)
        return found.subject if found else ""
