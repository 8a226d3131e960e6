"""kill -9 of a server in the middle of a call: said at once, never repeated, and over with its return."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from gateway.domain.model import Status
from tests.fakes import border, http_spec, make_call

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the loop of the test says nothing here


@contextmanager
def server(kind: str, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.upstream.older_servers", kind, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with anyio.fail_after(20):
        return (await anyio.to_thread.run_sync(process.stdout.readline)).strip()


@pytest.mark.parametrize("kind", ["streamable", "sse"])
async def test_a_server_that_is_killed_fails_its_calls_at_once_and_may_come_back(kind: str) -> None:
    with server(kind) as first:
        url = await line_of(first)
        async with border(http_spec(url, timeout_s=30.0)) as house:
            assert (await house.call()).status is Status.OK
            under_way = asyncio.create_task(house.call(make_call(name="wait")))
            assert await line_of(first) == "waiting"
            first.kill()
            with anyio.fail_after(3):
                outcome = await under_way
            assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_died")
            assert outcome.sent
            first.wait()
            gone = await house.call()
            assert (gone.code, gone.sent) == ("upstream_unreachable", False)
            with server(kind, urlsplit(url).port or 0) as second:
                assert await line_of(second) == url
                assert (await house.call()).status is Status.OK
