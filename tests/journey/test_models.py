"""Models over the official client: asked, streamed, embedded, listed, refused, and killed midway."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest

from tests.journey.process import KEY, GatewayProcess, customhouse, write_policy
from tests.servers.provider import ANSWER, WORDS, Provider

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = """
listen = "127.0.0.1:0"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
budget = {{ tokens = "10M/day" }}
"""
MODEL = """
[models.{name}]
url = "{url}"
auth = "env:PROVIDER_KEY"
timeout_s = {timeout_s}
cache = 60
max_result_tokens = 500
model = {{ id = "{model}", class = "{size}", context = 20000, prompt = {price}, completion = 2000000 }}
"""
SECRET = "of-the-provider-0123456789abcdefghijklmnop"
SAID: list[Any] = [{"role": "user", "content": "Name a river in Germany that flows to the sea."}]
# Name -> class; each is known to its provider by its own name.
MODELS = {
    "steady": "large",
    "mute": "",
    "liar": "",
    "cut": "",
    "garbled": "",
    "endless": "",
    "busy": "",
    "choosy": "",
    "sick": "medium",
    "spare": "medium",
    "hidden": "small",
}


def declared(url: str) -> str:
    found = [CONFIG.format()]
    for number, (name, size) in enumerate(MODELS.items()):
        table = MODEL.format(
            name=name,
            url=url,
            timeout_s=20,
            model="steady-spare" if name == "spare" else name,
            size=size,
            price=1_000_000 + number,
        )
        found.append(table if size else table.replace('class = "", ', ""))
    return "".join(found)


def write(folder: Path, url: str) -> Path:
    write_policy(
        folder,
        "p, caller, default, model/*, call, -, allow\np, caller, default, model/hidden, call, -, deny\n",
    )
    config = folder / "customhouse.toml"
    config.write_text(declared(url))
    return config


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture(scope="module")
async def running(
    provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("models")
    process = GatewayProcess(write(folder, provider.url), {"PROVIDER_KEY": SECRET})
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.stop)


@pytest.fixture
async def client(running: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(running) as made:
        yield made


def client_of(running: GatewayProcess, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key, timeout=20)


def entries(running: GatewayProcess, call_id: str) -> dict[str, dict[str, Any]]:
    """Kind -> entry, of one call."""
    place = running.config.parent / "data" / "customhouse.db"
    with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT kind, body FROM entries WHERE call_id = ?", (call_id,))
        return {kind: json.loads(body) for kind, body in rows}


async def test_a_chat_is_answered_and_charged_as_the_provider_says(
    client: openai.AsyncOpenAI, running: GatewayProcess, provider: Provider
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="steady", messages=SAID)
    answer = raw.parse()
    assert answer.choices[0].message.content == ANSWER
    asked = provider.asked[-1]
    assert asked.body["max_completion_tokens"] == 500
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert KEY not in json.dumps([dict(asked.headers), asked.body])
    said = entries(running, raw.headers["customhouse-call"])
    assert asked.usage is not None
    prompt, completion = asked.usage
    used = said["outcome"]["used"]
    assert used["tokens"] == prompt + completion
    assert used["cost"] == -(-(prompt * 1_000_000 + completion * 2_000_000) // 1_000_000)
    assert said["intent"]["hold"]["tokens"] > used["tokens"]


async def test_a_chat_is_streamed_and_the_last_event_comes_when_it_is_settled(
    client: openai.AsyncOpenAI, running: GatewayProcess
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="steady", messages=SAID, stream=True
    )
    chunks = [chunk async for chunk in raw.parse()]
    assert [chunk.choices[0].delta.content for chunk in chunks] == list(WORDS)
    said = entries(running, raw.headers["customhouse-call"])
    assert said["outcome"]["said"][1] == len(WORDS)


async def test_who_asks_for_the_usage_of_a_stream_gets_it(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="steady", messages=SAID, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.usage is not None
    assert last.usage.completion_tokens == len(WORDS)


async def test_responses_are_answered_and_streamed_and_not_kept_by_the_provider(
    client: openai.AsyncOpenAI, provider: Provider
) -> None:
    answer = await client.responses.create(model="steady", input="Name a river.")
    assert answer.output_text == ANSWER
    stream = await client.responses.create(model="steady", input="Name a river.", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events][-1] == "response.completed"
    assert provider.asked[-1].body["store"] is False
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        await client.responses.create(
            model="steady", input="And?", previous_response_id="resp_of_somebody"
        )


async def test_embeddings_are_made_once_for_equal_requests(
    client: openai.AsyncOpenAI, running: GatewayProcess, provider: Provider
) -> None:
    async def embedded() -> Any:
        return await client.embeddings.with_raw_response.create(
            model="steady", input=["Elbe", "Oder"], encoding_format="float"
        )

    first, again = await embedded(), await embedded()
    assert [one.embedding for one in again.parse().data] == [[0.5, -0.25]] * 2
    assert sum(asked.path.endswith("embeddings") for asked in provider.asked) == 1
    assert "customhouse-kept" not in first.headers
    assert again.headers["customhouse-kept"] == "true"
    kept = entries(running, again.headers["customhouse-call"])["outcome"]
    assert kept["used"].get("cost", 0) == 0
    assert kept["code"] == "kept"


async def test_a_list_holds_what_may_be_used(client: openai.AsyncOpenAI) -> None:
    names = {model.id async for model in await client.models.list()}
    assert names == MODELS.keys() - {"hidden"}
    assert (await client.models.retrieve("steady")).id == "steady"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("hidden")


async def test_a_forbidden_model_is_refused_as_one_that_is_not_there(
    client: openai.AsyncOpenAI, running: GatewayProcess, provider: Provider
) -> None:
    asked, said = len(provider.asked), []
    for name in ("hidden", "nowhere", "class:small", "class:nothing"):
        with pytest.raises(openai.NotFoundError) as refused:
            await client.chat.completions.create(model=name, messages=SAID, max_tokens=10**9)
        headers = dict(refused.value.response.headers)
        call_id = headers.pop("customhouse-call")
        headers.pop("date", None)
        said.append((refused.value.response.content, headers))
        assert "refused" in entries(running, call_id)
    assert said == said[:1] * 4
    assert refused.value.code == "model_not_found"
    assert len(provider.asked) == asked


async def test_a_key_that_is_none_is_the_clients_own_error(running: GatewayProcess) -> None:
    async with client_of(running, "no-key-at-all") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def test_a_sick_model_of_a_class_is_passed_over_and_each_try_is_in_the_log(
    client: openai.AsyncOpenAI, running: GatewayProcess
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="class:medium", messages=SAID, extra_headers={"Customhouse-Run": "new"}
    )
    assert raw.parse().model == "steady-spare"
    last = entries(running, raw.headers["customhouse-call"])
    first = entries(running, last["intent"]["parent"])
    assert (first["outcome"]["status"], first["outcome"]["code"]) == ("failed", "http_500")
    assert first["intent"]["run"] == last["intent"]["run"]
    assert len(raw.headers["customhouse-run"]) >= 8


async def test_the_same_key_has_one_effect_and_the_same_answer(
    client: openai.AsyncOpenAI, provider: Provider
) -> None:
    key = {"Idempotency-Key": "order-7"}
    before = len(provider.asked)
    url = f"{client.base_url}chat/completions"
    said = {"model": "steady", "messages": SAID}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}", **key}) as plain:
        first, again = [await plain.post(url, json=said) for _ in range(2)]
        assert first.content == again.content
        assert first.headers["customhouse-call"] == again.headers["customhouse-call"]
        assert len(provider.asked) == before + 1
        key["Idempotency-Key"] = "order-8"
        streamed = {**said, "stream": True}
        first, again = [await plain.post(url, json=streamed, headers=key) for _ in range(2)]
        assert first.content == again.content
        assert first.headers["customhouse-call"] == again.headers["customhouse-call"]
        assert first.text.endswith("data: [DONE]\n\n")
    assert len(provider.asked) == before + 2
    with pytest.raises(openai.ConflictError) as refused:
        await client.chat.completions.create(
            model="steady", messages=[*SAID, *SAID], extra_headers=key
        )
    assert refused.value.code == "key_reused"


async def test_whoever_repeats_a_key_with_a_new_run_is_told_of_the_run_of_the_first_call(
    client: openai.AsyncOpenAI,
) -> None:
    said = {"model": "steady", "messages": SAID}
    auth = {"Authorization": f"Bearer {KEY}", "Customhouse-Run": "new"}
    url = f"{client.base_url}chat/completions"

    async def asked(key: str) -> dict[str, str]:
        response = await plain.post(url, json=said, headers={"Idempotency-Key": key})
        assert response.status_code == 200
        return dict(response.headers)

    async with httpx2.AsyncClient(headers=auth) as plain:
        first, again, other = [await asked(key) for key in ("run-1", "run-1", "run-2")]
    assert first["customhouse-run"] == again["customhouse-run"] != other["customhouse-run"]
    assert "calls/run=999" in first["customhouse-left"]
    assert first["customhouse-left"] == again["customhouse-left"]


@pytest.mark.parametrize("name", ["cut", "garbled"])
async def test_a_stream_that_breaks_is_told_and_charged_for_what_came(
    client: openai.AsyncOpenAI, running: GatewayProcess, name: str
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=name, messages=SAID, stream=True
    )
    told: list[Any] = []

    async def listen() -> None:
        async for chunk in raw.parse():
            told.append(chunk.choices[0].delta.content)  # noqa: PERF401 - kept when it breaks

    with pytest.raises(openai.APIError) as broken:
        await listen()
    assert told == list(WORDS[:2])
    assert str(broken.value.code).startswith("upstream_")
    outcome = entries(running, raw.headers["customhouse-call"])["outcome"]
    prompt = -(-len(SAID[0]["content"]) // 4)
    assert outcome["used"]["tokens"] == prompt + -(-len("".join(told)) // 4)


async def test_a_provider_that_says_too_little_is_charged_by_our_count_and_the_entry_says_so(
    client: openai.AsyncOpenAI, running: GatewayProcess
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="liar", messages=SAID)
    outcome = entries(running, raw.headers["customhouse-call"])["outcome"]
    assert (outcome["code"], outcome["said"]) == ("underreported", [1, 1])
    counted = -(-len(SAID[0]["content"]) // 4) + -(-len(ANSWER) // 4)
    assert outcome["used"]["tokens"] == counted


async def test_a_provider_that_says_nothing_is_charged_by_our_count(
    client: openai.AsyncOpenAI, running: GatewayProcess
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="mute", messages=SAID)
    outcome = entries(running, raw.headers["customhouse-call"])["outcome"]
    assert outcome.get("code", "") == ""
    assert outcome["used"]["tokens"] == -(-len(SAID[0]["content"]) // 4) + -(-len(ANSWER) // 4)


async def test_a_providers_own_no_reaches_the_client_as_its_own_kind_of_error(
    running: GatewayProcess,
) -> None:
    async with client_of(running).with_options(max_retries=0) as client:
        with pytest.raises(openai.RateLimitError, match="busy today"):
            await client.chat.completions.create(model="busy", messages=SAID)
        with pytest.raises(openai.BadRequestError, match="choosy today"):
            await client.chat.completions.create(model="choosy", messages=SAID)


async def test_killed_in_the_middle_of_a_stream_it_is_charged_in_full_and_the_log_verifies(
    provider: Provider, tmp_path: Path
) -> None:
    config = write(tmp_path, provider.url)
    process = GatewayProcess(config, {"PROVIDER_KEY": SECRET})
    await asyncio.to_thread(process.start)
    try:
        async with client_of(process).with_options(max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="endless", messages=SAID, stream=True, max_tokens=300
            )
            call_id = raw.headers["customhouse-call"]

            async def listen() -> None:
                async for _ in raw.parse():
                    process.process.kill()

            with anyio.fail_after(10), pytest.raises(openai.APIConnectionError):
                await listen()
        await asyncio.to_thread(process.wait)
        assert "outcome" not in entries(process, call_id)
        again = GatewayProcess(config, {"PROVIDER_KEY": SECRET})
        await asyncio.to_thread(again.start)
        await asyncio.to_thread(again.stop)
    finally:
        if process.process.poll() is None:
            process.kill()
    said = entries(process, call_id)
    assert (said["outcome"]["status"], said["outcome"]["by"]) == ("unknown", "recovery")
    assert said["outcome"]["used"] == said["intent"]["hold"]
    code, out, err = await asyncio.to_thread(
        customhouse, "audit", "verify", "--config", str(config)
    )
    assert code == 0, (out, err)
