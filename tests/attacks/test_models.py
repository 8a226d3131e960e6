"""Providers that lie, stall and flood, and callers who want more of a model than is theirs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.journey.process import KEY, GatewayProcess, customhouse, write_policy
from tests.servers.provider import Provider

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OTHER = "chk_tests_only_other_9876543210zyxwvutsrqponmlkj"
SECRET = "of-the-provider-0123456789abcdefghijklmnop"
LIMIT = 3_000  # tokens a day, of `poor`
HEAD = f"""
listen = "127.0.0.1:0"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
[agents.poor]
roles = ["caller"]
key = "env:OTHER_KEY"
budget = {{ tokens = "{LIMIT}/day" }}
"""
MODEL = """
[models.{name}]
url = "{url}"
auth = "env:PROVIDER_KEY"
timeout_s = 2
max_result_tokens = 400
model = {{ id = "{name}", context = 5000, prompt = 1000000, completion = 1000000 }}
"""
NAMES = ("steady", "greedy", "wordy", "silent", "endless", "moved", "locked")
SAID = [{"role": "user", "content": "Name a river."}]
ENVIRON = {"PROVIDER_KEY": SECRET, "OTHER_KEY": OTHER}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture(scope="module")
async def house(
    provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("models")
    write_policy(folder, "p, caller, default, model/*, call, -, allow\n")
    config = folder / "customhouse.toml"
    models = [MODEL.format(name=name, url=provider.url) for name in NAMES]
    inside = MODEL.format(name="inside", url="http://169.254.169.254/v1")
    config.write_text("".join([HEAD, *models, inside]))
    process = GatewayProcess(config, ENVIRON)
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.stop)
    code, out, err = await asyncio.to_thread(
        customhouse, "audit", "verify", "--config", str(config), environ=ENVIRON
    )
    assert code == 0, (out, err)


async def ask(
    house: GatewayProcess, model: str, key: str = KEY, headers: Any = None, **more: Any
) -> httpx2.Response:
    said = {"Authorization": f"Bearer {key}", **(headers or {})}
    async with httpx2.AsyncClient(timeout=15) as client:
        body = {"model": model, "messages": SAID, **more}
        return await client.post(f"{house.url}/v1/chat/completions", json=body, headers=said)


def rows(house: GatewayProcess, kind: str, call_id: str = "") -> list[dict[str, Any]]:
    place: Path = house.config.parent / "data" / "customhouse.db"
    with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT call_id, body FROM entries WHERE kind = ?", (kind,))
        return [json.loads(body) for one, body in found if not call_id or one == call_id]


async def test_a_provider_that_claims_a_fortune_gets_no_more_than_was_held(
    house: GatewayProcess,
) -> None:
    response = await ask(house, "greedy")
    assert response.status_code == 200
    call_id = response.headers["customhouse-call"]
    [intent], [outcome] = rows(house, "intent", call_id), rows(house, "outcome", call_id)
    assert outcome["used"] == intent["hold"]
    assert outcome["said"] == [1_000_000, 1_000_000]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_flood_is_cut_and_charged_to_the_hold_and_no_further(
    house: GatewayProcess, streams: bool
) -> None:
    response = await ask(house, "wordy", stream=streams)
    assert "result_too_large" in response.text
    assert "[DONE]" not in response.text
    assert len(response.content) < 500_000
    call_id = response.headers["customhouse-call"]
    [intent], [outcome] = rows(house, "intent", call_id), rows(house, "outcome", call_id)
    assert outcome["status"] == "too_large"
    assert outcome["used"]["tokens"] <= intent["hold"]["tokens"]


@pytest.mark.parametrize("model", ["silent", "endless"])
async def test_a_provider_that_takes_forever_is_left_at_its_time(
    house: GatewayProcess, model: str
) -> None:
    with anyio.fail_after(8):
        response = await ask(house, model, stream=True, max_tokens=4_000)
    assert "upstream_timeout" in response.text
    assert response.status_code == (504 if model == "silent" else 200)


async def test_without_a_bound_one_is_imposed_and_an_enormous_one_is_refused(
    house: GatewayProcess, provider: Provider
) -> None:
    await ask(house, "steady")
    assert provider.asked[-1].body["max_completion_tokens"] == 400
    asked = len(provider.asked)
    for most in (5_001, 10**18, -1, 1e3):
        response = await ask(house, "steady", max_tokens=most)
        assert response.status_code == 400
        assert rows(house, "refused", response.headers["customhouse-call"])
    assert len(provider.asked) == asked


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("chat/completions", {"MODEL": "wordy"}),
        ("chat/completions", {"models": ["another/model"], "plugins": [{"id": "web"}]}),
        ("chat/completions", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
        ("responses", {"input": [{"type": "additional_tools", "tools": [{"type": "mcp"}]}]}),
        ("responses", {"input": [{"id": "msg_of_another"}]}),
        ("responses", {"input": "x", "background_options": {"continuation_id": "c"}}),
    ],
    ids=["other case", "other model", "kept audio", "hosted tools", "kept item", "continuation"],
)
async def test_what_would_reach_beyond_the_model_never_gets_to_its_provider(
    house: GatewayProcess, provider: Provider, path: str, more: Any
) -> None:
    asked = len(provider.asked)
    given = {"messages": SAID} if path == "chat/completions" else {}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as client:
        body = {"model": "steady", **given, **more}
        response = await client.post(f"{house.url}/v1/{path}", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_params")
    assert rows(house, "refused", response.headers["customhouse-call"])
    assert len(provider.asked) == asked


async def test_a_picture_behind_an_unknown_word_holds_as_much_as_the_model_can_read(
    house: GatewayProcess,
) -> None:
    film = {"type": "video_url", "video_url": {"url": "https://x.example/film.mp4"}}
    said = [{"role": "user", "content": [film]}]
    response = await ask(house, "steady", max_tokens=1, messages=said)
    [intent] = rows(house, "intent", response.headers["customhouse-call"])
    assert intent["hold"]["tokens"] == 5_001


async def test_no_header_of_a_caller_and_no_credential_but_ours_goes_to_a_provider(
    house: GatewayProcess, provider: Provider
) -> None:
    mine = {"X-Api-Key": "mine", "OpenAI-Organization": "org-mine", "Cookie": "a=b"}
    await ask(house, "steady", headers=mine)
    headers = provider.asked[-1].headers
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert not {name.lower() for name in mine} & headers.keys()
    assert KEY not in str(headers)


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("moved", 502, "upstream_broken"),
        ("locked", 502, "upstream_refused"),
        ("inside", 503, "upstream_unreachable"),
    ],
)
async def test_a_provider_leads_nobody_elsewhere_and_tells_nobody_of_our_credential(
    house: GatewayProcess, model: str, status: int, code: str
) -> None:
    response = await ask(house, model)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "today" not in response.text


async def test_a_budget_is_not_overspent_by_asking_all_at_once(house: GatewayProcess) -> None:
    responses = await asyncio.gather(*(ask(house, "steady", OTHER) for _ in range(40)))
    served = [one for one in responses if one.status_code == 200]
    refused = [one for one in responses if one.status_code == 429]
    assert len(served) + len(refused) == 40
    assert served
    assert refused
    assert refused[0].json()["error"]["type"] == "insufficient_quota"
    spent = 0
    for one in served:
        [outcome] = rows(house, "outcome", one.headers["customhouse-call"])
        spent += outcome["used"]["tokens"]
    assert spent <= LIMIT


async def test_an_answer_of_one_caller_is_not_told_to_another_under_the_same_key(
    house: GatewayProcess, provider: Provider
) -> None:
    key = {"Idempotency-Key": "shared-7"}
    before = len(provider.asked)
    mine = await ask(house, "steady", headers=key, max_tokens=20)
    theirs = await ask(house, "steady", OTHER, headers=key, max_tokens=20)
    assert mine.headers["customhouse-call"] != theirs.headers.get("customhouse-call")
    assert len(provider.asked) == before + 1 + (theirs.status_code == 200)


async def test_a_caller_that_leaves_is_charged_for_what_came_and_the_provider_is_left(
    house: GatewayProcess, provider: Provider
) -> None:
    provider.gone.clear()
    body = {"model": "endless", "messages": SAID, "stream": True, "max_tokens": 4_000}
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"})
    url = f"{house.url}/v1/chat/completions"
    async with client, client.stream("POST", url, json=body) as response:
        call_id = response.headers["customhouse-call"]
        await anext(response.aiter_bytes())
    with anyio.fail_after(5):
        await provider.gone.wait()
        while not rows(house, "outcome", call_id):  # noqa: ASYNC110 - written by another process
            await anyio.sleep(0.02)
    [intent], [outcome] = rows(house, "intent", call_id), rows(house, "outcome", call_id)
    assert outcome["status"] == "cancelled"
    assert 0 < outcome["used"]["tokens"] < intent["hold"]["tokens"]
