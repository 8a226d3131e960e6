"""What was withdrawn stays withdrawn in the log that begins anew, whatever the old one has become."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.domain.model import Approval, Kind
from gateway.domain.revocation import EVERYBODYS, all_tokens, one_token
from gateway.store import withdrawals
from gateway.store.identity import declared_key_id, key_digest
from tests.cli.fixtures import AMOUNT, CLERK, copied, silence
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio
REOPEN = ("audit", "reopen", "--accept-loss", "--yes")
CLERK_KEY = "chk_agent_0123456789abcdefghijklmnopqrstuvwxy"
AIDE_KEY = "chk_aide_0123456789abcdefghijklmnopqrstuvwxyz"
ENVIRON = {"CLERK_KEY": CLERK_KEY, "AIDE_KEY": AIDE_KEY}
CONFIG = """
[servers.shelf]
command = {command}
approve = "first-seen"
[agents.clara]
key = "env:CLERK_KEY"
[agents.aide]
key = "env:AIDE_KEY"
[issuers.corp]
url = "https://corp.example"
roles = {{"scope:pay" = "clerk"}}
"""


@pytest.fixture(scope="module")
def withdrawn_once(
    busy_once: Household, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Household]:
    """A house in which something of every kind was withdrawn, and that then lost a key."""
    home = copied(busy_once, tmp_path_factory.mktemp("withdrawn"))
    with pytest.MonkeyPatch.context() as patched, silence():
        for name, key in ENVIRON.items():
            patched.setenv(name, key)
        home.write(CONFIG.format(command=json.dumps(home.shelf)))
        home.policy(CLERK)
        home.lists(tool("pay", "pays twice", AMOUNT), tool("fail"))  # another one than before
        home.do("server", "test", "shelf")
        home.do("token", "revoke", "corp/thief", "--reason", "stolen")
        home.do("token", "revoke", "--jti", "corp/3f2a")
        home.do("agent", "disable", "clara", "--reason", "stolen key")
        (aides,) = home.ask("key", "list", "aide")
        home.do("key", "revoke", aides["id"])
        home.do("server", "suspend", "shelf")
        (home.folder / "keys" / "state.key").unlink()
        yield home


@pytest.fixture
def withdrawn(withdrawn_once: Household, tmp_path: Path) -> Household:
    home = copied(withdrawn_once, tmp_path)
    home.environ |= ENVIRON
    return home


def names_of(house: House) -> set[str]:
    keys = (CLERK_KEY, AIDE_KEY)
    let_in = (house.identity.authenticate(key, wall_us()) for key in keys)
    return {who.subject for who in let_in if who}


async def test_what_was_withdrawn_stays_so(withdrawn: Household) -> None:
    began_us = wall_us()
    done = await anyio.to_thread.run_sync(withdrawn.ask, *REOPEN)
    assert done["withdrawn"] == {"agents": 1, "keys": 3, "servers": 1, "definitions": 1}
    assert done["unread"] == []
    async with withdrawn.open() as (house, desk):
        assert names_of(house) == set()
        assert house.identity.agents["clara"].disabled
        assert "shelf" in house.registry.suspended
        for key_id in (all_tokens("corp/thief"), one_token("corp", "3f2a"), EVERYBODYS):
            assert house.identity.revoked_us(key_id) >= began_us
        # First sight approves what it never saw, and not what was waiting for a person.
        await desk.operate("op", "server.resume", {"name": "shelf"})
        await desk.operate("op", "server.test", {"name": "shelf"})
        pins = house.registry.pins
        assert pins["shelf", Kind.TOOL, "pay"].approval is Approval.QUARANTINED
        assert pins["shelf", Kind.TOOL, "fail"].approval is Approval.APPROVED
        await desk.operate("op", "agent.enable", {"name": "clara"})
        assert names_of(house) == {"clara"}
    rows = await anyio.to_thread.run_sync(
        withdrawn.ask, "audit", "query", "kind:change", "--payloads"
    )
    taken_over = [row for row in rows if row.get("note_opened", "").startswith("taken over from")]
    assert len(taken_over) == 1 + 6
    assert (await anyio.to_thread.run_sync(withdrawn.ask, "audit", "verify"))["clean"]


async def test_of_a_log_that_is_gone_every_token_is_refused_and_that_is_said(
    withdrawn: Household,
) -> None:
    for path in (withdrawn.folder / "data").glob("customhouse.db*"):
        path.unlink()
    began_us = wall_us()
    result = await anyio.to_thread.run_sync(withdrawn.run, *REOPEN)
    assert result.exit_code == 0, result.output
    assert "agents, keys, servers, definitions cannot be read" in result.stderr
    assert "every token that was issued until now is refused" in result.stderr
    assert "is not known" in result.stderr
    async with withdrawn.open() as (house, _):
        assert house.identity.revoked_us(EVERYBODYS) >= began_us
        assert house.identity.keys[EVERYBODYS].is_good(wall_us()) is False
        assert house.identity.authenticate(EVERYBODYS, wall_us()) is None


async def test_rows_that_somebody_wrote_open_nothing_and_keep_nothing_closed(
    withdrawn: Household,
) -> None:
    """Whoever can write the old database can shut doors by it, and no more."""
    with closing(sqlite3.connect(withdrawn.database)) as connection, connection:
        connection.executescript("""
            INSERT INTO agents VALUES ('intruder','registry','default','','["clerk"]','',0);
            INSERT INTO agents VALUES (x'ff00','config','default','','[]','',1);
            INSERT INTO keys VALUES ('tokens:all','intruder',x'00','token',0,0,1);
            INSERT INTO keys VALUES ('config:clara:01010101','clara',x'01','config',0,0,1);
            INSERT INTO keys VALUES ('chk','intruder',x'02','registry',0,0,0);
            INSERT INTO servers VALUES ('evil','registry','{}',1);
            INSERT INTO definitions VALUES ('shelf','devil','x','','','proposed','','','',0);
            INSERT INTO definitions
                VALUES ('shelf','tool','torn','f',x'7b5b','quarantined','','a',x'7b7d',0);
        """)
        # It would take the place of the row that keeps everybody's tokens out.
        everybodys = key_digest(EVERYBODYS)
        crafted = (declared_key_id("clara", everybodys), "clara", everybodys, "config", 0, 0, 1)
        connection.execute("INSERT INTO keys VALUES (?,?,?,?,?,?,?)", crafted)
    done = await anyio.to_thread.run_sync(withdrawn.ask, *REOPEN)
    assert done["withdrawn"] == {"agents": 1, "keys": 3, "servers": 1, "definitions": 2}
    async with withdrawn.open() as (house, _):
        assert "intruder" not in house.identity.agents
        assert "evil" not in house.servers
        assert house.identity.revoked_us(EVERYBODYS)
        torn = house.registry.pins["shelf", Kind.TOOL, "torn"]
        assert (torn.approval, torn.approved_digest) == (Approval.QUARANTINED, "")
    assert (await anyio.to_thread.run_sync(withdrawn.ask, "audit", "verify"))["clean"]


def test_a_table_that_breaks_off_gives_what_could_be_read(
    withdrawn: Household, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(withdrawn.database)) as connection, connection:
        connection.execute("DROP TABLE servers")
        # Text that is none ends the reading of its table.
        connection.execute("INSERT INTO keys VALUES (CAST(x'7aff' AS TEXT),'',x'00','token',0,0,1)")
    found = withdrawals.withdrawn(withdrawn.database, 1)
    assert found.unread == ("keys", "servers")
    assert found.counts == {"agents": 1, "keys": 3, "definitions": 1}
    assert withdrawals.withdrawn(tmp_path / "none.db", 1).found == ()
