"""Links to the page of one approval: whoever has one may read who asks for what, and no more.

    https://gateway.example.com/approvals/A-7F3K9QXY?exp=1795392000&sig=<43 of base64url>

A link proves that the gateway made it, for this approval, until then. It approves nothing: that takes
the approver's own credential.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from gateway.domain.base64url import base64url

PREFIX = "/approvals/"
PATH = re.compile(PREFIX + r"(A-[0-9A-HJKMNP-TV-Z]{8})", re.ASCII)
_QUERY = re.compile(rb"exp=([1-9][0-9]{0,11})&sig=([A-Za-z0-9_-]{43})")


class Links:
    def __init__(self, base: str, state_key: bytes) -> None:
        """*base*: where approvers reach the gateway, without a slash at the end."""
        self._base = base.rstrip("/")
        self.reseal(state_key)

    def reseal(self, state_key: bytes) -> None:
        """Sign with another key from here on; links that are out are worth nothing any more."""
        self._key = hmac.digest(state_key, b"customhouse approval links", hashlib.sha256)

    def link(self, approval_id: str, expires_us: int) -> str:
        ends_s = -(-expires_us // 1_000_000)
        signature = self._signature(approval_id, ends_s)
        return f"{self._base}{PREFIX}{approval_id}?exp={ends_s}&sig={signature}"

    def is_good(self, approval_id: str, query: bytes, now_us: int) -> bool:
        found = _QUERY.fullmatch(query)
        if found is None:
            return False
        ends_s = int(found[1])
        signed = self._signature(approval_id, ends_s)
        return hmac.compare_digest(signed.encode(), found[2]) and now_us < ends_s * 1_000_000

    def _signature(self, approval_id: str, ends_s: int) -> str:
        made = hmac.digest(self._key, f"{approval_id}\n{ends_s}".encode(), hashlib.sha256)
        return base64url(made)
