"""What a provider answered in the place of an answer, and a base_url that is none, as clients read it."""

from __future__ import annotations

import pytest

from gateway.domain.model import Call, Outcome, Relay, Status
from tests.edge.fakes import Knocker
from tests.edge.test_models import SAID, answering, error, post, stand

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "ended",
    [
        Outcome(Status.RPC_ERROR, error=b'{"code":404,"message":"x"}', code="http_404"),
        Outcome(Status.FAILED, code="http_500"),
    ],
    ids=["it does not know the model", "it failed"],
)
async def test_where_a_provider_cannot_answer_the_next_model_of_the_class_is_asked(
    ended: Outcome,
) -> None:
    async def upstream(call: Call, relay: Relay) -> Outcome:
        return ended if call.name == "cheap" else await answering(call, relay)

    response, pipeline = await post(stand(upstream), {**SAID, "model": "class:small"})
    assert [call.name for call in pipeline.governed] == ["cheap", "dear"]
    assert response.status == 200


@pytest.mark.parametrize(
    ("ended", "status", "words"),
    [
        (Outcome(Status.FAILED, code="http_500"), 502, "HTTP 500"),
        (
            Outcome(Status.RPC_ERROR, error=b'{"code":501,"message":"no such path"}'),
            501,
            "no such path",
        ),
    ],
    ids=["failed", "unknown"],
)
async def test_what_a_provider_answered_is_said_and_not_repeated_by_clients(
    ended: Outcome, status: int, words: str
) -> None:
    async def upstream(call: Call, relay: Relay) -> Outcome:
        return ended

    response, _ = await post(stand(upstream), SAID)
    assert (response.status, response.headers["x-should-retry"]) == (status, "false")
    assert words in error(response)["message"]


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/embeddings", "/models"])
async def test_a_base_url_without_its_end_is_told_how_it_ends_but_no_stranger_is(
    path: str,
) -> None:
    async with stand().open() as knocker:
        knocker.path = path
        response = await knocker.raw(b"{}", knocker.headers())
        stranger = Knocker(knocker.app, key="nobody", path=path)
        turned_away = await stranger.raw(b"{}", stranger.headers())
    assert (response.status, error(response)["code"]) == (404, "unknown_method")
    assert "base_url ends in /v1" in error(response)["message"]
    assert (turned_away.status, error(turned_away)["code"]) == (401, "not_authenticated")
