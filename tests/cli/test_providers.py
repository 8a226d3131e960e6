"""What is said of a model's provider is what it was asked, and answered: by commands and by doctor."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest

from tests.cli.household import Household
from tests.servers.provider import Provider

pytestmark = pytest.mark.anyio
SECRET = "sk-of-the-provider-0123456789"


def declared(home: Household, url: str) -> None:
    home.write(f'[models.gpt]\nurl = "{url}"\nauth = "env:PROVIDER_KEY"\nmodel = {{ id = "m" }}\n')
    home.environ["PROVIDER_KEY"] = SECRET


async def row(home: Household) -> tuple[str, str]:
    (one,) = json.loads(await anyio.to_thread.run_sync(home.do, "server", "list", "--json"))
    return one["state"], one["failure"]


async def doctor(home: Household) -> list[dict[str, Any]]:
    said = await anyio.to_thread.run_sync(home.run, "doctor", "--json")
    return [one for one in json.loads(said.stdout) if one["id"] in ("servers", "models")]


async def test_a_model_is_not_said_to_serve_before_its_provider_was_asked(home: Household) -> None:
    async with Provider() as provider:
        declared(home, provider.url)
        async with home.served() as house:
            await house.discovery.try_refresh("gpt")
            assert await row(home) == ("not asked", "")
            assert [one["what"] for one in await doctor(home)] == [
                "0 servers, none failed its last look",
                "not asked since the gateway runs: gpt; ask: customhouse server test NAME",
            ]
            done = await anyio.to_thread.run_sync(home.run, "server", "test", "gpt")
            assert done.exit_code == 0
            assert f"asked was: GET {provider.url}/models" in done.stderr
            assert "its provider answers HTTP 200" in done.stderr
            assert await row(home) == ("serving", "")
            assert (await doctor(home))[-1]["what"] == "reached when they were asked last: gpt"


async def test_a_provider_that_is_gone_is_exit_5_and_unreachable(home: Household) -> None:
    async with Provider() as provider:
        declared(home, provider.url)
    async with home.served():
        no = await anyio.to_thread.run_sync(home.refusal, "server", "test", "gpt")
        assert no["exit_code"] == 5
        assert no["what"].startswith("model gpt: cannot connect to 127.0.0.1:")
        state, failure = await row(home)
        assert (state, failure in no["what"]) == ("unreachable", True)
        (check,) = await doctor(home)
        assert (check["level"], failure in check["what"]) == ("problem", True)


async def test_a_credential_that_is_not_taken_is_told_by_its_reference(home: Household) -> None:
    async with Provider(listing=401) as provider:
        declared(home, provider.url)
        async with home.served():
            no = await anyio.to_thread.run_sync(home.refusal, "server", "test", "gpt")
    assert no["exit_code"] == 5
    assert "the provider does not take the credential (env:PROVIDER_KEY)" in no["what"]
    assert SECRET not in json.dumps(no)


def test_a_missing_credential_is_told_by_its_name_also_where_no_gateway_runs(
    home: Household,
) -> None:
    declared(home, "http://127.0.0.1:9/v1")
    del home.environ["PROVIDER_KEY"]
    no = home.refusal("server", "test", "gpt")
    assert (no["exit_code"], no["what"]) == (5, "model gpt: env:PROVIDER_KEY is not set")


def test_where_no_gateway_runs_nothing_is_said_to_answer(home: Household) -> None:
    declared(home, "http://127.0.0.1:9/v1")
    assert asyncio.run(row(home)) == ("not asked", "")
    assert [one["what"] for one in asyncio.run(doctor(home))] == [
        "0 servers, not asked: no gateway runs",
        "not asked: gpt; ask: customhouse server test NAME",
    ]
