"""Keys are made once; a log that does not continue what was published is not taken up."""

import sqlite3
from pathlib import Path

import pytest

from gateway.audit.rotation import Keys
from gateway.store import engine, keys, recovery
from gateway.store.writer import unseal
from tests.store.world import RESULT, World

pytestmark = pytest.mark.anyio


def test_keys_are_made_for_an_empty_log_only(tmp_path: Path) -> None:
    first = keys.load_or_create(tmp_path / "keys", log_is_empty=True)
    again = keys.load_or_create(tmp_path / "keys", log_is_empty=False)
    assert again.payload == first.payload
    (tmp_path / "keys" / keys.PAYLOAD_KEY).unlink()
    with pytest.raises(keys.KeysMissing, match="restore it"):
        keys.load_or_create(tmp_path / "keys", log_is_empty=False)
    assert not (tmp_path / "keys" / keys.PAYLOAD_KEY).exists()


def test_a_folder_of_keys_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(keys.KeysMissing, match="chmod 700"):
        keys.load_or_create(tmp_path / "keys", log_is_empty=True)


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    engine.lock_folder(tmp_path)
    with pytest.raises(engine.FolderInUse):
        engine.lock_folder(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET at = 0",
        "DELETE FROM entries",
        "INSERT INTO entries VALUES (99, 0, 'x', '', x'00')",
        "INSERT OR REPLACE INTO entries VALUES (0, 0, 'x', '', x'00')",
        "UPDATE OR REPLACE entries SET idx = 1 WHERE idx = 0",
    ],
)
async def test_the_database_itself_refuses_to_rewrite_the_log(
    tmp_path: Path, statement: str
) -> None:
    world = World(tmp_path / "customhouse.db")
    async with world.open():
        await world.ledger.hold(world.call(), world.allow())
    connection = engine.open_writer(world.path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


async def test_arguments_are_sealed_and_open_only_with_the_key(tmp_path: Path) -> None:
    world = World(tmp_path / "customhouse.db")
    async with world.open():
        permit = await world.ledger.hold(world.call(), world.allow())
        await world.ledger.settle(permit, RESULT)
    assert b'{"a":1}' not in world.path.read_bytes()
    with engine.reading(world.path) as connection:
        leaf, nonce, sealed = connection.execute("SELECT * FROM payloads ORDER BY leaf").fetchone()
    assert b'arguments {"a":1}' in unseal(b"\x01" * 32, leaf, nonce, sealed)


async def test_a_log_shorter_than_the_published_one_is_not_taken_up(tmp_path: Path) -> None:
    world = World(tmp_path / "customhouse.db")
    keys_dir = tmp_path / "keys"
    keys_dir.mkdir(mode=0o700)
    async with world.open():
        await world.ledger.hold(world.call(), world.allow())
        before = world.path.read_bytes(), _wal(world).read_bytes()
        await world.ledger.hold(world.call(), world.allow())
        with engine.reading(world.path) as connection:
            note, frontier = connection.execute("SELECT note, frontier FROM head").fetchone()
        recovery.remember(keys_dir, note, frontier)
    with engine.reading(world.path) as connection:
        head = recovery.read_tail(connection).frontier
        recovery.check_remembered(connection, keys_dir, Keys(world.vkey), head)
    world.path.write_bytes(before[0])
    _wal(world).write_bytes(before[1])
    with engine.reading(world.path) as connection:
        head = recovery.read_tail(connection).frontier
        with pytest.raises(recovery.LogShortened, match="3 were published"):
            recovery.check_remembered(connection, keys_dir, Keys(world.vkey), head)


def _wal(world: World) -> Path:
    return world.path.with_name(world.path.name + "-wal")
