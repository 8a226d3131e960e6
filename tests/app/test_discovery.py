"""Looks at a server that says very much, very often: bounded in entries, rows and pins."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from gateway.app.house import House
from gateway.app.operations.administration import Administration
from gateway.audit import entry as entries
from gateway.domain.definition import Listed, canonical
from gateway.domain.model import Approval, Kind
from gateway.jobs.discover import MAX_ENTRIES, Discovery
from gateway.store.pins import Terms
from gateway.store.registry import MAX_PINS
from gateway.upstream.catalogue import Upstreams
from gateway.upstream.listing import Introduction, Listing
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio


@dataclass
class Says:
    """A server's lists, as the upstream room would bring them."""

    tools: Sequence[str] = ()
    odd: bytes = b""  # what it says of the tool "odd", if it says anything
    looks: int = 0
    looked: anyio.Event = field(default_factory=anyio.Event)

    async def list_definitions(self, server: str) -> Listing:
        self.looks += 1
        self.looked.set()
        found = (Listed(Kind.TOOL, name, canonical(tool(name))) for name in self.tools)
        odd = (Listed(Kind.TOOL, "odd", self.odd),) if self.odd else ()
        return Listing(Introduction("2026-07-28", None), (*found, *odd))


@asynccontextmanager
async def talking(
    home: Household, *, first_seen: bool = True
) -> AsyncIterator[tuple[House, Discovery, Says]]:
    async with home.open() as (house, _):
        house.registry.add_server("desk", Terms("desk", first_seen))
        says = Says()
        yield house, Discovery(cast(Upstreams, says), house.registry, house.ledger), says


def changes(home: Household, what: str) -> list[entries.Change]:
    with closing(sqlite3.connect(home.database)) as connection:
        query = "SELECT body FROM entries WHERE kind = 'change' ORDER BY idx"
        found: list[Any] = [entries.decode(body) for (body,) in connection.execute(query)]
    return [entry for entry in found if entry.what == what]


def rows(home: Household) -> int:
    with closing(sqlite3.connect(home.database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM definitions").fetchone()
    return int(count)


async def test_a_few_sightings_are_an_entry_each(home: Household) -> None:
    async with talking(home) as (_, discovery, says):
        says.tools = ("add", "sub")
        assert len(await discovery.refresh("desk")) == 2
    assert len(changes(home, "definition.seen")) == 2
    assert changes(home, "definition.many") == []


async def test_a_definition_that_cannot_be_read_is_quarantined_and_disturbs_nobody_else(
    home: Household,
) -> None:
    async with talking(home) as (house, discovery, says):
        says.tools = ("add",)
        for digit in (b"1", b"2"):
            says.odd = b'{"name":"odd","description":"x","n":' + digit * 5_000 + b"}"
            [*_, sighting] = await discovery.refresh("desk")
            assert sighting.pin.approval is Approval.QUARANTINED
            assert sighting.pin.reason == "the definition is not strict JSON"
        assert await discovery.refresh("desk") == []
        assert [one.name for one in house.registry.catalogue.listing(Kind.TOOL)] == ["add"]
    async with home.open() as (house, _):
        pins = sorted(house.registry.pins.values(), key=lambda pin: pin.place)
        assert [pin.approval for pin in pins] == [Approval.APPROVED, Approval.QUARANTINED]


async def test_very_many_sightings_are_few_entries_that_stand_behind_each_row(
    home: Household,
) -> None:
    count = 3 * MAX_ENTRIES
    async with talking(home) as (house, discovery, says):
        says.tools = [f"t{n}" for n in range(count)]
        assert len(await discovery.refresh("desk")) == count
        assert len(house.registry.catalogue.listing(Kind.TOOL, "desk")) == count
        assert await discovery.refresh("desk") == []
    many = changes(home, "definition.many")
    assert len(many) == 2
    assert sum(len(entry.rows) for entry in many) == rows(home) == count
    async with home.open() as (house, _):
        assert len(house.registry.pins) == count


async def test_new_names_with_every_look_fill_neither_memory_nor_disk(home: Household) -> None:
    async with talking(home, first_seen=False) as (house, discovery, says):
        for turn in "abcd":
            says.tools = [f"{turn}x{n}" for n in range(1500)]
            await discovery.refresh("desk")
            assert len(house.registry.pins) <= MAX_PINS
    assert rows(home) <= MAX_PINS
    # What nobody approved opens nothing: the log need not stand behind each of them.
    assert [entry.rows for entry in changes(home, "definition.many")] == [{}] * len(
        changes(home, "definition.many")
    )


async def test_what_is_beyond_the_bound_is_said_once(home: Household) -> None:
    async with talking(home) as (_, discovery, says):
        says.tools = [f"t{n}" for n in range(MAX_PINS + 10)]
        await discovery.refresh("desk")
        await discovery.refresh("desk")
        assert len(changes(home, "definition.refused")) == 1
        says.tools = [*says.tools, "one_more"]
        await discovery.refresh("desk")
        assert len(changes(home, "definition.refused")) == 2


async def test_a_change_after_quiet_is_looked_at_at_once_and_the_next_is_not(
    home: Household,
) -> None:
    async with talking(home) as (house, discovery, says):
        house.registry.suspended.update(set(house.registry.terms) - {"desk"})
        async with anyio.create_task_group() as jobs:
            jobs.start_soon(discovery.run)
            with anyio.fail_after(5):
                await says.looked.wait()  # the round
                says.looked = anyio.Event()
                says.tools = ("add",)
                discovery.notice("desk")
                await says.looked.wait()  # at its word
            looks = says.looks
            for _ in range(20):
                discovery.notice("desk")
                await anyio.lowlevel.checkpoint()
            assert says.looks == looks
            jobs.cancel_scope.cancel()


async def test_a_server_with_very_many_approved_tools_can_be_removed(shelf: Household) -> None:
    count = MAX_PINS
    async with talking(shelf) as (house, discovery, says):
        house.registry.add_server("shelf", Terms("shelf", first_seen=True))
        says.tools = [f"t{n}" for n in range(count - len(house.registry.pins))]
        await discovery.refresh("shelf")
        removed = await Administration(house).operate("uid:0", "server.remove", {"name": "shelf"})
        assert removed["dropped"] == count
        assert "shelf" not in house.registry.terms
    async with shelf.open() as (house, _):
        assert "shelf" not in house.servers
        assert not any(
            pin.approved_body not in (b"", b"{}") for pin in house.registry.pins.values()
        )
