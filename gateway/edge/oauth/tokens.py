"""Tokens as credentials, of issuers and of the gateway itself: proved once, remembered for a minute,
looked at every time.

What is remembered is remembered under the profile that proved it: a token that is good at one
endpoint says nothing of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from gateway.domain.model import Principal, Token
from gateway.domain.revocation import EVERYBODYS, OURS, all_tokens, one_token
from gateway.edge.authn import KeyUnknown
from gateway.edge.oauth import jwt
from gateway.edge.oauth.issuer import MAX_NAME_CHARS, Issuer, NotGood
from gateway.edge.oauth.keyset import KeySet, read_key_set
from gateway.edge.oauth.own import EVERYWHERE, Own
from gateway.edge.oauth.proved import Proved, Remembered
from gateway.edge.oauth.ticket import Ticket

# How long keys serve that cannot be fetched again. An issuer that is away for so long has not
# issued anything that would still be good.
MAX_KEYS_AGE_US = 3_600_000_000
_TELL_EVERY_US = 10_000_000
_LEEWAY_US = jwt.LEEWAY_S * 1_000_000

log = structlog.get_logger("customhouse.oauth")


@dataclass(frozen=True, slots=True)
class Keys:
    """What is held of one issuer's keys."""

    raw: bytes
    set: KeySet
    fetched_us: int


