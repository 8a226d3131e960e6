"""base64url without padding (RFC 4648 s5): how tokens, signatures and sealed words are written."""

from __future__ import annotations

from base64 import urlsafe_b64encode


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
