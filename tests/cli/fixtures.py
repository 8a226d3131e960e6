"""Fixtures of the household, for the command line and for the operations behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from gateway.store import engine
from tests.cli.household import Household


def _drop(_logger: Any, _name: str, _event: Any) -> NoReturn:
    raise structlog.DropEvent


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Drop what the house logs; configured here, a command does not do it for the whole process."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("blank") / engine.DATABASE
    engine.prepare(path)
    return path


@pytest.fixture
def home(tmp_path: Path, blank: Path) -> Household:
    household = Household(tmp_path)
    household.write()
    household.database.parent.mkdir(mode=0o700)
    shutil.copyfile(blank, household.database)
    household.database.chmod(0o600)
    return household
