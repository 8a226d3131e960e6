"""The keys of issuers are fetched from where the operator said, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from gateway.jobs import jwks
from gateway.jobs.jwks import KeySets, Source, key_set_of, metadata_urls
from gateway.upstream.fetch import BadTarget, resolve
from gateway.upstream.message import UpstreamFailed
from tests.upstream.plain_server import PlainServer, answer

pytestmark = pytest.mark.anyio
HERE = "https://login.example.com"
KEYS = b'{"keys":["k"]}'


def told(jwks_uri: Any, issuer: str = HERE) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode()


def test_metadata_is_looked_for_in_the_places_that_are_known() -> None:
    assert metadata_urls("https://h.example") == (
        "https://h.example/.well-known/oauth-authorization-server",
        "https://h.example/.well-known/openid-configuration",
    )
    assert metadata_urls("https://h.example/a/b/") == (
        "https://h.example/.well-known/oauth-authorization-server/a/b",
        "https://h.example/a/b/.well-known/openid-configuration",
        "https://h.example/.well-known/openid-configuration/a/b",
    )


METADATA = {
    "of another issuer": told(f"{HERE}/jwks", "https://login.example.org"),
    "of almost the same one": told(f"{HERE}/jwks", f"{HERE}/"),
    "of nobody": b'{"jwks_uri":"https://login.example.com/jwks"}',
    "without keys": told(None),
    "with a list": b"[]",
    "that is no JSON": b"<html>",
    "that is too deep": b"[" * 100_000,
    "without https": told("http://login.example.com/jwks"),
    "with somebody's password": told("https://login.example.com@169.254.169.254/"),
    "with a user": told("https://user:pass@login.example.com/jwks"),
    "with another scheme": told("file:///etc/passwd"),
    "with a backslash": told("https://login.example.com\\@10.0.0.1/"),
    "with a line break": told("https://login.example.com/\r\nX: y"),
}


@pytest.mark.parametrize("raw", METADATA.values(), ids=METADATA.keys())
def test_metadata_that_leads_astray_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        key_set_of(raw, HERE)


INWARD = {
    "loopback": "https://127.0.0.1/jwks",
    "loopback in IPv6": "https://[::1]/jwks",
    "a private range": "https://10.0.0.8/jwks",
    "mapped into IPv6": "https://[::ffff:10.0.0.8]/jwks",
    "carried by NAT64": "https://[64:ff9b::7f00:1]/jwks",
    "the credentials of the machine": "https://169.254.169.254/latest/meta-data",
    "the same, mapped": "https://[::ffff:169.254.169.254]/latest",
    "a number": "https://2130706433/jwks",
    "a number in hex": "https://0x7f000001/jwks",
    "a number in octal": "https://0177.0.0.1/jwks",
    "a short number": "https://127.1/jwks",
    "nowhere": "https://0.0.0.0/jwks",
    "localhost": "https://localhost/jwks",
}


@pytest.mark.parametrize("url", INWARD.values(), ids=INWARD.keys())
async def test_metadata_does_not_lead_inward(url: str) -> None:
    """Whoever writes the metadata of an issuer shall not have the gateway ask its neighbours."""
    with pytest.raises(UpstreamFailed, match=r"is refused|cannot resolve"):
        await resolve(key_set_of(told(url), HERE))


async def test_a_name_that_turns_inward_between_two_looks_is_followed_to_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        found = [name] if name[0].isdigit() else answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, int(port))) for a in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    target = key_set_of(told("https://rebinding.example/jwks"), HERE)
    assert await resolve(target) == ["8.8.8.8"]  # connected to as an address, not as a name
    with pytest.raises(UpstreamFailed, match="a private or loopback address"):
        await resolve(target)


def test_the_declared_server_may_be_anywhere_and_name_itself() -> None:
    at_home = "https://10.0.0.8:8443/realms/a"
    target = key_set_of(told("https://10.0.0.8:8443/keys", at_home), at_home)
    assert target.allow_private
    elsewhere = key_set_of(told("https://10.0.0.8/keys", at_home), at_home)
    assert not elsewhere.allow_private


class Desk:
    """An issuer on loopback, and who takes its keys."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers: tuple[str, ...] = ()
        self.jwks_uri = ""
        self.taken: list[bytes] = []
        self.wait = asyncio.Event()
        self.wait.set()
        self.good = True
        self._stirred = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._stirred.clear()
            await self._stirred.wait()

    async def write(self, path: str, writer: asyncio.StreamWriter) -> None:
        await self.wait.wait()
        self._stirred.set()
        if "/.well-known/" in path:
            writer.write(answer(told(self.jwks_uri or f"{self.url}/jwks", self.url)))
        else:
            writer.write(answer(KEYS, self.status, *self.headers))

    def take(self, issuer: str, raw: bytes, fetched_us: int) -> bool:
        if not self.good:
            raise ValueError("no key of the key set can prove a signature")
        self.taken.append(raw)
        self._stirred.set()
        return True

    @asynccontextmanager
    async def open(self, jwks: str = "") -> AsyncIterator[tuple[KeySets, PlainServer]]:
        async with PlainServer(self.write) as server:
            self.url = server.url
            source = Source(server.url, jwks.replace("URL", server.url))
            with anyio.fail_after(10):
                yield KeySets({"corp": source}, self.take, lambda: 7), server


