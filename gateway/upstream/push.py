"""Telling a caller of its task where it asked to be told: one POST to a judged address."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from gateway.upstream.fetch import BadTarget, Target, objection, parse_target, tls_context
from gateway.upstream.message import broken, unreachable
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.response import Response

WITHIN_S = 15.0
_MAX_ANSWER_BYTES = 65_536
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def push_objection(url: str, *, here: bool) -> str:
    """Why nobody is told at *url*, as far as it says so itself; "" when somebody may be.

    *here*: this very machine may be told, by its address. A name is judged when it is told, by what
    it stands for then.
    """
    try:
        target = _target(url, here=here)
    except BadTarget as err:
        return str(err)
    if target.host in _LOOPBACK or target.host.endswith(".localhost"):
        return "" if target.allow_private else "it is this machine"
    if not target.tls:
        return "it is not https, and what is told would travel in the clear"
    try:
        address = ipaddress.ip_address(target.host)
    except ValueError:
        return ""
    return objection(address, target)


async def deliver(url: str, headers: Sequence[tuple[str, str]], body: bytes, *, here: bool) -> None:
    """POST *body* to *url*. Raises: UpstreamFailed: nobody was told, or did not say that it heard."""
    try:
        target = _target(url, here=here)
    except BadTarget as err:
        raise unreachable(str(err)) from None
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host_header}",
        "User-Agent: customhouse",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
        "Accept-Encoding: identity",
        "Connection: close",
    )
    tls = tls_context() if target.tls else None
    pool, told = ConnectionPool(target, 1, tls), _Told()
    try:
        async with asyncio.timeout(WITHIN_S):
            connection = await pool.open(asyncio.get_running_loop().time() + WITHIN_S)
            connection.send(told, "\r\n".join((*lines, "", "")).encode("latin-1") + body)
            await told.heard
    except TimeoutError:
        raise unreachable(f"{target.host}:{target.port} did not answer in {WITHIN_S} s") from None
    finally:
        pool.close()


def _target(url: str, *, here: bool) -> Target:
    """Raises: BadTarget."""
    judged = parse_target(url, allow_private=False, carries_secret=True)
    if not (here and judged.host in _LOOPBACK):
        return judged
    return parse_target(url, allow_private=True, carries_secret=False)


class _Told:
    """What a connection carries for `deliver`: only whether it was heard."""

    max_wire_bytes = _MAX_ANSWER_BYTES

    def __init__(self) -> None:
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begun(self) -> None:
        return

    def headed(self, response: Response) -> bool:
        if not 200 <= response.status < 300:
            self.fail(broken(f"HTTP {response.status}: it was not taken"))
        elif not self.heard.done():
            self.heard.set_result(None)
        return True  # nothing that is said beside it is wanted

    def count(self, n_bytes: int) -> bool:
        return True

    def take(self, kind: bytes, text: bytes) -> bool:
        return True

    def fail(self, failure: Exception) -> None:
        if not self.heard.done():
            self.heard.set_exception(failure)
            self.heard.exception()  # looked at, also where the deadline came first
