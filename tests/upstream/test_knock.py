"""Whether a provider answers: asked with the credential, and nothing is believed that it was not asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.breaker import BreakerState
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.spec import HttpTransport, ModelTransport, ServerSpec
from tests.fakes import Border, border
from tests.servers.provider import Provider
from tests.upstream.models import SECRET, TERMS, model_call, model_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


def provider_in(house: Border) -> Mapping[str, int | str]:
    health = house.upstreams.health()["fake"]
    assert health.breaker is BreakerState.CLOSED
    return {key: health.connector[key] for key in ("answers", "failure")}


async def refused(spec: ServerSpec) -> UpstreamFailed:
    async with border(spec) as house:
        with pytest.raises(UpstreamFailed) as caught, anyio.fail_after(5):
            await house.upstreams.knock("fake")
        assert provider_in(house) == {"answers": 0, "failure": caught.value.sentence}
    return caught.value


@pytest.mark.parametrize("status", [200, 404, 429])
async def test_any_answer_that_is_not_about_the_credential_proves_that_it_answers(
    provider: Provider, status: int
) -> None:
    provider.listing = status
    async with border(model_spec(provider.url)) as house:
        assert provider_in(house) == {"answers": 0, "failure": ""}
        assert await house.upstreams.knock("fake") == status
        assert provider_in(house) == {"answers": 1, "failure": ""}
        (asked,) = provider.asked
        assert (asked.path, asked.headers["authorization"]) == ("/v1/models", SECRET)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "upstream_refused", "credential (HTTP 401)"),
        (403, "upstream_refused", "credential (HTTP 403)"),
        (307, "upstream_broken", "redirects are not followed"),
        (500, "upstream_broken", "HTTP 500"),
    ],
)
async def test_a_provider_that_lets_nobody_in_does_not_answer(
    provider: Provider, status: int, code: str, said: str
) -> None:
    provider.listing = status
    failed = await refused(model_spec(provider.url))
    assert failed.code == code
    assert said in failed.sentence


async def test_a_provider_that_is_gone_is_not_reached(provider: Provider) -> None:
    url = provider.url
    await provider.__aexit__()
    assert (await refused(model_spec(url))).code == "upstream_unreachable"


async def test_one_that_says_nothing_is_not_waited_for_longer_than_for_a_call() -> None:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        failed = await refused(model_spec(f"http://127.0.0.1:{port}/v1", timeout_s=0.2))
    finally:
        server.close()
    assert failed.code == "upstream_timeout"


async def test_until_a_knock_is_answered_what_was_known_is_said() -> None:
    knocked, greeted = asyncio.Event(), asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if greeted.is_set():
            knocked.set()
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = model_spec(f"http://127.0.0.1:{port}/v1", timeout_s=0.5)
    try:
        async with border(spec) as house:
            assert await house.upstreams.knock("fake") == 204
            greeted.set()
            with anyio.fail_after(5):
                again = asyncio.ensure_future(house.upstreams.knock("fake"))
                await knocked.wait()
                assert provider_in(house) == {"answers": 1, "failure": ""}
                with pytest.raises(UpstreamFailed) as caught:
                    await again
            assert provider_in(house) == {"answers": 0, "failure": caught.value.sentence}
    finally:
        server.close()


async def test_without_its_credential_nobody_is_asked(provider: Provider) -> None:
    bare = HttpTransport(provider.url, auth_missing=True, allow_private=True)
    spec = replace(model_spec(provider.url), transport=ModelTransport(bare, TERMS))
    assert (await refused(spec)).code == "credential_missing"
    assert provider.asked == []


async def test_calls_find_out_the_same_and_one_broken_answer_of_many_says_nothing(
    provider: Provider,
) -> None:
    async with border(model_spec(provider.url)) as house:
        assert (await house.call(model_call())).status is Status.OK
        assert provider_in(house) == {"answers": 1, "failure": ""}
        await house.call(model_call(mode="sick"))
        assert provider_in(house) == {"answers": 1, "failure": ""}
        await house.call(model_call(mode="locked"))
        assert provider_in(house)["answers"] == 0
        assert "HTTP 401" in str(provider_in(house)["failure"])
