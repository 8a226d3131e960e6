"""Stopping from the operator's desk: nobody who stops something waits for somebody who looks."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from gateway.app.operations import stopping
from gateway.store.trail import Trail
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
AUTHOR = "uid:1000 ann"


async def test_everything_is_frozen_while_the_log_is_searched_for_a_run_that_was_stopped(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, frozen = threading.Event(), threading.Event()

    def searched(trail: Trail, run: str) -> bool:
        began.set()
        return frozen.wait(5)

    monkeypatch.setattr(stopping, "knows_run", searched)
    stopped: dict[str, Any] = {}
    async with home.open() as (house, desk):

        async def stop() -> None:
            stopped.update(await desk.operate(AUTHOR, "run.stop", {"run": "nightly-1"}))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(stop)
                assert await anyio.to_thread.run_sync(began.wait, 5)
                assert house.ledger.runs.stopped
                await desk.operate(AUTHOR, "freeze", {})
                frozen.set()
    assert (stopped["changed"], stopped["known"]) == (True, True)
