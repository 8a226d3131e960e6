"""Fetching the keys of token issuers: again and again, and at once, but seldom, for a key nobody knows.

What is fetched is handed on as bytes; keys that were handed on stay in use while fetching fails,
until whoever holds them finds them too old.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import structlog

from gateway.upstream.document import get
from gateway.upstream.fetch import BadTarget, Target, parse_target, tls_context
from gateway.upstream.message import UpstreamFailed

EVERY_S = 300.0
FIRST_PAUSE_S = 5.0  # after a failure; twice as long after each further one
WANTED_EVERY_S = 30.0  # however many tokens name keys that nobody knows
MOST_BYTES = 262_144
WITHIN_S = 5.0
log = structlog.get_logger("customhouse.jwks")

Take = Callable[[str, bytes, int], bool]
"""(issuer, key set, fetched_us) -> whether it is another one. Raises: ValueError: it has no use."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the keys of one issuer are: at *jwks*, or where its metadata says."""

    url: str
    jwks: str = ""


class KeySets:
    def __init__(self, sources: Mapping[str, Source], take: Take, clock: Callable[[], int]) -> None:
        self._sources = sources
        self._take = take
        self._clock = clock
        self._announced: dict[str, Target] = {}  # by the metadata of each issuer
        self._running: dict[str, asyncio.Task[bool]] = {}
        self._wanted_s: dict[str, float] = {}

    async def run(self) -> None:
        """Keep every key set fresh, until cancelled."""
        try:
            async with asyncio.TaskGroup() as issuers:
                for name in self._sources:
                    issuers.create_task(self._keep_fresh(name))
        finally:
            for fetching in self._running.values():
                fetching.cancel()

    async def want(self, name: str) -> None:
        """Somebody has a token with a key that is not known: come back when it may be.

        A fetch under way is shared. One that is made for this is made once in 30 s, so that
        strangers who invent keys cannot make the gateway ask its issuer again and again.
        """
        if name not in self._running:
            now_s = asyncio.get_running_loop().time()
            last_s = self._wanted_s.get(name)
            if last_s is not None and now_s - last_s < WANTED_EVERY_S:
                return
            self._wanted_s[name] = now_s
        await self.refresh(name)

    async def refresh(self, name: str) -> bool:
        """Fetch the keys of *name*, once for all who ask meanwhile; whether they were handed on."""
        running = self._running.get(name)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._fetch(name))
            self._running[name] = running
            running.add_done_callback(lambda _: self._running.pop(name, None))
        return await asyncio.shield(running)

    async def _keep_fresh(self, name: str) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            if await self.refresh(name):
                pause_s = FIRST_PAUSE_S
                await asyncio.sleep(EVERY_S)
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, EVERY_S)

    async def _fetch(self, name: str) -> bool:
        try:
            changed = self._take(name, await self._key_set(name), self._clock())
        except (UpstreamFailed, ValueError, OSError) as err:
            self._announced.pop(name, None)  # it may have moved
            log.warning("keys_not_fetched", issuer=name, why=str(err))
            return False
        if changed:
            log.info("keys_fetched", issuer=name)
        return True

    async def _key_set(self, name: str) -> bytes:
        """Raises: UpstreamFailed, BadTarget."""
        source = self._sources[name]
        if source.jwks:
            return await self._get(_declared(source.jwks))
        target = self._announced.get(name)
        if target is None:
            target = self._announced[name] = await self._discover(source)
        return await self._get(target)

    async def _discover(self, source: Source) -> Target:
        """What the first metadata found says of the key set (RFC 8414 s3, OpenID Discovery s4)."""
        missed: UpstreamFailed | None = None
        for url in metadata_urls(source.url):
            try:
                raw = await self._get(_declared(url))
            except UpstreamFailed as err:
                missed = err
            else:
                return key_set_of(raw, source.url)
        raise missed or BadTarget("the issuer has no place for metadata")

    async def _get(self, target: Target) -> bytes:
        # Made anew each time: it is seldom, and certificates of the machine may have changed.
        tls = await asyncio.to_thread(tls_context) if target.tls else None
        return await get(target, tls, most_bytes=MOST_BYTES, within_s=WITHIN_S)


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer may say of itself where its keys are, in the order in which to ask."""
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = (
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}{path}/.well-known/openid-configuration",
        f"{base}/.well-known/openid-configuration{path}",
    )
    return tuple(dict.fromkeys(places))


def key_set_of(raw: bytes, issuer: str) -> Target:
    """The key set that the metadata of *issuer* names.

    It was named by somebody on the network, not by the operator: it leads to another private
    address only where the operator declared that very server as the issuer.
    Raises: BadTarget: it is the metadata of another, or names no place to ask.
    """
    try:
        said: Any = json.loads(raw)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.get("issuer") != issuer:
        raise BadTarget("the metadata is not that of this issuer (RFC 8414 s3.3)")
    url = said.get("jwks_uri")
    if not isinstance(url, str):
        raise BadTarget("the metadata names no jwks_uri")
    declared, named = _declared(issuer), _declared(url)
    if (named.host, named.port, named.tls) == (declared.host, declared.port, declared.tls):
        return named
    if not named.tls:
        raise BadTarget("the metadata names a jwks_uri without https")
    return parse_target(url, allow_private=False, carries_secret=True)


def _declared(url: str) -> Target:
    # Keys are no secret, but who can change them on the way is the issuer.
    return parse_target(url, allow_private=True, carries_secret=True)
