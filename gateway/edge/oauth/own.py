"""The tokens that the gateway itself gave out: how they are signed, and whom they prove."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from gateway.domain.base64url import base64url
from gateway.domain.model import Principal, Token
from gateway.domain.names import is_name
from gateway.domain.revocation import OURS, one_token
from gateway.edge.endpoint import ALL, Span, endpoint_of
from gateway.edge.oauth import jwt
from gateway.edge.oauth.issuer import Issuer, NotGood
from gateway.edge.oauth.keyset import KeySet, SigningKey, read_key_set
from gateway.edge.oauth.ticket import Ticket, read_ticket

ALGORITHM = "EdDSA"
TYPE = "at+jwt"  # RFC 9068
EVERYWHERE = ""  # the profile of a token that is good at every endpoint

Retired = tuple[bytes, int]  # an earlier public key, and until when (s) what it signed is good


class Teams(Protocol):
    """Asked when a token is proved, from the thread of the event loop."""

    def team(self, tenant: str, agent: str) -> str | None:
        """The team of an agent, "" where it is in none; None: there is no such agent."""
        ...


class TokenKeys:
    """The key that signs, and those by which tokens of earlier ones are verified."""

    def __init__(self, private: Ed25519PrivateKey, retired: Iterable[Retired] = ()) -> None:
        self.take(private, retired)

    def take(self, private: Ed25519PrivateKey, retired: Iterable[Retired]) -> None:
        """Sign with another key from here on."""
        public = private.public_key().public_bytes_raw()
        key_id = _jwk(public)["kid"]
        self._signing = key_id, OKPKey(private, private)  # read at once: other threads sign
        self._public = public
        self._retired = [one for one in retired if one[0] != public]
        self._list()

    def sign(self, claims: Mapping[str, Any]) -> str:
        key_id, private = self._signing
        header = {"alg": ALGORITHM, "kid": key_id, "typ": TYPE}
        return jwt.sign(header, msgspec.json.encode(claims), private)

    def key_set(self, now_us: int) -> KeySet:
        """Those whose tokens are good now; the same object for as long as they are the same."""
        if any(until_s * 1_000_000 <= now_us for _, until_s in self._retired):
            self._retired = [one for one in self._retired if one[1] * 1_000_000 > now_us]
            self._list()
        return self._set

    def jwks(self, now_us: int) -> bytes:
        """The same for others to read (RFC 7517)."""
        self.key_set(now_us)
        return self._raw

    def _list(self) -> None:
        listed = [_jwk(public) for public in (self._public, *(one for one, _ in self._retired))]
        self._raw = msgspec.json.encode({"keys": listed})
        self._set = read_key_set(self._raw)


class Own:
    """What the gateway believes of its own tokens. In memory; any thread may read them."""

    def __init__(self, url: str, keys: TokenKeys, teams: Teams) -> None:
        """*url*: of the gateway; it is the issuer, and the audience of what is good everywhere."""
        self.url = url
        self.keys = keys
        self._teams = teams
        self._header = Issuer(OURS, url, "", frozenset({ALGORITHM}), (), "")

    def read(self, raw: str, said: jwt.Said, now_us: int) -> tuple[Ticket, SigningKey]:
        """The ticket that *raw* is, and the key that signed it. Whether it was revoked is not asked.

        Raises: NotGood.
        """
        jwt.check_header(said, self._header)
        if said.header.get("typ") != TYPE:
            raise NotGood("it is none of the gateway's: it is of another type")
        jwt.check_times(said.claims, now_us)
        key = self.keys.key_set(now_us).find(said.key_id, said.algorithm)
        if key is None:
            raise NotGood("it is none of the gateway's: its key is not known")
        jwt.check_signature(raw, said, key.key)
        return read_ticket(said.claims), key

    def profile(self, ticket: Ticket, resource: str) -> str:
        """Where the ticket is good, as seen at the endpoint *resource*. Raises: NotGood."""
        if ticket.audience in self.everywhere:
            return EVERYWHERE
        if ticket.audience == resource:
            return resource
        raise NotGood("it is for another audience")

    @property
    def everywhere(self) -> tuple[str, ...]:
        """The audiences that stand for the whole gateway; the first is the one that is said."""
        return self.url + ALL.path, self.url

    def audience(self, resource: str) -> str | None:
        """What a token for *resource* says (RFC 8707); None: that is none of the gateway's."""
        if resource in (*self.everywhere, self.url + "/"):
            return self.everywhere[0]
        endpoint = endpoint_of(resource.removeprefix(self.url))
        if endpoint is None or endpoint.bare or not resource.startswith(self.url):
            return None
        known = endpoint.span is Span.ALL or is_name(endpoint.name)
        return self.url + endpoint.path if known else None

    def principal(self, ticket: Ticket, key: SigningKey, mark: str) -> Principal:
        """Whom *ticket* proves; *mark* tells it from others. Raises: NotGood: nobody any more."""
        team: str | None = ""
        if "/" not in ticket.subject:
            team = self._teams.team(ticket.tenant, ticket.subject)
        if team is None:
            raise NotGood("its subject is not here any more")
        return Principal(
            tenant=ticket.tenant,
            subject=ticket.subject,
            team=team,
            roles=frozenset(ticket.roles),
            actors=ticket.actors,
            credential=f"{ticket.own.by}#{mark}",
            token=self.token(ticket, key),
            grants=ticket.grants,
            run=ticket.run,
        )

    def token(self, ticket: Ticket, key: SigningKey) -> Token:
        """All that has to hold for as long as something is open that the ticket opened."""
        return Token(
            issuer=OURS,
            key=key.thumbprint,
            ends_us=ticket.ends_s * 1_000_000,
            issued_us=ticket.issued_s * 1_000_000,
            id=one_token(OURS, ticket.own.grant.id),
            names=ticket.names,
        )


def _jwk(public: bytes) -> dict[str, str]:
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url(public)}
    thumbprint = hashlib.sha256(msgspec.json.encode(jwk, order="sorted")).digest()  # RFC 7638
    return {**jwk, "kid": base64url(thumbprint), "use": "sig", "alg": ALGORITHM}
