"""Cursors: where a list goes on, for the one who asked, with the question that was asked.

    base64url of 16 bytes of HMAC, then the place in the list

Whoever alters one, or uses one of somebody else or of another question, is told so.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from gateway.domain.base64url import base64url
from gateway.domain.refusal import BAD_CURSOR, Refused
from gateway.edge.api.desk import EVERY_TENANT, Errand

_MAC_BYTES = 16
_USE = b"customhouse /api/v1 cursors"  # the key it is made from seals other things


class Cursors:
    def __init__(self, state_key: bytes) -> None:
        self._key = hmac.digest(state_key, _USE, "sha256")

    def make(self, errand: Errand, after: str) -> str:
        place = after.encode()
        return base64url(self._mac(errand, place) + place)

    def read(self, errand: Errand, cursor: str) -> str:
        """The place behind which *errand* goes on. Raises: Refused: BAD_CURSOR."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
            mac, place = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            after = place.decode()
        except (ValueError, binascii.Error):
            raise Refused(BAD_CURSOR) from None
        if not hmac.compare_digest(mac, self._mac(errand, place)):
            raise Refused(BAD_CURSOR)
        return after

    def _mac(self, errand: Errand, place: bytes) -> bytes:
        who = errand.principal
        asked = dict(sorted(errand.args.items()))
        reach = "every" if errand.tenant == EVERY_TENANT else f"only {errand.tenant}"
        bound = msgspec.json.encode([errand.operation, asked, who.tenant, who.subject, reach])
        digest = hashlib.sha256(bound).digest()
        return hmac.digest(self._key, digest + place, "sha256")[:_MAC_BYTES]
