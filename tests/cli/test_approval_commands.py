"""customhouse approval: list, show, approve, deny, watch, over the socket of a gateway that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync

from gateway.edge import admin
from tests.app.counsel import Counsel, anyio_backend, counsel, once, own, passed, refusal_of
from tests.cli.household import Household, listens

__all__ = ["anyio_backend", "counsel", "once", "own"]  # fixtures
pytestmark = pytest.mark.anyio


@pytest.fixture
async def served(counsel: Counsel) -> AsyncIterator[Counsel]:
    """The house with its operator's socket."""
    path = counsel.home.folder / "data" / admin.SOCKET
    serving = asyncio.create_task(admin.serve(path, counsel.desk.operate))
    with anyio.fail_after(5):
        while not listens(path):
            await anyio.lowlevel.checkpoint()
    yield counsel
    serving.cancel()
    await asyncio.wait([serving])


async def done(work: Callable[..., Any], *arguments: str) -> Any:
    return await run_sync(lambda: work(*arguments))


async def test_what_waits_is_listed_shown_and_approved(served: Counsel) -> None:
    home = served.home
    assert (await done(home.run, "approval", "list")).exit_code == 1
    approval = await served.asked(note="\x1b[2Jhi", amount=1.50)
    [row] = await done(home.ask, "approval", "list")
    assert (row["approval"], row["state"], row["agent"]) == (approval, "waiting", "bot")
    shown = await done(home.do, "approval", "show", approval)
    assert "\x1b" not in shown
    assert '"note": "\\u001b[2Jhi"' in shown
    assert "because: policy.csv:2: p, clerk, *, tool/shelf/pay, call, approval:boss" in shown
    assert served.changes()[-1][0] == "audit.payload_read"
    said = await done(home.do, "approval", "approve", approval, "--yes", "--reason", "due")
    assert f"{approval} is approved" in said
    assert (await done(home.run, "approval", "list")).exit_code == 1
    assert (await done(home.run, "approval", "list", "--all")).exit_code == 0
    assert passed(await served.call(note="\x1b[2Jhi", amount=1.50))


async def test_a_person_sees_it_before_being_asked(served: Counsel) -> None:
    approval = await served.asked(note="of-the-island")
    result = await done(served.home.run, "approval", "approve", approval)
    assert result.exit_code == 2
    assert "of-the-island" in result.stdout
    assert "nobody is there to ask" in result.stderr


async def test_what_is_denied_is_told_to_the_caller(served: Counsel) -> None:
    approval = await served.asked(amount=1)
    command = ("approval", "deny", approval, "--yes", "--reason", "not now")
    assert "is denied" in await done(served.home.do, *command)
    assert "not now" in (await served.call(amount=1)).result["content"][0]["text"]


async def test_for_a_run_a_number_of_calls_is_said(served: Counsel) -> None:
    approval = refusal_of(await served.call(run="run-00001", amount=1))["approval"]
    for options in (["--for-run"], ["--calls", "2"], ["--for-run", "--calls", "0"]):
        words = ("approval", "approve", approval, "--yes", *options)
        assert (await done(served.home.run, *words)).exit_code == 2
    words = ("approval", "approve", approval, "--yes", "--for-run", "--calls", "2")
    await done(served.home.do, *words)
    for amount in (2, 3):
        assert passed(await served.call(run="run-00001", amount=amount))
    assert not passed(await served.call(run="run-00001", amount=4))


async def test_watching_shows_each_once_as_it_comes(served: Counsel) -> None:
    first = await served.asked(amount=1)
    lines: list[str] = []

    async def watch() -> None:
        said = await done(served.home.do, "approval", "watch", "--most", "2", "--json")
        lines.extend(json.loads(line)["approval"] for line in said.splitlines())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            second = await served.asked(amount=2)
    assert lines == [first, second]


async def test_two_persons_are_told_to_be_two(served: Counsel) -> None:
    approval = await served.asked("bot", "move", amount=1)
    said = await done(served.home.do, "approval", "approve", approval, "--yes")
    assert "takes another person: boss+auditor" in said
    again = await done(served.home.refusal, "approval", "approve", approval, "--yes")
    assert again["exit_code"] == 4


async def test_what_is_not_there_is_a_clean_no(served: Counsel) -> None:
    for command in ("show", "approve", "deny"):
        options = [] if command == "show" else ["--yes"]
        no = await done(served.home.refusal, "approval", command, "A-00000000", *options)
        assert no["exit_code"] == 1


def test_without_a_gateway_nothing_waits_and_nothing_is_approved(own: Household) -> None:
    for words in (["list"], ["show", "A-00000000"], ["approve", "A-00000000", "--yes"]):
        assert own.refusal("approval", *words)["exit_code"] == 5
