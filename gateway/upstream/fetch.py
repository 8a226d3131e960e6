"""The one guard on outgoing connections: a name is resolved once, its addresses are judged, and the
connection goes to a judged address, so that a second answer of the DNS changes nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from gateway.upstream.message import unreachable

CONNECT_TIMEOUT_S = 5.0  # per address
MAX_ADDRESSES = 4

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
P = TypeVar("P", bound=asyncio.Protocol)

# Where clouds answer with credentials of the machine: never a tool server, whoever names it.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")
)
_SHARED_V4 = ipaddress.ip_network("100.64.0.0/10")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_URL_TEXT = re.compile(r"[\x21-\x7e]+")


class BadTarget(ValueError):
    """The URL cannot be an upstream; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one upstream is, and which addresses it may turn out to have."""

    host: str
    port: int
    path: str  # with the query; what the request line says
    tls: bool
    allow_private: bool
    carries_secret: bool

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_target(url: str, *, allow_private: bool, carries_secret: bool) -> Target:
    """*url* as a target. Raises: BadTarget."""
    if not _URL_TEXT.fullmatch(url):
        raise BadTarget("a URL holds visible ASCII only; encode everything else")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise BadTarget(f"not a URL: {err}") from None
    if parts.scheme not in {"http", "https"}:
        raise BadTarget("the scheme must be http or https")
    if "@" in parts.netloc:
        raise BadTarget("credentials do not belong in a URL; use auth = 'env:NAME'")
    if not parts.hostname or parts.fragment or "\\" in url:
        raise BadTarget("the URL must have a host and no fragment or backslash")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = port or (443 if tls else 80)
    return Target(parts.hostname, port, path, tls, allow_private, carries_secret)


def objection(address: Address, target: Target) -> str:
    """Why no connection may go to *address* for *target*; "" when it may."""
    bare = _unwrap(address)
    if bare in _METADATA or bare.is_link_local:
        return "a link-local or metadata address"
    if bare.is_multicast or bare.is_unspecified or (bare.is_reserved and not bare.is_loopback):
        return "not an address of one host"
    if not _is_public(bare):
        return "" if target.allow_private else "a private or loopback address"
    if target.carries_secret and not target.tls:
        return "a public address without TLS, and the credential would travel in the clear"
    return ""


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and address not in _SHARED_V4


def _unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries to: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def resolve(target: Target) -> list[str]:
    """The addresses a connection may go to, in the resolver's order.

    Raises: UpstreamFailed: UPSTREAM_UNREACHABLE when there is none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as err:
        raise unreachable(f"cannot resolve {target.host}: {str(err) or 'no answer'}") from None
    objections = set()
    allowed: list[str] = []
    for *_, sockaddr in found:
        text = str(sockaddr[0])
        reason = objection(ipaddress.ip_address(text.partition("%")[0]), target)
        if reason:
            objections.add(reason)
        elif text not in allowed:
            allowed.append(text)
    if not allowed:
        reasons = ", ".join(sorted(objections)) or "no address"
        raise unreachable(f"{target.host} is refused: it is {reasons}")
    return allowed[:MAX_ADDRESSES]


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """One per upstream, made once: reading the system's certificates costs 20 ms and more."""
    return ssl.create_default_context(cafile=ca_file or None)


async def connect(target: Target, tls: ssl.SSLContext | None, protocol: Callable[[], P]) -> P:
    """One connection to a judged address. Raises: UpstreamFailed: UPSTREAM_UNREACHABLE."""
    loop = asyncio.get_running_loop()
    problem: Exception | None = None
    for address in await resolve(target):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, made = await loop.create_connection(
                    protocol,
                    address,
                    target.port,
                    ssl=tls,
                    # The name, not the address: it is the name that the certificate must prove.
                    server_hostname=target.host if tls else None,
                )
        except (OSError, TimeoutError) as err:
            problem = err
        else:
            return made
    reason = str(problem) or "no answer"
    raise unreachable(f"cannot connect to {target.host}:{target.port}: {reason}")
