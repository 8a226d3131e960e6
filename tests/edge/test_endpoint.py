"""Paths and endpoints: one spelling each, and what stands under /token is the same endpoint, bare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.endpoint import ALL, Endpoint, Span, endpoint_of
from gateway.edge.house import Settings
from tests.edge.fakes import Knocker, Stand
from tests.edge.older import Older, initialize, session

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/mcp", ALL),
        ("/mcp/s/time", Endpoint(Span.SERVER, "time")),
        ("/mcp/t/office", Endpoint(Span.TOOLSET, "office")),
        ("/token/mcp", Endpoint(bare=True)),
        ("/token/mcp/s/time", Endpoint(Span.SERVER, "time", bare=True)),
        ("/token/mcp/t/office", Endpoint(Span.TOOLSET, "office", bare=True)),
        # What nobody can be called is a name all the same: that there is none is said to no stranger.
        ("/mcp/s/", Endpoint(Span.SERVER, "")),
        ("/mcp/t/a/b\n", Endpoint(Span.TOOLSET, "a/b\n")),
    ],
)
async def test_a_path_is_an_endpoint(path: str, endpoint: Endpoint) -> None:
    assert endpoint_of(path) == endpoint
    assert endpoint.path == path
    assert endpoint.server == (endpoint.name if endpoint.span is Span.SERVER else "")


@given(st.text(st.sampled_from("/mcpstoken.\n%é"), max_size=16))
async def test_no_two_paths_are_one_endpoint(tail: str) -> None:
    for path in (tail, f"/mcp{tail}", f"/token{tail}"):
        endpoint = endpoint_of(path)
        assert endpoint is None or endpoint.path == path


async def test_under_token_there_is_the_same_to_list_and_to_call() -> None:
    async with Stand().open() as alice:
        for path, name in (("/mcp", "time_now"), ("/mcp/s/time", "now")):
            plain = Knocker(alice.app, path=path)
            bare = Knocker(alice.app, path=f"/token{path}")
            assert [(await who.ask("tools/list")).result["tools"] for who in (plain, bare)] == [
                (await plain.ask("tools/list")).result["tools"]
            ] * 2
            assert (await bare.call(name)).result["content"]
            assert (await (await session(bare)).call(name)).result["content"]


async def test_who_has_no_credential_is_refused_under_token_as_everywhere() -> None:
    async with Stand().open() as alice:
        bare = Knocker(alice.app, key="nobody", path="/token/mcp")
        answer = await bare.call("time_now")
    assert answer.status == 401
    assert "resource_metadata" not in answer.headers["www-authenticate"]


async def test_a_session_is_of_one_endpoint_and_not_of_its_double_under_token() -> None:
    async with Stand(settings=Settings(max_sessions_per_principal=2)).open() as alice:
        bare = Knocker(alice.app, path="/token/mcp")
        older = await session(alice)
        stray = Older(bare, older.session)
        assert (await stray.call("time_now")).status == 404
        assert (await older.call("time_now")).status == 200
        await session(bare)
        # and both count, or the double would double what one may have
        assert (await initialize(alice)).status == 429
