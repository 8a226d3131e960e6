"""Resources of servers of the handshake era that callers follow, over either wire."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.fakes import border, eventually, http_spec, make_call
from tests.upstream.older_servers import Running, sse_server, streamable_server
from tests.upstream.test_subscribe import ACKNOWLEDGED, UPDATED, following

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ONE, OTHER = "note:///1", "note:///2"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}  # as the product serves


def server(kind: str) -> AbstractAsyncContextManager[Running]:
    return sse_server() if kind == "sse" else streamable_server()


@pytest.mark.parametrize("kind", ["streamable", "sse"])
async def test_a_resource_is_followed_and_left_in_the_session(kind: str) -> None:
    async with server(kind) as running, border(http_spec(running.url)) as house:
        await house.call()
        await eventually(lambda: house.upstreams.health()["fake"].connector["listening"] == 1)
        async with following(house, ONE) as ear:
            assert running.followed == [ONE], ear.outcome
            for uri in (OTHER, ONE):
                await house.call(make_call(name="touch", arguments={"uri": uri}))
            await eventually(lambda: ear.told == [ACKNOWLEDGED, UPDATED])
            assert ear.frames[-1]["params"]["uri"] == ONE
        await eventually(lambda: running.followed == [])
    assert len(running.posts("resources/subscribe")) == 1
    assert len(running.posts("initialize")) == (2 if kind == "sse" else 1)
