"""An export as a database, changed in what stands beside its records, or with none."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.household import Household
from tests.cli.test_export import EVERYTHING


@pytest.fixture
def exported(busy: Household) -> Path:
    path = busy.folder / "evidence.db"
    busy.do("audit", "export", EVERYTHING, "--format", "sqlite", "--proofs", "--out", str(path))
    return path


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE about SET value = 'forged' WHERE key = 'log'", "altered"),
        ("UPDATE about SET value = 'no' WHERE key = 'proofs'", "altered"),
        ("DELETE FROM about WHERE key = 'query'", "altered"),
        ("INSERT INTO about VALUES ('approved by', 'the auditors')", "altered"),
        ("UPDATE about SET value = 'forged' WHERE key = 'checkpoint'", "not_proved"),
        (
            "UPDATE about SET value = replace(value, '— customhouse/', '— other/')"
            " WHERE key = 'checkpoint'",
            "not_proved",
        ),
    ],
)
def test_what_a_database_says_of_itself_is_what_its_records_prove(
    busy: Household, exported: Path, statement: str, code: str
) -> None:
    with closing(sqlite3.connect(exported)) as connection, connection:
        assert connection.execute(statement).rowcount == 1
    result = busy.run("audit", "verify-export", str(exported), "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["counts"], said["findings"][0]["record"]) == ({code: 1}, 0)
    assert f"{code} (1):\n  about: " in busy.run("audit", "verify-export", str(exported)).stdout


def test_an_older_checkpoint_is_not_that_of_the_records(busy: Household, exported: Path) -> None:
    busy.do("tool", "call", "--as", "bot", "shelf/pay", '{"amount":1}', "--reason", "later")
    later = busy.folder / "later.db"
    busy.do("audit", "export", EVERYTHING, "--format", "sqlite", "--proofs", "--out", str(later))
    with closing(sqlite3.connect(exported)) as connection, connection:
        connection.execute("ATTACH ? AS later", (str(later),))
        connection.execute(
            "UPDATE about SET value = (SELECT value FROM later.about WHERE key = 'checkpoint')"
            " WHERE key = 'checkpoint'"
        )
    result = busy.run("audit", "verify-export", str(exported), "--json")
    assert json.loads(result.stdout)["counts"] == {"another_checkpoint": 1}


def test_it_is_said_that_nobody_signed_what_a_database_answers(
    busy: Household, exported: Path
) -> None:
    everything = "all, since the beginning"
    with closing(sqlite3.connect(exported)) as connection, connection:
        connection.execute("UPDATE about SET value = ? WHERE key = 'query'", (everything,))
    said = busy.ask("audit", "verify-export", str(exported))
    assert (said["clean"], said["unproved"]) == (True, {"query": everything})
    text = busy.do("audit", "verify-export", str(exported))
    assert f"not proved: that it answers '{everything}', and all of it" in text
    lines = busy.folder / "evidence.jsonl"
    busy.do("audit", "export", EVERYTHING, "--proofs", "--out", str(lines))
    assert busy.ask("audit", "verify-export", str(lines))["unproved"] == {}


def test_nothing_exported_and_columns_of_others_are_not_verified(
    busy: Household, exported: Path
) -> None:
    empty = busy.folder / "empty"
    empty.touch()
    assert busy.refusal("audit", "verify-export", str(empty))["exit_code"] == 3
    with closing(sqlite3.connect(exported)) as connection, connection:
        connection.execute("ALTER TABLE records ADD COLUMN approved_by TEXT DEFAULT 'CISO'")
    refused = busy.refusal("audit", "verify-export", str(exported))
    assert (refused["exit_code"], "'approved_by'" in json.dumps(refused)) == (3, True)
