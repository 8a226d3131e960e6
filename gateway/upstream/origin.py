"""Where one upstream is: the lines that every request to it begins with, and the kept connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from gateway.domain import refusal
from gateway.domain.model import Call
from gateway.upstream.connection import Connection
from gateway.upstream.fetch import BadTarget, Target, parse_target, tls_context
from gateway.upstream.headers import FIELD_VALUE
from gateway.upstream.message import UpstreamFailed, unreachable
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.spec import HttpTransport
from gateway.upstream.subscribe import MAX_FOLLOWED

_ACCEPTS = {
    "POST": ("Content-Type: application/json", "Accept: application/json, text/event-stream"),
    "GET": ("Accept: text/event-stream",),
    "DELETE": (),
}


@dataclass(frozen=True, slots=True)
class Pools:
    """The kept connections. A stream holds its own for an hour: calls shall not wait for it."""

    calls: ConnectionPool
    streams: ConnectionPool

    def close(self) -> None:
        """End every connection for good; what is on them fails."""
        self.calls.close()
        self.streams.close()


class Origin:
    """One scheme, host and port, and the credential for it. Raises, when made: BadTarget."""

    def __init__(self, transport: HttpTransport) -> None:
        secret = transport.auth_header_value
        if secret and not FIELD_VALUE.fullmatch(secret):
            raise BadTarget("the credential has characters that a header cannot carry")
        self._transport = transport
        self._credential = (f"Authorization: {secret}",) if secret else ()
        self._audience = transport.url.partition("?")[0]  # some put a secret there
        self.target = self._parse(transport.url)

    async def connect(self) -> Pools:
        """The pools, still empty. The certificates are read once, away from the loop."""
        transport, tls = self._transport, None
        if self.target.tls:
            tls = await asyncio.to_thread(tls_context, transport.ca_file)
        calls = ConnectionPool(self.target, transport.max_connections, tls)
        return Pools(calls, ConnectionPool(self.target, MAX_FOLLOWED + 1, tls))

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """The part of a head that is the same for every request of one kind, a line end at its end."""
        fixed = (
            f"{method} {path} HTTP/1.1",
            f"Host: {self.target.host_header}",
            "User-Agent: customhouse",
            *_ACCEPTS[method],
            "Accept-Encoding: identity",
            *self._credential,
            *lines,
        )
        return "\r\n".join([*fixed, ""]).encode("ascii")

    def signed(self, request: bytes, call: Call | None = None) -> bytes:
        """*request* with the token by which the server sees who sent it, if it asks for one.

        *call*: what it was made of; None: it belongs to no call. Not to be made before there is a
        connection: whoever waits for one may wait for longer than a token lives.
        """
        signer = self._transport.signer
        if signer is None:
            return request
        head, _, body = request.partition(b"\r\n\r\n")
        first_line = head.partition(b" HTTP/1.1\r\n")[0]
        line = signer.line(call, self._audience, first_line, body)
        return b"%b\r\n%b\r\n%b" % (head, line, body)

    def within(self, reference: str) -> str:
        """The path of *reference*, a URL that the upstream named. Raises: BadTarget: it is elsewhere."""
        there = self._parse(urljoin(self._transport.url, reference))
        if not self.holds(there):
            raise BadTarget("it is of another origin than the configured URL")
        return there.path

    def holds(self, there: Target) -> bool:
        """Whether *there* is a place of this origin."""
        here = self.target
        return (there.tls, there.host, there.port) == (here.tls, here.host, here.port)

    def _parse(self, url: str) -> Target:
        transport = self._transport
        return parse_target(
            url,
            allow_private=transport.allow_private,
            carries_secret=bool(transport.auth_header_value),
        )


class Kept:
    """An origin whose base URL takes paths, and the connections to it, for calls of any task.

    Raises, when made: BadTarget.
    """

    def __init__(self, transport: HttpTransport) -> None:
        self.origin = Origin(transport)
        if "?" in self.origin.target.path:
            raise BadTarget("a base URL has no query")
        self._is_auth_missing = transport.auth_missing
        self._pools: Pools | None = None
        self._ready = asyncio.Event()

    async def own(self) -> None:
        """Keep connections for the calls; close them at the end."""
        try:
            self._pools = await self.origin.connect()
            self._ready.set()
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            pools, self._pools = self._pools, None
            self._ready.set()
            if pools is not None:
                pools.close()

    @property
    def size(self) -> int:
        return self._pools.calls.size if self._pools else 0

    def check_credential(self) -> None:
        """Raises: UpstreamFailed: one is configured, and could not be read."""
        if self._is_auth_missing:
            sentence = "the configured credential could not be read"
            raise UpstreamFailed(refusal.CREDENTIAL_MISSING.id, sentence)

    async def connected(self, deadline: float) -> Connection:
        """As `connected`, once `own` has begun. Raises: UpstreamFailed."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._ready.wait()
        if self._pools is None:
            raise unreachable("the connector has ended, or could not read its certificates")
        return await connected(self._pools.calls, deadline)


async def connected(pool: ConnectionPool, deadline: float) -> Connection:
    """A kept connection, or a new one; the caller sends on it at once. Raises: UpstreamFailed."""
    return pool.take() or await pool.open(deadline)


def with_body(head: bytes, body: bytes) -> bytes:
    """A whole request, of a head without its last line."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
