"""Fixtures of the household, for the command line and for the operations behind it.

What takes many commands to build is built once and copied: the settings hold relative paths only.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from gateway.store import engine
from tests.cli.household import Household, tool

AMOUNT = {"type": "object", "properties": {"amount": {"type": "integer"}}}
SECRET = "of-the-island-arguments-are-sealed"
RED = tool("add", "adds \x1b[31mred\x1b[0m")
CLERK = "p, clerk, default, tool/shelf/*, call, -, allow"


def _drop(_logger: Any, _name: str, _event: Any) -> NoReturn:
    raise structlog.DropEvent


@contextmanager
def silence() -> Iterator[None]:
    """Drop what the house logs; configured here, a command does not do it for the whole process."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Household:
    """A house whose database is made and empty: migrations take longer than most tests."""
    home = Household(tmp_path_factory.mktemp("blank"))
    home.write()
    home.database.parent.mkdir(mode=0o700)
    engine.prepare(home.database)
    return home


@pytest.fixture(scope="session")
def busy_once(blank: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = copied(blank, tmp_path_factory.mktemp("busy"))
    home.lists(tool("pay", schema=AMOUNT), tool("fail"))
    home.write(f'[servers.shelf]\ncommand = {json.dumps(home.shelf)}\napprove = "first-seen"\n')
    home.policy(CLERK)
    with silence():
        home.do("server", "test", "shelf")
        home.do("agent", "add", "bot", "--role", "clerk", "--reason", SECRET)
        home.do("agent", "add", "guest")
        arguments = json.dumps({"amount": 1, "x": SECRET})
        home.run("tool", "call", "--as", "bot", "shelf/pay", arguments)
        home.run("tool", "call", "--as", "bot", "shelf/pay", '{"amount":"one"}')
        home.run("tool", "call", "--as", "guest", "shelf/fail")
    return home


@pytest.fixture(scope="session")
def shelf_once(blank: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = copied(blank, tmp_path_factory.mktemp("shelf"))
    home.policy(CLERK)
    home.lists(RED, tool("sub", "subtracts"))
    home.write()
    home.policy(CLERK)
    with silence(), chdir(home.folder):  # where its copies are, too, when they are used
        command = [*home.shelf[:-1], "shelf.json"]
        home.do("server", "add", "shelf", "--tag", "add=math,safe", "--", *command)
    return home


@pytest.fixture
def home(tmp_path: Path, blank: Household) -> Household:
    """A house that was never opened."""
    return copied(blank, tmp_path)


@pytest.fixture
def busy(tmp_path: Path, busy_once: Household) -> Household:
    """A house with a few calls in its log: one answered, one refused, one of another agent."""
    return copied(busy_once, tmp_path)


@pytest.fixture
def shelf(tmp_path: Path, shelf_once: Household, monkeypatch: pytest.MonkeyPatch) -> Household:
    """A house with one server of two tools, none approved yet, and one with a hidden character."""
    home = copied(shelf_once, tmp_path)
    monkeypatch.chdir(home.folder)
    return home


@pytest.fixture
def person(home: Household, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Household:
    """Somebody with a home and a project, both empty."""
    folder = tmp_path / "home" / "project"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CUSTOMHOUSE_KEY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return home


def copied(home: Household, folder: Path) -> Household:
    shutil.copytree(home.folder, folder, dirs_exist_ok=True)
    return Household(folder)
