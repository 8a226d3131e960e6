"""A change goes to the server that runs; where none does, the command owns the house for a moment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from gateway.cli import reach
from gateway.edge import admin
from gateway.store import engine
from tests.cli.household import Household, each

pytestmark = pytest.mark.anyio
NOBODY = 65_534
# Everything is imported first: somebody else may not be able to read where Python is installed.
IMPORTED = """
import concurrent.futures.thread, os, sys
import gateway.app.operations.administration, gateway.app.operations.showing, gateway.audit.verify
import gateway.cli.agents, gateway.cli.audit, gateway.cli.faults, gateway.cli.reach
import gateway.app.operations.reading, gateway.app.operations.search
from gateway.cli.main import main
"""
AS_ROOT = IMPORTED + "main(sys.argv[1:])"
AS_NOBODY = (
    IMPORTED
    + f"""
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
main(sys.argv[1:])
"""
)


def kinds(home: Household) -> list[str]:
    with engine.reading(home.database) as connection:
        rows = connection.execute("SELECT kind FROM entries ORDER BY idx").fetchall()
    return [str(kind) for (kind,) in rows]


def test_without_a_server_a_command_opens_and_closes_the_house(home: Household) -> None:
    home.do("agent", "add", "bot")
    assert kinds(home) == ["open", "change", "change", "counters", "close"]
    assert home.ask("audit", "verify")["clean"]


async def test_with_a_server_it_goes_to_the_server(home: Household) -> None:
    async with home.served() as house:
        output = await anyio.to_thread.run_sync(home.do, "agent", "add", "bot")
        assert output == "added agent bot\n"
        assert "bot" in house.identity.agents
        assert kinds(home).count("open") == 1
        # Reads work beside it, on the same folder.
        listed = await anyio.to_thread.run_sync(home.do, "agent", "list")
        assert [row[0] for row in each(listed)] == ["bot"]


async def test_a_servers_refusal_is_the_commands(home: Household) -> None:
    async with home.served():
        error = await anyio.to_thread.run_sync(home.refusal, "key", "issue", "nobody")
        assert (error["exit_code"], error["what"]) == (1, "there is no agent 'nobody'")


async def test_the_same_operator_has_one_name_in_the_log(home: Household) -> None:
    await anyio.to_thread.run_sync(home.do, "agent", "add", "first")
    async with home.served():
        await anyio.to_thread.run_sync(home.do, "agent", "add", "second")
    rows = await anyio.to_thread.run_sync(home.ask, "audit", "query", "what:agent.add")
    assert {row["author"] for row in rows} == {admin.author_of(os.geteuid())}
    assert len(rows) == 2


def test_the_socket_of_a_dead_server_stops_nobody(home: Household) -> None:
    with (
        socket.socket(socket.AF_UNIX) as dead,
        admin.address(home.database.with_name(admin.SOCKET)) as place,
    ):
        dead.bind(place)
    home.do("agent", "add", "bot")
    assert [row["name"] for row in home.ask("agent", "list")] == ["bot"]


def test_a_folder_that_another_process_owns_is_a_conflict(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "BUSY_S", 0.2)
    lock = engine.lock_folder(home.database.parent)
    try:
        error = home.refusal("agent", "add", "bot")
        assert error["exit_code"] == 6
        assert "own" in error["what"]
        home.do("agent", "list")  # reading needs no lock
    finally:
        os.close(lock)


def test_a_server_that_says_nothing_is_unreachable(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "OPERATION_S", 0.1)
    monkeypatch.setattr(reach, "CONNECT_S", 0.1)
    with (
        socket.socket(socket.AF_UNIX) as mute,
        admin.address(home.database.with_name(admin.SOCKET)) as place,
    ):
        mute.bind(place)
        mute.listen()
        assert home.refusal("agent", "add", "bot")["exit_code"] == 5


@pytest.fixture
def among_others(home: Household) -> Iterator[Household]:
    """A house in a folder that anybody may enter: those of the test runner are its owner's alone."""
    home.do("agent", "add", "bot")
    with tempfile.TemporaryDirectory(prefix="customhouse-") as made:
        folder = Path(made)
        shutil.copytree(home.folder, folder, dirs_exist_ok=True)
        folder.chmod(0o755)
        yield Household(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    "arguments", [["agent", "add", "x"], ["agent", "list"], ["audit", "tail"], ["audit", "verify"]]
)
def test_somebody_else_is_told_that_he_is_no_operator(
    among_others: Household, arguments: list[str]
) -> None:
    done = scripted(AS_NOBODY, among_others, *arguments, "--json")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, error["exit_code"]) == (4, 4), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_root_does_leaves_nothing_of_roots_behind(among_others: Household) -> None:
    """A checkpoint that only root can read would keep the gateway from starting again."""
    folders = [among_others.folder / name for name in ("data", "keys")]
    for folder in folders:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    done = scripted(AS_ROOT, among_others, "agent", "add", "second")
    assert done.returncode == 0, done.stderr
    owners = {path.stat().st_uid for folder in folders for path in folder.iterdir()}
    assert owners == {NOBODY}
    rows = among_others.ask("audit", "query", "subject:agent/second")
    assert rows[0]["author"] == admin.author_of(0)


def scripted(script: str, home: Household, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CUSTOMHOUSE_CONFIG": str(home.folder / "customhouse.toml")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