class Tokens:
    """The tokens of every issuer. In memory, and bounded; used from the thread of the event loop."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        resource: str,
        revoked_us: Callable[[str], int],
        own: Own | None = None,
    ) -> None:
        """*resource*: what a token for the whole gateway is for. *revoked_us*: 0 for never.

        *own*: None where the gateway gives out none itself.
        """
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._resource = resource
        self._revoked_us = revoked_us
        self._own = own
        self._keys: dict[str, Keys] = {}
        self._proved = Remembered()
        self._told_us: dict[str, int] = {}

    def take_keys(self, issuer: str, raw: bytes, now_us: int) -> bool:
        """Believe what the keys in *raw* sign, and nothing else of *issuer*; whether that is new.

        Raises: ValueError: there is no such key in it; those from before stay.
        """
        held = self._keys.get(issuer)
        if held is not None and held.raw == raw:
            self._keys[issuer] = replace(held, fetched_us=now_us)
            return False
        self._keys[issuer] = Keys(raw, read_key_set(raw), now_us)
        return True

    def authenticate(self, token: str, resource: str, now_us: int) -> Principal | None:
        """Whom *token* proves at the endpoint *resource*, or None for any other.

        Raises: KeyUnknown: nobody can tell before the keys of its issuer are fetched again.
        """
        mark = sha256(token.encode()).digest()
        for profile in (EVERYWHERE, resource):
            known = self._proved.find((mark, profile), now_us)
            if known is not None and self._is_current(known, now_us):
                return known.principal if self._is_good(known.token, now_us) else None
        try:
            return self._prove(token, mark, resource, now_us)
        except NotGood as err:
            self._tell(str(err), now_us)
            return None

    def is_live(self, token: Token, now_us: int) -> bool:
        """Whether a request that was let in with *token* may go on.

        What is remembered of tokens has no say in it: others fill that, too.
        """
        keys = self._keys_of(token.issuer, now_us)
        return keys is not None and keys.holds(token.key) and self._is_good(token, now_us)

    def delegable(self, raw: str, now_us: int) -> tuple[Principal, Ticket | None] | None:
        """Whom *raw* proves anywhere at the gateway, with its ticket where it is one of ours.

        None: nobody. Raises: KeyUnknown, as `authenticate`.
        """
        own = self._own
        try:
            said = jwt.read(raw)
            if own is None or said.claims.get("iss") != own.url:
                principal = self.authenticate(raw, self._resource, now_us)
                return None if principal is None else (principal, None)
            ticket, key = own.read(raw, said, now_us)
            principal = own.principal(ticket, key, "")
        except NotGood as err:
            self._tell(str(err), now_us)
            return None
        return (principal, ticket) if self._is_good(own.token(ticket, key), now_us) else None

    def _keys_of(self, issuer: str, now_us: int) -> KeySet | None:
        if issuer == OURS:
            return self._own.keys.key_set(now_us) if self._own is not None else None
        held = self._keys.get(issuer)
        return held.set if held is not None else None

    def _is_current(self, known: Proved, now_us: int) -> bool:
        return self._keys_of(known.token.issuer, now_us) is known.keys

    def _is_good(self, token: Token, now_us: int) -> bool:
        """It has not ended, and was not revoked; asked every time, however lately it was proved."""
        if now_us >= token.ends_us or (token.id and self._revoked_us(token.id)):
            return False
        leeway_us = 0 if token.issuer == OURS else _LEEWAY_US  # for the clocks of others
        for name in token.names:
            revoked_us = self._revoked_us(name)
            if revoked_us and token.issued_us <= revoked_us + leeway_us:
                return False
        return True

    def _prove(self, raw: str, mark: bytes, resource: str, now_us: int) -> Principal | None:
        """What costs least is looked at first; the signature comes last. Raises: NotGood, KeyUnknown."""
        said = jwt.read(raw)
        url = said.claims.get("iss")
        if self._own is not None and url == self._own.url:
            return self._prove_own(self._own, raw, said, (mark, resource), now_us)
        issuer = self._issuers.get(url) if isinstance(url, str) else None
        if issuer is None:
            raise NotGood("its issuer is not one of the configuration")
        jwt.check_header(said, issuer)
        times = jwt.check_times(said.claims, now_us)
        profile = self._profile(jwt.audiences(said.claims), issuer, resource)
        principal = issuer.principal(said.claims, f"{mark.hex()} {profile}")
        keys = self._current_keys(issuer, now_us)
        key = keys.find(said.key_id, said.algorithm)
        if key is None:
            self._tell("its key is not known", now_us)
            raise KeyUnknown(issuer.name)
        jwt.check_signature(raw, said, key.key)
        token = Token(
            issuer.name,
            key.thumbprint,
            int(times.ends_s * 1e6),
            int(times.issued_s * 1e6),
            _id(said, issuer),
            (EVERYBODYS, *map(all_tokens, (principal.subject, *principal.actors))),
        )
        principal = replace(principal, token=token)
        self._proved.keep((mark, profile), Proved(principal, token, keys, now_us))
        return principal if self._is_good(token, now_us) else None

    def _prove_own(
        self, own: Own, raw: str, said: jwt.Said, at: tuple[bytes, str], now_us: int
    ) -> Principal | None:
        """As `_prove`; *at*: digest of the token, and the endpoint where it is shown."""
        mark, resource = at
        ticket, key = own.read(raw, said, now_us)
        profile = own.profile(ticket, resource)
        principal = own.principal(ticket, key, f"{mark.hex()} {profile}")
        token = own.token(ticket, key)
        keys = own.keys.key_set(now_us)
        self._proved.keep((mark, profile), Proved(principal, token, keys, now_us))
        return principal if self._is_good(token, now_us) else None

    def _profile(self, named: tuple[str, ...], issuer: Issuer, resource: str) -> str:
        """Where the token is good: everywhere, or at the endpoint it was made for."""
        if (issuer.audience or self._resource) in named:
            return EVERYWHERE
        if not issuer.audience and resource in named:
            return resource
        raise NotGood("it is for another audience")

    def _current_keys(self, issuer: Issuer, now_us: int) -> KeySet:
        held = self._keys.get(issuer.name)
        if held is None or now_us - held.fetched_us > MAX_KEYS_AGE_US:
            raise KeyUnknown(issuer.name)
        return held.set

    def _tell(self, why: str, now_us: int) -> None:
        """Log a reason once in a while, and nothing of the token: strangers may send what they like."""
        if now_us - self._told_us.get(why, 0) >= _TELL_EVERY_US:
            self._told_us[why] = now_us
            log.info("token_refused", why=why)


def _id(said: jwt.Said, issuer: Issuer) -> str:
    jti = said.claims.get("jti", "")
    if not isinstance(jti, str) or len(jti) > MAX_NAME_CHARS:
        raise NotGood("its jti is no string, or too long")
    return one_token(issuer.name, jti) if jti else ""
