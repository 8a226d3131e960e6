"""Who sends this request: one bearer credential in one Authorization header, nowhere else."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from gateway.domain.model import Principal
from gateway.domain.refusal import CONFLICTING_CREDENTIALS, NOT_AUTHENTICATED, Refused
from gateway.edge.head import Head
from gateway.edge.house import Identity

CHALLENGE = (b"www-authenticate", b'Bearer realm="customhouse"')

# RFC 6750: the scheme in any case, one space or more, then a b64token.
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]{1,8192}=*)")
# Other places where clients put keys. Honouring any of them would mean choosing between two.
_RIVALS = frozenset({b"x-api-key", b"api-key", b"x-auth-token", b"proxy-authorization"})
_QUERY_NAMES = frozenset(
    {"access_token", "token", "api_key", "apikey", "api-key", "key", "authorization", "bearer"}
)


class KeyUnknown(Refused):
    """Refused for now: the token names a key of its issuer that is not among those at hand."""

    def __init__(self, issuer: str) -> None:
        super().__init__(NOT_AUTHENTICATED)
        self.issuer = issuer


def identify(identity: Identity, head: Head, query: bytes, now_us: int) -> Principal:
    """The principal that the request's credential proves.

    Raises: Refused: NOT_AUTHENTICATED, or CONFLICTING_CREDENTIALS when more than one is carried or
    one stands in the URL, where proxies and histories keep it. KeyUnknown, where there are issuers.
    """
    values = head.values
    if query and _carries_credential(query):
        raise _conflict("a credential in the URL")
    if not _RIVALS.isdisjoint(values):
        raise _conflict("a second header for credentials")
    if b"authorization" in head.repeated:
        raise _conflict("two Authorization headers")
    line = values.get(b"authorization")
    if line is None:
        raise Refused(NOT_AUTHENTICATED)
    found = _BEARER.fullmatch(line.strip())
    if found is None:
        raise (
            _conflict("two credentials in one header")
            if b"," in line
            else Refused(NOT_AUTHENTICATED)
        )
    principal = identity.authenticate(found[1].decode("ascii"), now_us)
    if principal is None:
        raise Refused(NOT_AUTHENTICATED)
    return principal


def _carries_credential(query: bytes) -> bool:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name.lower() in _QUERY_NAMES for name, _ in pairs)


def _conflict(problem: str) -> Refused:
    return Refused(CONFLICTING_CREDENTIALS, detail={"problem": problem})
