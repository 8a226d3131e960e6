"""Words of the token endpoint as its standards spell them."""

from __future__ import annotations

CLIENT_CREDENTIALS = "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693
_TYPE = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN, JWT_TOKEN = f"{_TYPE}access_token", f"{_TYPE}jwt"
BASIC, POST, JWT = METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523
ASSERTION_ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "RS256")
