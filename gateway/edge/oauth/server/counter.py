"""Where agents come for tokens of the gateway itself.

POST /oauth/token                              a form: see wanted, grants
GET  /oauth/jwks                               by which keys the tokens are verified
GET  /oauth/authorize                          says that nobody signs in here
GET  /.well-known/oauth-authorization-server   all of this for programs (RFC 8414)

What makes and reads tokens is imported with the first request: who uses none pays for none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.types import Receive, Scope, Send

from gateway.domain.model import Principal
from gateway.domain.rate import Rate
from gateway.domain.refusal import (
    CONFLICTING_CREDENTIALS,
    MALFORMED,
    NOT_AUTHENTICATED,
    RATE_LIMITED,
    TOKEN_REFUSED,
    TOKEN_TOO_WIDE,
    Refusal,
    Refused,
)
from gateway.edge.arrival import address_of, body_within, read_body
from gateway.edge.authn import KeyUnknown
from gateway.edge.head import Head
from gateway.edge.house import Clock, Pipeline
from gateway.edge.line import Headers, respond
from gateway.edge.oauth.server import wire
from gateway.edge.oauth.server.pace import Pace
from gateway.edge.oauth.server.wanted import Unfit, malformed, read_form
from gateway.edge.reply import Answer

if TYPE_CHECKING:  # see above
    from gateway.edge.oauth.server.grants import Office, Request
    from gateway.edge.oauth.server.narrowing import Holding
    from gateway.edge.oauth.ticket import Ticket
    from gateway.edge.oauth.tokens import Tokens

T = TypeVar("T")
TOKEN, JWKS, AUTHORIZE = "/oauth/token", "/oauth/jwks", "/oauth/authorize"
WELL_KNOWN = "/.well-known/oauth-authorization-server"
MAX_BODY_BYTES = 65_536
BODY_WITHIN_S = 10.0
SIGNERS = 64  # buckets of one address, over which those who say that they sign are spread
STRANGERS = Rate.parse("60/min")  # of one address, of which it is not proved whose they are
CLIENTS = Rate.parse("600/min")  # of one client
AT_ONCE = 4  # worker threads
_FORM = "application/x-www-form-urlencoded"
_NOT_KEPT: Headers = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
_KEPT: Headers = [(b"cache-control", b"public, max-age=60")]
_ROWS: Mapping[str, Refusal] = {
    "invalid_scope": TOKEN_TOO_WIDE,
    "invalid_client": NOT_AUTHENTICATED,
}
# What is said of errors for which nobody else has a description.
_WHY: Mapping[str, str] = {
    "unsupported_grant_type": f"grant_type is {wire.CLIENT_CREDENTIALS} or {wire.EXCHANGE}.",
    "temporarily_unavailable": "No token can be given out now: come back later.",
}
_NOT_GIVEN = "No token can be given for this request: see RFC 6749 and RFC 8693."
_CLOSE = (b"connection", b"close")  # where the body was not read to its end
_NOBODY_SIGNS_IN = {
    "error": "unsupported_response_type",
    "error_description": "Nobody signs in here: agents prove themselves at the token endpoint.",
}


@dataclass(frozen=True, slots=True)
class Backroom:
    """What the composition root hands to the counter."""

    url: str  # of the gateway
    office: Callable[[], Office]  # may take a while: called in a worker thread
    tokens: Callable[[], Tokens]
    enter: Callable[[Ticket], Awaitable[None]]  # durable when it returns; Raises: Refused
    renewed: Callable[[str], Awaitable[None]]  # once the keys of an issuer were fetched again
    pipeline: Pipeline
    clock: Clock


class TokenCounter:
    """The authorization server of the gateway, as `Counter`."""

    def __init__(self, backroom: Backroom) -> None:
        self._back = backroom
        self._strangers, self._clients = Pace(STRANGERS), Pace(CLIENTS)
        self._limiter: anyio.CapacityLimiter | None = None
        self._office: Office | None = None
        self._metadata = msgspec.json.encode(metadata(backroom.url))

    def has(self, path: str) -> bool:
        return path in (TOKEN, JWKS, AUTHORIZE, WELL_KNOWN)

    async def serve(self, scope: Scope, receive: Receive, send: Send, head: Head) -> None:
        path, method = scope["path"], scope["method"]
        if path == TOKEN and method == "POST":
            try:
                said = await self._asked(scope, receive, head)
            except Refused as unread:
                said = await self._unread(unread.refusal, address_of(scope))
            await respond(send, said.answer, said.headers)
        elif path == TOKEN or method not in ("GET", "HEAD"):
            allowed = b"POST" if path == TOKEN else b"GET, HEAD"
            await respond(send, Answer(HTTPStatus.METHOD_NOT_ALLOWED, b""), [(b"allow", allowed)])
        elif path == AUTHORIZE:
            await respond(send, _answer(400, _NOBODY_SIGNS_IN), _NOT_KEPT)
        else:
            raw = self._metadata if path == WELL_KNOWN else await self._jwks()
            await respond(send, Answer(HTTPStatus.OK, raw), _KEPT)

    async def _jwks(self) -> bytes:
        office = await self._opened()
        return office.own.keys.jwks(self._back.clock())

    async def _asked(self, scope: Scope, receive: Receive, head: Head) -> Said:
        """One request for a token. Raises: Vanished, Refused: its body is too large or too slow."""
        address, now_us = address_of(scope), self._back.clock()
        stranger, form = address, None
        try:
            form = await _read(scope, receive, head)
            stranger = stranger_of(address, form)
            wait_us = self._strangers.wait_us(stranger, now_us)
            # Many may come from one address, through a proxy: who has a key is not made to wait.
            if wait_us and not await self._has_key(form, head, now_us):
                return await self._too_often(None, address, wait_us)
            asking = await self._asking(form, head, now_us)
            status, said = await self._answered(asking)
        except Unfit as unfit:
            wait_us = self._strangers.count(stranger, now_us)
            if wait_us and form is None:
                return await self._too_often(None, address, wait_us)
            row = CONFLICTING_CREDENTIALS if scope["query_string"] else MALFORMED
            return await self._no(row, None, address, (unfit.error, unfit.why))
        who = asking.client.principal if asking.client is not None else None
        if who is None:
            self._strangers.count(stranger, now_us)
        elif wait_us := self._clients.count(f"{who.tenant}/{who.subject}", now_us):
            return await self._too_often(who, address, wait_us)
        if status != HTTPStatus.OK or asking.made is None:
            error = str(said.get("error"))
            row = _ROWS.get(error, TOKEN_REFUSED if who is not None else MALFORMED)
            why = str(said.get("error_description", ""))
            return await self._no(row, who, address, (error, why), status)
        try:
            await self._back.enter(asking.made.ticket)
        except Refused as unwritten:
            return await self._no(unwritten.refusal, who, address, ("temporarily_unavailable", ""))
        return Said(_answer(HTTPStatus.OK, said), _NOT_KEPT)

    async def _has_key(self, form: Mapping[str, str], head: Head, now_us: int) -> bool:
        office = await self._opened()
        from gateway.edge.oauth.server.clients import secret_in

        secret = secret_in(form, _authorization(head))
        return bool(secret) and office.agents.by_key(secret, now_us) is not None

    async def _asking(self, form: Mapping[str, str], head: Head, now_us: int) -> Request:
        await self._opened()  # from here on the import is there
        from gateway.edge.oauth.server.grants import Request

        asking = Request(form, _authorization(head), now_us)
        asking.subject = await self._shown(form.get("subject_token"), now_us)
        asking.actor = await self._shown(form.get("actor_token"), now_us)
        return asking

    async def _shown(self, token: str | None, now_us: int) -> Holding | None:
        """Whom a token proves that stands in the form; on the event loop, as at every endpoint."""
        if token is None:
            return None
        from gateway.edge.oauth.server.narrowing import Holding

        tokens, found = self._back.tokens(), None
        try:
            found = tokens.delegable(token, now_us)
        except KeyUnknown as unknown:
            await self._back.renewed(unknown.issuer)
            with suppress(KeyUnknown):
                found = tokens.delegable(token, now_us)
        return Holding(*found) if found is not None else None

    async def _answered(self, asking: Request) -> tuple[int, dict[str, Any]]:
        """Raises: Unfit."""
        from gateway.edge.oauth.server.grants import Server

        office = await self._opened()
        status, said, _ = await self._in_a_thread(lambda: Server(office, asking).answer())
        return status, said

    async def _opened(self) -> Office:
        if self._office is None:
            self._office = await self._in_a_thread(self._back.office)
        return self._office

    async def _in_a_thread(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(AT_ONCE)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    async def _unread(self, row: Refusal, address: str) -> Said:
        if wait_us := self._strangers.count(address, self._back.clock()):
            said = await self._too_often(None, address, wait_us)
            return Said(said.answer, [*said.headers, _CLOSE])
        why = f"The body has more than {MAX_BODY_BYTES} bytes, or did not come in {BODY_WITHIN_S:g} s."
        said = await self._no(row, None, address, ("invalid_request", why))
        return Said(said.answer, [*said.headers, _CLOSE])

    async def _too_often(self, who: Principal | None, address: str, wait_us: int) -> Said:
        why = "Too many requests: come back later."
        said = await self._no(RATE_LIMITED, who, address, ("temporarily_unavailable", why), 429)
        wait_s = b"%d" % -(-wait_us // 1_000_000)
        return Said(said.answer, [*said.headers, (b"retry-after", wait_s)])

    async def _no(
        self,
        row: Refusal,
        who: Principal | None,
        address: str,
        said: tuple[str, str],
        status: int = 0,
    ) -> Said:
        """Enter the refusal, then say it; saying no does not depend on being able to write it."""
        error, why = said
        members = {"error": error, "error_description": why or _WHY.get(error, _NOT_GIVEN)}
        with suppress(Refused):
            members["call_id"] = await self._back.pipeline.refuse(row, who, address, TOKEN[1:])
        headers = list(_NOT_KEPT)
        if row is NOT_AUTHENTICATED:
            headers.append((b"www-authenticate", b'Basic realm="customhouse"'))
        return Said(_answer(status or row.http_status, members), headers)


@dataclass(frozen=True, slots=True)
class Said:
    answer: Answer
    headers: Headers


def _authorization(head: Head) -> str:
    return head.get(b"authorization").decode("latin-1")


def stranger_of(address: str, form: Mapping[str, str]) -> str:
    """Whose failures are counted together. Behind a proxy all have one address: whoever signs, and
    says as whom, waits only for what those did who fell into the same of SIGNERS buckets, which nobody
    can choose; and nobody has a bucket for each name that comes to mind."""
    if "client_assertion" not in form:
        return address
    return f"{address} {hash(form.get('client_id', '')) % SIGNERS} signs"  # salted by the process


async def _read(scope: Scope, receive: Receive, head: Head) -> Mapping[str, str]:
    """Raises: Unfit. Vanished, Refused: its body is too large or too slow."""
    if scope["query_string"]:  # proxies and histories keep it
        raise malformed("Parameters go into the body, never into the URL.")
    media = head.get(b"content-type").partition(b";")[0].strip().lower()
    if media != _FORM.encode() or b"content-encoding" in head.values:
        raise malformed(f"The body is a form: {_FORM}.")
    if head.repeated & {b"authorization", b"content-type", b"content-length"}:
        raise malformed("A header comes twice.")
    async with body_within(BODY_WITHIN_S):
        body = await read_body(receive, head, MAX_BODY_BYTES, lambda _bytes: None)
    return read_form(body)


def metadata(url: str) -> dict[str, Any]:
    """What the authorization server says of itself (RFC 8414)."""
    return {
        "issuer": url,
        # Clients want one, though no grant here uses it.
        "authorization_endpoint": url + AUTHORIZE,
        "token_endpoint": url + TOKEN,
        "jwks_uri": url + JWKS,
        "response_types_supported": [],
        "grant_types_supported": [wire.CLIENT_CREDENTIALS, wire.EXCHANGE],
        "token_endpoint_auth_methods_supported": list(wire.METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(wire.ASSERTION_ALGORITHMS),
    }


def _answer(status: int, members: Mapping[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(members), is_refusal=status != HTTPStatus.OK)
