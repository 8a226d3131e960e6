"""Tokens of issuers as credentials: proved once, remembered for a minute, looked at every time.

What is remembered is remembered under the profile that proved it: a token that is good at one
endpoint says nothing of another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from gateway.domain.model import Principal
from gateway.domain.revocation import all_tokens, one_token
from gateway.edge.authn import KeyUnknown
from gateway.edge.oauth import jwt
from gateway.edge.oauth.issuer import MAX_NAME_CHARS, Issuer, NotGood
from gateway.edge.oauth.keyset import KeySet, read_key_set

TRUSTED_US = 60_000_000  # before the signature of a token is checked again
# How long keys serve that cannot be fetched again. An issuer that is away for so long has not
# issued anything that would still be good.
MAX_KEYS_AGE_US = 3_600_000_000
MAX_TOKENS = 10_000
_TELL_EVERY_US = 10_000_000
_LEEWAY_US = jwt.LEEWAY_S * 1_000_000
_EVERYWHERE = ""  # the profile of a token that is good at every endpoint

log = structlog.get_logger("customhouse.oauth")


@dataclass(frozen=True, slots=True)
class Keys:
    """What is held of one issuer's keys."""

    raw: bytes
    set: KeySet
    fetched_us: int


@dataclass(frozen=True, slots=True)
class Proved:
    """A token that was believed, and all that must still hold when it comes again."""

    principal: Principal
    issuer: str
    keys: KeySet
    proved_us: int
    ends_us: int
    issued_us: int
    id: str  # under which it alone can be revoked; "" when it has none
    names: tuple[str, ...]  # under which all that somebody has can be


class Tokens:
    """The tokens of every issuer. In memory, and bounded; used from the thread of the event loop."""

    def __init__(
        self, issuers: Iterable[Issuer], resource: str, revoked_us: Callable[[str], int]
    ) -> None:
        """*resource*: what a token for the whole gateway is for. *revoked_us*: 0 for never."""
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._resource = resource
        self._revoked_us = revoked_us
        self._keys: dict[str, Keys] = {}
        self._proved: OrderedDict[tuple[bytes, str], Proved] = OrderedDict()
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
        for profile in (_EVERYWHERE, resource):
            known = self._proved.get((mark, profile))
            if known is not None and self._is_fresh(known, now_us):
                return known.principal if self._is_good(known, now_us) else None
        try:
            return self._prove(token, mark, resource, now_us)
        except NotGood as err:
            self._tell(str(err), now_us)
            return None

    def is_live(self, credential: str, now_us: int) -> bool:
        """Whether a request that was let in with the token of that name may go on."""
        mark, _, profile = credential.rpartition("#")[2].partition(" ")
        known = self._proved.get((bytes.fromhex(mark), profile))
        return known is not None and self._is_good(known, now_us)

    def _is_fresh(self, known: Proved, now_us: int) -> bool:
        held = self._keys.get(known.issuer)
        proved_lately = 0 <= now_us - known.proved_us < TRUSTED_US
        return proved_lately and held is not None and held.set is known.keys

    def _is_good(self, known: Proved, now_us: int) -> bool:
        """It has not ended, and was not revoked; asked every time, however lately it was proved."""
        if now_us >= known.ends_us or (known.id and self._revoked_us(known.id)):
            return False
        for name in known.names:
            revoked_us = self._revoked_us(name)
            if revoked_us and known.issued_us <= revoked_us + _LEEWAY_US:
                return False
        return True

    def _prove(self, token: str, mark: bytes, resource: str, now_us: int) -> Principal | None:
        """What costs least is looked at first; the signature comes last. Raises: NotGood, KeyUnknown."""
        said = jwt.read(token)
        url = said.claims.get("iss")
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
        jwt.check_signature(token, said, key)
        proved = Proved(
            principal,
            issuer.name,
            keys,
            now_us,
            int(times.ends_s * 1e6),
            int(times.issued_s * 1e6),
            _id(said, issuer),
            tuple(map(all_tokens, (principal.subject, *principal.actors))),
        )
        self._keep((mark, profile), proved)
        return principal if self._is_good(proved, now_us) else None

    def _profile(self, named: tuple[str, ...], issuer: Issuer, resource: str) -> str:
        """Where the token is good: everywhere, or at the endpoint it was made for."""
        if (issuer.audience or self._resource) in named:
            return _EVERYWHERE
        if not issuer.audience and resource in named:
            return resource
        raise NotGood("it is for another audience")

    def _current_keys(self, issuer: Issuer, now_us: int) -> KeySet:
        held = self._keys.get(issuer.name)
        if held is None or now_us - held.fetched_us > MAX_KEYS_AGE_US:
            raise KeyUnknown(issuer.name)
        return held.set

    def _keep(self, key: tuple[bytes, str], proved: Proved) -> None:
        self._proved[key] = proved
        self._proved.move_to_end(key)
        while len(self._proved) > MAX_TOKENS:
            self._proved.popitem(last=False)

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
