"""A full disk: nothing more is admitted, what was admitted settles, and both end when there is room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from gateway.app.ballast import Ballast
from gateway.app.operations import calls
from gateway.app.operations.args import Args
from gateway.app.serve import look_at_disk
from gateway.domain.model import Call, Outcome, Status
from gateway.domain.refusal import DISK_LOW, Refused
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
FLOOR, SIZE = 4 << 20, 1 << 20  # whole blocks, as the disk counts them


class Disk:
    """As large as a test says; the ballast takes its room like any file."""

    def __init__(self, folder: Path, left: int) -> None:
        self.folder = folder
        self.left = left

    def __call__(self, _folder: Path) -> int:
        files = [path for path in self.folder.glob("ballast*") if path.exists()]
        return self.left - sum(path.stat().st_blocks * 512 for path in files)


def ballast_on(folder: Path, left: int) -> tuple[Ballast, Disk]:
    disk = Disk(folder, left)
    return Ballast(folder, FLOOR, SIZE, disk), disk


def test_a_ballast_takes_room_and_is_not_only_as_long(tmp_path: Path) -> None:
    ballast, disk = ballast_on(tmp_path, 10 << 20)
    assert ballast.tend(full=False)
    assert ballast.path.stat().st_size == SIZE
    assert disk(tmp_path) <= (10 << 20) - SIZE
    assert ballast.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("left", "admits", "is_there"),
    [
        pytest.param(FLOOR + 2 * SIZE, True, True, id="room"),
        pytest.param(FLOOR + SIZE - 1, False, True, id="below the floor it is kept"),
        pytest.param(2 * SIZE - 1, False, False, id="the last room: it is given up"),
        pytest.param(0, False, False, id="none"),
    ],
)
def test_the_disk_gets_full(tmp_path: Path, left: int, admits: bool, is_there: bool) -> None:
    ballast, disk = ballast_on(tmp_path, 10 << 20)
    ballast.tend(full=False)
    disk.left = left
    assert ballast.tend(full=False) is admits
    assert ballast.path.exists() is is_there


def test_it_is_made_again_only_when_it_does_not_cost_the_floor(tmp_path: Path) -> None:
    ballast, disk = ballast_on(tmp_path, FLOOR + SIZE - 1)
    assert ballast.tend(full=False)
    assert not ballast.path.exists()
    disk.left = FLOOR + SIZE
    assert ballast.tend(full=False)
    assert ballast.path.exists()
    assert ballast.tend(full=False)  # and it admits all the same


def test_a_commit_that_found_no_room_releases_it_whatever_the_disk_says(tmp_path: Path) -> None:
    ballast, _ = ballast_on(tmp_path, 10 << 20)  # as with quotas
    ballast.tend(full=False)
    ballast.tend(full=True)
    assert not ballast.path.exists()
    ballast.tend(full=True)
    assert not ballast.path.exists()


def test_a_disk_that_cannot_hold_it_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    ballast, _ = ballast_on(tmp_path, 10 << 20)
    assert ballast.tend(full=False)
    assert not ballast.path.exists()


def call_of(house: Any) -> Call:
    args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *_ARGS)
    return calls._call(house, calls._principal(house, "bot", "op"), args)


_ARGS = ("server", "name", "arguments")


async def test_what_was_admitted_settles_and_nothing_more_is_admitted(busy: Household) -> None:
    async with busy.open() as (house, _):
        disk = Disk(house.config.data_dir, 10 << 20)
        ballast = Ballast(house.config.data_dir, FLOOR, SIZE, disk)
        await look_at_disk(house, ballast)
        call = call_of(house)
        permit = await house.ledger.hold(call, house.policies.decide(call))
        disk.left = SIZE
        await look_at_disk(house, ballast)
        assert not house.is_ready()
        assert not ballast.path.exists()
        before = house.ledger.log.next_leaf
        for _ in range(20):
            refused = call_of(house)
            with pytest.raises(Refused) as no:
                await house.ledger.hold(refused, house.policies.decide(refused))
            assert no.value.refusal is DISK_LOW
        assert house.ledger.log.next_leaf == before  # folded: refusals must not fill the disk
        await house.ledger.settle(permit, Outcome(Status.OK, result=b"{}"))
        disk.left = 10 << 20
        await look_at_disk(house, ballast)
        assert house.is_ready()
        assert ballast.path.exists()
        again = call_of(house)
        permit = await house.ledger.hold(again, house.policies.decide(again))
        await house.ledger.settle(permit, Outcome(Status.OK, result=b"{}"))
    (folded,) = await anyio.to_thread.run_sync(busy.ask, "audit", "query", "kind:folded")
    assert (folded["codes"], folded["agent"]) == ({"disk_low": 20}, "bot")
    assert (await anyio.to_thread.run_sync(busy.ask, "audit", "verify"))["clean"]


class FullDisk:
    """A real connection on a disk without room, until the ballast is gone."""

    def __init__(self, connection: Any, ballast: Ballast) -> None:
        self.connection = connection
        self.ballast = ballast

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> Any:
        if statement == "COMMIT" and self.ballast.path.exists():
            raise OSError(errno.ENOSPC, "no space left on device")
        return self.connection.execute(statement, values)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


async def test_an_outcome_that_found_no_room_is_written_once_the_ballast_is_gone(
    busy: Household,
) -> None:
    async with busy.open() as (house, _):
        ballast = Ballast(house.config.data_dir, FLOOR, SIZE, lambda _: 10 << 20)
        await look_at_disk(house, ballast)
        call = call_of(house)
        permit = await house.ledger.hold(call, house.policies.decide(call))
        house.writer._connection = cast(Any, FullDisk(house.writer._connection, ballast))
        async with anyio.create_task_group() as group:
            settled = anyio.Event()

            async def settle() -> None:
                await house.ledger.settle(permit, Outcome(Status.OK, result=b"{}"))
                settled.set()

            group.start_soon(settle)
            with anyio.fail_after(10):
                while not settled.is_set():
                    await look_at_disk(house, ballast)
                    await anyio.sleep(0.01)
        await look_at_disk(house, ballast)
        assert house.is_ready()
    report = await anyio.to_thread.run_sync(busy.ask, "audit", "verify")
    assert (report["clean"], report["in_flight"]) == (True, 0)