async def test_keys_are_found_through_metadata_once_and_then_where_they_were() -> None:
    desk = Desk()
    async with desk.open() as (key_sets, server):
        assert await key_sets.refresh("corp")
        assert await key_sets.refresh("corp")
    assert desk.taken == [KEYS, KEYS]
    assert server.paths == ["/.well-known/oauth-authorization-server", "/jwks", "/jwks"]


async def test_keys_that_are_declared_need_no_metadata() -> None:
    desk = Desk()
    async with desk.open("URL/keys?v=1") as (key_sets, server):
        assert await key_sets.refresh("corp")
    assert server.paths == ["/keys?v=1"]


async def test_another_server_on_this_machine_is_not_asked_for_keys() -> None:
    desk, neighbour = Desk(), Desk()
    async with neighbour.open() as (_, other), desk.open() as (key_sets, _):
        for url in (f"http://127.0.0.1:{other.port}/jwks", f"https://127.0.0.1:{other.port}/jwks"):
            desk.jwks_uri = url
            assert not await key_sets.refresh("corp")
    assert other.paths == []
    assert desk.taken == []


async def test_a_redirect_is_not_followed() -> None:
    desk, neighbour = Desk(), Desk()
    async with neighbour.open() as (_, other), desk.open() as (key_sets, _):
        desk.status, desk.headers = "302 Found", (f"Location: {other.url}/jwks",)
        assert not await key_sets.refresh("corp")
    assert other.paths == []


async def test_a_thousand_unknown_keys_are_asked_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    async with desk.open() as (key_sets, server):
        assert await key_sets.refresh("corp")
        for _ in range(10):
            await asyncio.gather(*(key_sets.want("corp") for _ in range(100)))
        assert server.paths.count("/jwks") == 2
        monkeypatch.setattr(jwks, "WANTED_EVERY_S", 0.0)
        await key_sets.want("corp")
        assert server.paths.count("/jwks") == 3


async def test_who_comes_while_keys_are_fetched_waits_for_them() -> None:
    desk = Desk()
    desk.wait.clear()
    async with desk.open() as (key_sets, server):
        fetching = asyncio.create_task(key_sets.refresh("corp"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(key_sets.want("corp"))
        await asyncio.sleep(0)
        assert not waiting.done()
        desk.wait.set()
        await waiting
        assert desk.taken == [KEYS]
        assert await fetching
        # It did not use up the one fetch there is for unknown keys.
        await key_sets.want("corp")
    assert server.paths.count("/jwks") == 2


async def test_an_issuer_that_is_away_or_says_nonsense_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "FIRST_PAUSE_S", 0.01)
    desk = Desk()
    desk.status, desk.good = "503 Service Unavailable", False
    async with desk.open() as (key_sets, server):
        keeping = asyncio.create_task(key_sets.run())
        await desk.until(lambda: len(server.paths) >= 4)
        assert desk.taken == []
        desk.status = "200 OK"
        seen = len(server.paths)
        await desk.until(lambda: len(server.paths) >= seen + 4)
        assert desk.taken == []
        desk.good = True
        await desk.until(lambda: bool(desk.taken))
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
