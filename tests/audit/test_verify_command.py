"""The verifier as a command: exit status, words, JSON, and how little it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.findings import MEANING, Code
from gateway.audit.verify import main
from tests.audit.logbook import SIGNER, ordinary_log, tampering

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    book = ordinary_log()
    book.save(tmp_path / "customhouse.db")
    (tmp_path / "log.vkey").write_text(f"{SIGNER.vkey}\n")
    (tmp_path / "checkpoint").write_bytes(book.note())
    return tmp_path


def run(folder: Path, *more: str) -> int:
    return main([str(folder / "customhouse.db"), str(folder / "log.vkey"), *more])


def test_a_clean_log_ends_with_status_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--at-least", str(folder / "checkpoint")) == 0
    said = capsys.readouterr().out
    assert "40 entries, 5 signed checkpoints compared, 1 calls in flight" in said
    assert said.endswith("verified: nothing is wrong\n")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        pytest.param(
            "UPDATE entries SET body = replace(body, '\"k1\"', '\"k2\"') WHERE idx = 12",
            Code.ALTERED,
            id="one byte changed",
        ),
        pytest.param("DELETE FROM entries WHERE idx = 19", Code.REMOVED, id="one entry removed"),
        pytest.param(
            "UPDATE entries SET idx = -1 WHERE idx = 18; UPDATE entries SET idx = 18 "
            "WHERE idx = 19; UPDATE entries SET idx = 19 WHERE idx = -1",
            Code.REORDERED,
            id="two entries swapped",
        ),
        pytest.param("DELETE FROM entries WHERE idx > 35", Code.TRUNCATED, id="the tail cut"),
    ],
)
def test_each_tampering_ends_with_status_1_and_a_message_of_its_own(
    statement: str, code: Code, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tampering(folder / "customhouse.db") as db:
        db.executescript(statement)
    assert run(folder) == 1
    said = capsys.readouterr().out
    assert f"{code} (" in said
    assert MEANING[code] in said
    assert said.endswith("NOT verified\n")


def test_json_says_the_same_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tampering(folder / "customhouse.db") as db:
        db.execute("DELETE FROM entries WHERE idx = 19")
    assert run(folder, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] is False
    assert report["counts"] == {"removed": 1}
    assert report["findings"] == [
        {"code": "removed", "leaf": 19, "sentence": "entry 19 is missing"}
    ]


@pytest.mark.parametrize("missing", ["customhouse.db", "log.vkey", "checkpoint"])
def test_what_cannot_be_read_ends_with_status_3(
    missing: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / missing).unlink()
    assert run(folder, "--at-least", str(folder / "checkpoint")) == 3
    assert missing in capsys.readouterr().err


def test_a_key_file_that_holds_no_key_ends_with_status_3(folder: Path) -> None:
    (folder / "log.vkey").write_text("secret")
    assert run(folder) == 3


def test_wrong_usage_ends_with_status_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--no-such-option"])


def test_every_code_has_a_meaning() -> None:
    assert set(MEANING) == set(Code)


def test_the_verifier_runs_with_the_standard_library_and_cryptography_alone(folder: Path) -> None:
    program = f"""
import sys
at_start = set(sys.modules)  # what this Python brings along by itself
from gateway.audit.verify import main
from gateway.audit import proof
status = main([{str(folder / "customhouse.db")!r}, {str(folder / "log.vkey")!r}])
tops = {{name.partition(".")[0] for name in set(sys.modules) - at_start if not name.startswith("_")}}
foreign = tops - set(sys.stdlib_module_names) - {{"gateway", "cryptography", "cffi"}}
print(sorted(foreign), status)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[] 0"


def test_the_verifier_is_a_module_to_run(folder: Path) -> None:
    with tampering(folder / "customhouse.db") as db:
        db.execute("DELETE FROM entries WHERE idx = 39")
    command = [sys.executable, "-m", "gateway.audit.verify", "customhouse.db", "log.vkey"]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "the last 1 were cut off" in ran.stdout
    assert ran.stderr == ""
