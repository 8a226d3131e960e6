"""Issuers of tokens in one process: metadata, keys, registration, and the two grants that clients use.

python -m tests.servers.issuer FOLDER      prints its port

FOLDER/corp.json is the issuer http://127.0.0.1:PORT/corp, read anew for every request:
{"keys": [private JWKs], "clients": {"robot": {"secret": "...", "scopes": ["tools.read"]}},
 "metadata": {what it says otherwise}, "discovery": "oauth" or "openid", "down": false,
 "redirect": "where its keys are said to be"}
FOLDER/corp.log has a line for every time its keys were asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import uvicorn
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

ALGORITHMS = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
LIFE_S = 300


def signed(claims: dict[str, Any] | str, key: Key, **header: Any) -> str:
    """A token as no library would make it, if need be: None leaves a member of the header out."""
    said = {"alg": ALGORITHMS[key.key_type], "kid": key.kid, "typ": "at+jwt", **header}
    given = {name: value for name, value in said.items() if value is not None}
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    signing = b".".join(map(_encoded, (json.dumps(given).encode(), payload.encode())))
    signature = JWSRegistry.algorithms[given["alg"]].sign(signing, key)
    return b".".join((signing, _encoded(signature))).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


class Issuers:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._codes: dict[str, dict[str, str]] = {}
        self._registered: dict[str, dict[str, Any]] = {}

    def _state(self, request: Request) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(
            (self._folder / f"{request.path_params['name']}.json").read_text()
        )
        return state

    def _url(self, request: Request) -> str:
        return f"http://{request.headers['host']}/{request.path_params['name']}"

    def _metadata(self, request: Request, discovery: str) -> Response:
        state, url = self._state(request), self._url(request)
        if state.get("discovery", "oauth") != discovery or state.get("down"):
            return Response(status_code=503 if state.get("down") else 404)
        said = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "registration_endpoint": f"{url}/register",
            "jwks_uri": f"{url}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse({**said, **state.get("metadata", {})})

    async def oauth(self, request: Request) -> Response:
        return self._metadata(request, "oauth")

    async def openid(self, request: Request) -> Response:
        return self._metadata(request, "openid")

    async def jwks(self, request: Request) -> Response:
        state = self._state(request)
        with (self._folder / f"{request.path_params['name']}.log").open("a") as log:
            log.write("jwks\n")
        if state.get("down"):
            return Response(status_code=503)
        if state.get("redirect"):
            return RedirectResponse(state["redirect"])
        keys = [JWKRegistry.import_key(key) for key in state["keys"]]
        return JSONResponse({"keys": [key.as_dict(private=False) for key in keys]})

    async def register(self, request: Request) -> Response:
        asked = await request.json()
        client_id = secrets.token_hex(8)
        self._registered[client_id] = asked
        said = {**asked, "client_id": client_id, "token_endpoint_auth_method": "none"}
        return JSONResponse(said, status_code=201)

    async def authorize(self, request: Request) -> Response:
        """Someone called alice is signed in here, and agrees to everything."""
        asked = dict(request.query_params)
        client = self._registered[asked["client_id"]]
        if asked["redirect_uri"] not in client["redirect_uris"]:
            return Response("another redirect_uri than was registered", status_code=400)
        if asked.get("code_challenge_method") != "S256" or asked["response_type"] != "code":
            return Response("code with PKCE is what there is", status_code=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self._url(request)}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", status_code=302)

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        if form["grant_type"] == "authorization_code":
            granted = self._by_code(form)
        else:
            granted = self._by_secret(request, form)
        if granted is None:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        claims = {"iss": self._url(request), "jti": secrets.token_hex(8), **granted}
        key = JWKRegistry.import_key(self._state(request)["keys"][0])
        now_s = int(time.time())  # noqa: TID251 - a server of its own
        token = signed({**claims, "iat": now_s, "exp": now_s + LIFE_S}, key)
        said = {"access_token": token, "token_type": "Bearer", "expires_in": LIFE_S}
        return JSONResponse({**said, "scope": granted["scope"]})

    def _by_code(self, form: dict[str, str]) -> dict[str, str] | None:
        asked = self._codes.pop(form["code"], None)
        if asked is None or asked["redirect_uri"] != form["redirect_uri"]:
            return None
        challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        client = asked["client_id"]
        scope, resource = asked.get("scope", ""), asked["resource"]
        return {"sub": "alice", "client_id": client, "scope": scope, "aud": resource}

    def _by_secret(self, request: Request, form: dict[str, str]) -> dict[str, str] | None:
        scheme, _, encoded = request.headers["authorization"].partition(" ")
        client, _, secret = base64.b64decode(encoded).decode().partition(":")
        known = self._state(request)["clients"].get(unquote(client))
        if scheme != "Basic" or known is None or known["secret"] != unquote(secret):
            return None
        wanted = form.get("scope", "").split()
        scope = " ".join(one for one in wanted if one in known["scopes"])
        return {"sub": client, "client_id": client, "scope": scope, "aud": form["resource"]}


def main() -> None:
    issuers = Issuers(Path(sys.argv[1]))
    routes = [
        Route("/.well-known/oauth-authorization-server/{name}", issuers.oauth),
        Route("/{name}/.well-known/openid-configuration", issuers.openid),
        Route("/{name}/jwks", issuers.jwks),
        Route("/{name}/register", issuers.register, methods=["POST"]),
        Route("/{name}/authorize", issuers.authorize),
        Route("/{name}/token", issuers.token, methods=["POST"]),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    app = Starlette(routes=routes)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
