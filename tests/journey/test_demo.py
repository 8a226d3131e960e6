"""The demo as a newcomer meets it: one command, a story, and a log that was put to the test."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.journey.process import ROOT

pytestmark = pytest.mark.slow

END_S = 60.0  # what the demo promises
GRACE_S = 30.0


def demo(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "demo", "--folder", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )


def left_running(folder: Path) -> list[str]:
    """Command lines of processes that were started for *folder*."""
    config = tomllib.loads((folder / "customhouse.toml").read_text())
    scribe = f"agents.apps.scribe {urlsplit(config['models']['scribe']['url']).port} "
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone meanwhile
        if str(folder) in line or scribe in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "demo"


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    process = demo(folder)
    out, err = process.communicate(timeout=END_S + GRACE_S)
    assert process.returncode == 0, f"{err}\n{out}"
    return out


@pytest.mark.parametrize(
    "said",
    [
        'time_get_current_time(timezone="Europe/Vienna")  ->  allowed',
        "refused: unknown_object",
        "refused: denied",
        "refused: invalid_scope",
        'desk_slow_report(topic="lamps")  ->  refused: unknown_object',
        "Level: grant. Meter: calls.",
        "actors: report-bot",
        "refused: approval_needed",
        "is approved: the call passes when it is repeated",
        'desk_send_again(order="A-17")  ->  allowed',
        "model scribe(",
        "refused: loop",
        "refused: run_stopped",
        "5 calls, 2 refused",
        "by 2 agents; stopped",
        "refused: rate_limited",
        "refused: over_budget",
        "given up",
        "verified: nothing is wrong",
        "one byte of one entry changed              found: altered",
        "one entry removed                          found: removed",
        "two entries swapped                        found:",
        "cut off                 found: truncated",
        "two names swapped in the table of names    found: renamed",
        "set back to an earlier state     found: truncated",
        "audit query agent:dev-bot",
    ],
)
def test_the_story_shows_every_kind_of_answer_and_every_falsification(told: str, said: str) -> None:
    assert said in told


def test_the_story_is_plain_text_when_nobody_looks(told: str) -> None:
    assert "\x1b" not in told


def test_the_demo_leaves_its_folder_and_no_process(told: str, folder: Path) -> None:
    assert told
    assert (folder / "data" / "customhouse.db").is_file()
    assert left_running(folder) == []


def test_nothing_of_a_key_is_in_the_story_or_in_the_gateways_log(told: str, folder: Path) -> None:
    lines = (folder / "keys.env").read_text().splitlines()
    keys = [line.partition("=")[2] for line in lines]
    log = (folder / "gateway.log").read_text()
    assert len(keys) == 4
    assert not [key for key in keys if key in told or key in log]


def test_the_commands_that_the_demo_names_at_the_end_work(told: str, folder: Path) -> None:
    assert told
    environ = {**os.environ, "CUSTOMHOUSE_CONFIG": str(folder / "customhouse.toml")}
    for arguments in (
        ("audit", "query", "agent:dev-bot"),
        ("budget", "show"),
        ("run", "show", "the-broken-lamp"),
        ("policy", "explain", "dev-bot", "tool/git/git_reset"),
        ("policy", "test"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_a_demo_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = demo(folder)
    assert process.stdout is not None
    for line in process.stdout:
        if "Allowed calls" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=GRACE_S)
    assert process.returncode == 130
    assert left_running(folder) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    process = demo(tmp_path)
    _, err = process.communicate(timeout=GRACE_S)
    assert process.returncode == 6
    assert "--folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
