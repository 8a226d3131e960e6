"""For a server: refuse what did not cross the border. Any ASGI app; PyJWT with `cryptography`.

    app = OnlyThroughTheBorder(app, "https://tools.example.com", "https://docs.example.com/mcp")

*border* is the `public_url` of a gateway that has `sign = true` for this server, *me* the `url` of
this server as it stands there, without a ?query. What the token says (sub, tool, call, ...) is then
in `scope["border"]`. The request has to arrive as it was sent: put this outside of everything that
changes a path or a body. A token is good once in each process.
"""

import asyncio
import base64
import hashlib
import time

import jwt

SKEW_S, FORGET_S, MOST_BYTES = 10, 90, 8_388_608  # a token lives for 60 s
WANTED = {"require": ["exp", "iat", "jti", "request", "sub"]}


class OnlyThroughTheBorder:
    def __init__(self, app, border, me):
        self.app, self.border, self.me = app, border, me
        place = f"{border}/.well-known/jwks.json"
        self.keys = jwt.PyJWKClient(place, lifespan=60, timeout=5, cooldown_duration=1)
        self.seen, self.seen_before, self.forget_s = set(), set(), 0.0

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        claims = await asyncio.to_thread(self.verified, scope)  # it may fetch the keys
        body, more = b"", True
        while claims and more and len(body) <= MOST_BYTES:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if not claims or claims["request"] != digest(scope, body) or self.is_old(claims["jti"]):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            return await send({"type": "http.response.body", "body": b"not through the border"})
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def read():
            return unread.pop() if unread else await receive()

        return await self.app({**scope, "border": claims}, read, send)

    def verified(self, scope):
        whose = {"issuer": self.border, "audience": self.me, "leeway": SKEW_S}
        try:
            [token] = [text for name, text in scope["headers"] if name == b"customhouse-call"]
            key = self.keys.get_signing_key_from_jwt(token)
            return jwt.decode(token, key, ["EdDSA"], WANTED, **whose)
        except (ValueError, jwt.PyJWTError):
            return None

    def is_old(self, jti):
        if time.monotonic() > self.forget_s:
            self.seen, self.seen_before = set(), self.seen
            self.forget_s = time.monotonic() + FORGET_S
        old = jti in self.seen or jti in self.seen_before
        self.seen.add(jti)
        return old


def digest(scope, body):
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    sent = b"%b %b%b\n%b" % (scope["method"].encode(), scope["raw_path"], query, body)
    return base64.urlsafe_b64encode(hashlib.sha256(sent).digest()).rstrip(b"=").decode()
