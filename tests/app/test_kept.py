"""Results that answer twice: who gets them, for how long, and what the log and the budget say of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app.house import House
from gateway.app.operations.administration import Administration
from gateway.audit import entry as entries
from gateway.domain.model import KEPT
from gateway.store import engine
from gateway.upstream import kept
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio
AUTHOR = "uid:1000 ann"
ALLOW = "p, clerk, default, tool/shelf/*, call, -, allow"
READS = {"annotations": {"readOnlyHint": True}}


@asynccontextmanager
async def shop(
    home: Household, *rules: str, **table: Any
) -> AsyncIterator[tuple[House, Administration]]:
    """ann and bob are clerks, eve is one by a rule of her own; `look` only reads, `pay` does not."""
    home.policy(ALLOW, *rules, "p, eve, default, tool/shelf/look, call, -, allow")
    home.lists({**tool("look"), **READS}, tool("pay"))
    async with home.open() as (house, desk):
        for name, roles in (("ann", ["clerk"]), ("bob", ["clerk"]), ("eve", [])):
            await desk.operate(AUTHOR, "agent.add", {"name": name, "roles": roles})
        given = {"command": [*home.shelf, str(home.folder / "calls")], "approve": "first-seen"}
        given |= {"cache": 60, "price": 7} | table
        await desk.operate(AUTHOR, "server.add", {"name": "shelf", "table": given})
        await desk.operate(AUTHOR, "server.test", {"name": "shelf"})
        yield house, desk


async def call(desk: Administration, agent: str, arguments: str = "{}", name: str = "look") -> Any:
    args = {"agent": agent, "server": "shelf", "name": name, "arguments": arguments}
    done = await desk.operate(AUTHOR, "tool.call", args)
    assert done["status"] == "ok", done
    return done


async def approve(house: House, desk: Administration) -> None:
    [look] = [d for d in house.registry.catalogue.definitions if d.name == "look"]
    seen = {"server": "shelf", "name": "look", "digest": look.digest}
    await desk.operate(AUTHOR, "tool.approve", seen)


def calls(home: Household) -> int:
    path = home.folder / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


async def test_an_equal_call_of_an_equal_caller_is_answered_without_the_server(
    home: Household,
) -> None:
    async with shop(home) as (house, desk):
        first = await call(desk, "ann", '{"a": 1, "b": 2}')
        again = await call(desk, "bob", '{"b":2,"a":1}')
        assert calls(home) == 1
        assert again["result"] == first["result"]
        assert (first["code"], again["code"]) == ("", KEPT)
        with engine.reading(house.database) as connection:
            [(body,)] = connection.execute("SELECT body FROM entries ORDER BY idx DESC LIMIT 1")
        outcome = entries.decode(body)
        assert isinstance(outcome, entries.Outcome)
        assert outcome.code == KEPT


async def test_it_costs_the_tokens_that_are_read_and_no_price(home: Household) -> None:
    async with shop(home) as (_house, desk):
        first, again = await call(desk, "ann"), await call(desk, "ann")
        assert first["charged"]["cost"] == 7
        assert again["charged"]["cost"] == 0
        assert again["charged"]["calls"] == 1
        assert 0 < again["charged"]["tokens"] <= first["charged"]["tokens"]


@pytest.mark.parametrize(
    ("agent", "arguments", "name"),
    [
        pytest.param("eve", "{}", "look", id="one with other rights"),
        pytest.param("bob", '{"a": 1}', "look", id="other arguments"),
        pytest.param("ann", "{}", "pay", id="a tool that does not only read"),
    ],
)
async def test_everything_else_is_asked_again(
    home: Household, agent: str, arguments: str, name: str
) -> None:
    async with shop(home) as (_house, desk):
        await call(desk, "ann", "{}", name)
        await call(desk, agent, arguments, name)
        assert calls(home) == 2


async def test_without_the_setting_nothing_is_kept(home: Household) -> None:
    async with shop(home, cache={"other_*": 60}) as (_house, desk):
        await call(desk, "ann")
        await call(desk, "ann")
        assert calls(home) == 2


async def test_a_result_is_kept_no_longer_than_it_may(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(kept, "monotonic", lambda: now_s)
    async with shop(home) as (_house, desk):
        await call(desk, "ann")
        now_s += 59.9
        await call(desk, "ann")
        assert calls(home) == 1
        now_s += 0.2
        await call(desk, "ann")
        assert calls(home) == 2


async def test_another_policy_forgets_what_was_kept(home: Household) -> None:
    async with shop(home) as (_, desk):
        await call(desk, "ann")
        home.policy(ALLOW, "p, nobody, default, tool/shelf/look, call, -, allow")
        await desk.operate(AUTHOR, "policy.apply", {})
        await call(desk, "ann")
        assert calls(home) == 2


async def test_a_definition_that_changed_is_asked_again_once_it_is_approved(
    home: Household,
) -> None:
    async with shop(home) as (house, desk):
        await call(desk, "ann")
        home.lists({**tool("look", "says more now"), **READS})
        await desk.operate(AUTHOR, "server.test", {"name": "shelf"})
        refused = await desk.operate(
            AUTHOR, "tool.call", {"agent": "ann", "server": "shelf", "name": "look"}
        )
        assert refused["status"] == "refused"  # quarantined: what was kept answers nobody
        await approve(house, desk)
        await call(desk, "ann")
        assert calls(home) == 2


Deed = Callable[[Household, House, Administration], Awaitable[None]]


def done(*operations: str, **more: Any) -> Deed:
    async def deed(_home: Household, _house: House, desk: Administration) -> None:
        for operation in operations:
            await desk.operate(AUTHOR, operation, {"name": "shelf", **more})

    return deed


async def replaced(home: Household, house: House, desk: Administration) -> None:
    await done("server.remove")(home, house, desk)
    table = {"command": [*home.shelf, str(home.folder / "calls")], "approve": "first-seen"}
    await desk.operate(AUTHOR, "server.add", {"name": "shelf", "table": {**table, "cache": 60}})
    await done("server.test")(home, house, desk)
    await approve(house, desk)


async def quarantined(home: Household, house: House, desk: Administration) -> None:
    """Approved, changed, and back: what is listed in the end is what was approved before."""
    for description in ("says more now", ""):
        home.lists({**tool("look", description), **READS}, tool("pay"))
        await done("server.test")(home, house, desk)


CHANGES: dict[str, Deed] = {
    "begun anew": done("server.restart"),
    "taken away and back": replaced,
    "suspended for a while": done("server.suspend", "server.resume"),
    "quarantined for a while, with a tool that changed": quarantined,
}


@pytest.mark.parametrize("deed", CHANGES.values(), ids=CHANGES.keys())
async def test_what_a_server_said_before_is_not_answered_when_it_was(
    home: Household, deed: Deed
) -> None:
    async with shop(home) as (house, desk):
        await call(desk, "ann")
        await deed(home, house, desk)
        await call(desk, "ann")
        assert calls(home) == 2
        await call(desk, "bob")
        assert calls(home) == 2


async def test_what_another_server_is_changes_nothing(home: Household) -> None:
    async with shop(home) as (_house, desk):
        await call(desk, "ann")
        table = {"command": home.shelf, "prefix": "other"}
        await desk.operate(AUTHOR, "server.add", {"name": "attic", "table": table})
        await desk.operate(AUTHOR, "server.restart", {"name": "attic"})
        await call(desk, "ann")
        assert calls(home) == 1


async def test_a_failure_is_not_kept(home: Household) -> None:
    async with shop(home) as (_house, desk):
        home.lists({**tool("fail"), **READS})
        await desk.operate(AUTHOR, "server.test", {"name": "shelf"})
        args = {"agent": "ann", "server": "shelf", "name": "fail"}
        for _ in range(2):
            assert (await desk.operate(AUTHOR, "tool.call", args))["status"] == "tool_error"
        assert calls(home) == 2


async def test_what_is_kept_is_bounded(home: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT_BYTES", 3 * 600)
    async with shop(home) as (house, desk):
        for number in range(5):
            await call(desk, "ann", json.dumps({"number": number}))
        assert house.upstreams.kept._size_bytes <= 3 * 600
        await call(desk, "ann", '{"number": 4}')
        assert calls(home) == 5  # the newest is still there
        await call(desk, "ann", '{"number": 0}')
        assert calls(home) == 6  # the oldest is not


async def test_what_was_erased_is_not_answered_again(home: Household) -> None:
    async with shop(home) as (_house, desk):
        first = await call(desk, "ann")
        await desk.operate(AUTHOR, "audit.erase", {"call": first["call"]})
        await call(desk, "ann")
        assert calls(home) == 2
