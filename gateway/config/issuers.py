"""The kinds of value that say whose tokens are believed, and what they are worth.

[issuers.corp]
url = "https://login.example.com"
roles = { "scope:tools.read" = "reader", "groups:eng" = "analyst" }
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gateway.config.kinds import Unfit, name, text, texts
from gateway.config.values import Listen
from gateway.domain.algorithms import SORT_OF

# A claim may be named by a URL, so that the first colon of it is none of ours.
_WORTH = re.compile(r"((?:https?://)?[^:]+):(.+)")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 s3.3


def identifier(raw: Any) -> str:
    """The identifier of an issuer, kept to the letter: tokens have to say exactly the same."""
    if _parts(raw).query:
        raise Unfit("the identifier of an issuer has no ?query")
    return str(raw)


def key_set(raw: Any) -> str:
    _parts(raw)
    return str(raw)


def public_url(raw: Any) -> str:
    parts = _parts(raw)
    if parts.path.strip("/") or parts.query:
        raise Unfit('expected the address alone, such as "https://tools.example.com"')
    return f"{parts.scheme}://{parts.netloc.lower()}"


def algorithms(raw: Any) -> tuple[str, ...]:
    names = texts(raw)
    if not names or not SORT_OF.keys() >= set(names):
        raise Unfit(f"expected algorithms with a public key: {', '.join(SORT_OF)}")
    return names


def worth(raw: Any) -> tuple[tuple[str, str, str], ...]:
    """(claim, value, role) for each row of a table of "claim:value" = "role"."""
    if not isinstance(raw, dict):
        raise Unfit('expected a table such as { "scope:tools.read" = "reader" }')
    rows = []
    for claimed, role in raw.items():
        found = _WORTH.fullmatch(text(claimed))
        if found is None:
            raise Unfit('expected a claim and its value, such as "groups:eng" = "analyst"')
        if found[1] == "scope" and not _SCOPE.fullmatch(found[2]):
            raise Unfit("expected one scope, of visible ASCII without quotes")
        rows.append((found[1], found[2], name(role)))
    return tuple(rows)


def _parts(raw: Any) -> SplitResult:
    """A URL of which nobody on the way can change the answer."""
    try:
        parts = urlsplit(text(raw))
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or not str(raw).isascii() or " " in raw or "\\" in raw:
        raise Unfit('expected a URL such as "https://login.example.com"')
    if "@" in parts.netloc or parts.fragment:
        raise Unfit("the URL has no user, no password and no #fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and Listen(host, 0).is_loopback):
        raise Unfit("expected https: only on this machine itself may it be http")
    return parts
