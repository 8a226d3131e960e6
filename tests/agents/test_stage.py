import stat
import subprocess
from pathlib import Path

import pytest

from agents.apps.demo.stage import KEY_VARIABLES, NotOurs, make
from gateway.config import agent_keys, load
from gateway.policy.load import load as load_policy


def test_the_demo_configures_a_gateway_on_loopback_with_a_key_for_each_agent(
    tmp_path: Path,
) -> None:
    stage = make(tmp_path / "demo")
    config = load(stage.config, {})
    assert config.listen.is_loopback
    assert agent_keys(config, stage.environ) == stage.keys
    assert set(config.servers) == {"time", "git", "desk"}
    assert set(config.models) == {"scribe"}
    assert not config.warnings


def test_the_demo_plays_under_the_policies_of_the_repository(tmp_path: Path) -> None:
    stage = make(tmp_path / "demo")
    assert load_policy(stage.folder / "policies", ()).snapshot.version


def test_keys_are_different_in_every_run_and_only_their_owner_can_read_them(
    tmp_path: Path,
) -> None:
    first, second = make(tmp_path / "demo").keys, make(tmp_path / "demo")
    assert not set(first.values()) & set(second.keys.values())
    file = second.folder / "keys.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = subprocess.run(
        ["sh", "-c", f". {file} && printf %s $DEV_BOT_KEY"],
        capture_output=True,
        check=True,
        timeout=10,
    )
    assert said.stdout.decode() == second.environ[KEY_VARIABLES["dev-bot"]]


def test_the_repository_is_the_same_in_every_run(tmp_path: Path) -> None:
    heads = [
        subprocess.run(
            ["git", "-C", make(tmp_path / name).repository, "rev-parse", "HEAD"],
            capture_output=True,
            check=True,
            timeout=10,
        ).stdout
        for name in ("one", "two")
    ]
    assert heads[0] == heads[1]


def test_a_folder_that_the_demo_did_not_make_is_never_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(NotOurs):
        make(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    old = make(tmp_path / "demo")
    (old.folder / "left.txt").touch()
    make(tmp_path / "demo")
    assert not (old.folder / "left.txt").exists()
