"""What was kept of a task is there after a restart, for its owner only; an edit opens nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app.clock import wall_us
from gateway.app.house import House, open_house
from gateway.config import load
from gateway.domain.peer_task import Owner, PeerTask, Taken
from gateway.store.peer_tasks import PeerTasks
from tests.fakes import ALICE

pytestmark = pytest.mark.anyio
HERS, HIS = Owner.of(ALICE), Owner.of(replace(ALICE, subject="bob"))
TASK = PeerTask(
    "cht-1",
    "billing",
    "t-1",
    "chc-1",
    "c-1",
    HERS,
    "quote",
    "v1",
    "CALL",
    "TASK_STATE_WORKING",
    1,
    1,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "customhouse.toml").write_text('data_dir = "data"\nkeys_dir = "keys"\n')
    return tmp_path


@asynccontextmanager
async def books(folder: Path) -> AsyncIterator[tuple[House, PeerTasks]]:
    async with open_house(load(folder / "customhouse.toml", {}), {}) as house:
        yield house, PeerTasks(house.readers, house.ledger, house.house_keys.state, wall_us)


async def test_a_task_is_its_owners_also_after_a_restart(folder: Path) -> None:
    async with books(folder) as (_, book):
        await book.remember(TASK)
        noted = await book.note(TASK, "TASK_STATE_COMPLETED")
    async with books(folder) as (_, book):
        assert await book.find("cht-1", HERS) == noted
        assert await book.find("cht-1", HIS) is None
        assert await book.among(("cht-1", "cht-2"), HERS) == {"cht-1": noted}
        assert await book.count(HERS, "billing", "", frozenset()) == 1
        assert await book.count(HERS, "billing", "", frozenset({"TASK_STATE_FAILED"})) == 0
        assert await book.called("billing", "t-1", HERS) == noted
        assert await book.called("other", "t-1", HERS) is None
        with pytest.raises(Taken):
            await book.called("billing", "t-1", HIS)


async def test_after_a_clean_end_the_file_alone_is_the_whole_log(folder: Path) -> None:
    async with books(folder) as (house, book):
        await book.remember(TASK)
        assert await book.find("cht-1", HERS) == TASK
    assert not house.database.with_name(house.database.name + "-wal").exists()


async def test_what_a_peer_calls_so_is_one_owners_whoever_is_told_of_it_later(folder: Path) -> None:
    async with books(folder) as (house, book):
        await book.remember(TASK)
        await book.remember(replace(TASK, id="cht-9", owner=HIS))
        assert await book.find("cht-9", HIS) is None
        assert await book.find("cht-1", HERS) == TASK
        assert not house.ledger.log.closed


@pytest.mark.parametrize(
    ("column", "value"),
    [("skill", "refund"), ("upstream_id", "t-2"), ("peer", "other"), ("state", "x"), ("seal", b"")],
)
async def test_a_row_that_somebody_has_edited_is_no_row(
    folder: Path, column: str, value: object
) -> None:
    async with books(folder) as (house, book):
        await book.remember(TASK)
        database = house.database
    connection = sqlite3.connect(database)
    connection.execute(f"UPDATE peer_tasks SET {column} = ?", (value,))  # noqa: S608 - a constant
    connection.commit()
    connection.close()
    async with books(folder) as (_, book):
        assert await book.find("cht-1", HERS) is None


async def test_with_another_key_what_was_begun_before_is_nobodys(folder: Path) -> None:
    async with books(folder) as (_, book):
        await book.remember(TASK)
        book.reseal(bytes(32))
        assert await book.find("cht-1", HERS) is None
