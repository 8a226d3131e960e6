"""A house of the first release, as it lay on disk, opens under this one with nothing lost.

tests/vectors/first-house.json holds its database as SQL, its keys, and the API key of report-bot: two
servers, three agents, two calls and a refusal, an approved and a suspended server.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.app.house import open_house
from gateway.audit.verify import main as verify
from gateway.config import load
from gateway.store import engine, trail

pytestmark = pytest.mark.anyio
FIRST = Path(__file__).parents[1] / "vectors" / "first-house.json"
SETTINGS = 'data_dir = "data"\nkeys_dir = "keys"\n[agents.declared-bot]\nroles = ["reader"]\n'
IN_2026_US = 1_798_700_000_000_000  # while the keys of the first house are good


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    first: dict[str, Any] = json.loads(FIRST.read_text())
    for name in ("data", "keys"):
        (tmp_path / name).mkdir(mode=0o700)
    connection = sqlite3.connect(tmp_path / "data" / engine.DATABASE)
    connection.executescript("\n".join(first["sql"]))
    connection.close()
    for name, content in first["keys"].items():
        (tmp_path / "keys" / name).write_bytes(bytes.fromhex(content))
        (tmp_path / "keys" / name).chmod(0o600)
    (tmp_path / "customhouse.toml").write_text(SETTINGS)
    return tmp_path


async def test_a_first_house_opens_and_knows_its_agents_servers_and_calls(folder: Path) -> None:
    database = folder / "data" / engine.DATABASE
    assert engine.schema_version(database) == "0001"
    key = json.loads(FIRST.read_text())["key"]
    with engine.reading(database) as connection:
        [before] = connection.execute("SELECT COUNT(*) FROM entries").fetchone()

    async with open_house(load(folder / "customhouse.toml", {}), {}) as house:
        assert house.orphans == 0
        principal = house.identity.authenticate(key, IN_2026_US)
        assert principal is not None
        assert principal.subject == "report-bot"
        assert set(house.servers) == {"time"}
        assert house.ledger.log.next_leaf > before

    assert engine.schema_version(database) == engine.SCHEMA_HEAD
    with trail.opened(folder / "data") as read:
        assert read.policy_version()
    assert verify([str(database), str(folder / "keys" / "log.vkey")]) == 0


async def test_opening_it_twice_upgrades_it_once(folder: Path) -> None:
    database = folder / "data" / engine.DATABASE
    engine.prepare(database)
    with engine.reading(database) as connection:
        schema = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    engine.prepare(database)
    with engine.reading(database) as connection:
        assert (
            connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == schema
        )


def test_a_house_of_a_later_release_is_not_touched(folder: Path) -> None:
    database = folder / "data" / engine.DATABASE
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(engine.SchemaUnknown, match="9999"):
        engine.prepare(database)
    assert engine.schema_version(database) == "9999"
