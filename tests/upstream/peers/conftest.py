"""One agent for all tests of the connector."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.agent import Agent, serving


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop is enough: the connections are those of test_http.py, which runs on both."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def running() -> Iterator[Agent]:
    with serving(Agent()) as agent:
        yield agent


@pytest.fixture
def agent(running: Agent) -> Agent:
    running.told.clear()
    running.asked.clear()
    running.served, running.moved = None, ""
    return running
