"""A pseudonym commits to its name: the table of names cannot be turned round unnoticed."""

import sqlite3
from pathlib import Path

import pytest

from gateway.audit.findings import Code
from gateway.audit.pseudonym import pseudonym_of
from gateway.audit.verify import verify_copy
from tests.store.world import ANN, RESULT, World

pytestmark = pytest.mark.anyio


def test_the_id_is_that_of_the_name_and_of_no_other() -> None:
    salt = bytes(range(16))
    assert pseudonym_of(salt, "s", "report-bot") == "sa1e8763a4fc6df51"
    others = {
        pseudonym_of(salt, "s", "report-bo"),
        pseudonym_of(salt, "t", "report-bot"),
        pseudonym_of(bytes(16), "s", "report-bot"),
    }
    assert pseudonym_of(salt, "s", "report-bot") not in others


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pseudonyms SET name = 'somebody-else' WHERE name = 'ann'",
        "UPDATE pseudonyms SET kind = 'x' WHERE name = 'ann'",
        "UPDATE pseudonyms SET salt = zeroblob(16) WHERE name = 'ann'",
    ],
    ids=["another name", "another kind", "another salt"],
)
async def test_giving_what_one_did_to_another_is_found(tmp_path: Path, statement: str) -> None:
    world = World(tmp_path / "customhouse.db")
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        await world.ledger.settle(permit, RESULT)
    assert ANN.subject == "ann"
    assert not verify_copy(world.path, world.vkey).findings
    with sqlite3.connect(world.path) as connection:
        connection.execute(statement)
    connection.close()
    assert [f.code for f in verify_copy(world.path, world.vkey).findings] == [Code.RENAMED]


async def test_an_erased_name_leaves_the_log_whole(tmp_path: Path) -> None:
    world = World(tmp_path / "customhouse.db")
    async with world.open():
        await world.ledger.hold(world.call(), world.allow())
    with sqlite3.connect(world.path) as connection:
        connection.execute("DELETE FROM pseudonyms WHERE name = 'ann'")
    connection.close()
    assert not verify_copy(world.path, world.vkey).findings
