"""The ground gives way: no policy, a folder that turns read-only, a log that was shortened."""

import os
import shutil
import sqlite3
from pathlib import Path

import httpx2
import pytest

from tests.attacks.conftest import KEYS, POLICY
from tests.journey.process import ROOT, GatewayProcess, customhouse, gateway, headers, modern

pytestmark = pytest.mark.slow

CONFIG = """
listen = "127.0.0.1:0"
[servers.desk]
python = "python:tests.attacks.desk"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:KEY_TESTER"
"""
ENVIRON = {"KEY_TESTER": KEYS["tester"], "PYTHONPATH": str(ROOT)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    policies = tmp_path / "policies"
    policies.mkdir()
    shutil.copy(ROOT / "policies" / "model.conf", policies)
    (policies / "policy.csv").write_text(POLICY)
    (tmp_path / "customhouse.toml").write_text(CONFIG)
    return tmp_path / "customhouse.toml"


def call(url: str) -> httpx2.Response:
    body = modern("tools/call", {"name": "desk_echo", "arguments": {"text": "hello"}})
    said = headers("tools/call", "desk_echo", KEYS["tester"])
    return httpx2.post(f"{url}/mcp", content=body, headers=said, timeout=20)


def refused_start(config: Path) -> tuple[int, str]:
    code, _said, complaint = customhouse("serve", "--config", str(config), environ=ENVIRON)
    return code, complaint


@pytest.mark.parametrize("policy", ["", "# nothing\n", "p, caller, default, tool/*, call\n"])
def test_an_empty_or_broken_policy_is_never_loaded(config: Path, policy: str) -> None:
    (config.parent / "policies" / "policy.csv").write_text(policy)
    code, complaint = refused_start(config)
    assert code == 3
    assert "fix:" in complaint


def test_without_a_policy_folder_everything_is_denied(config: Path) -> None:
    shutil.rmtree(config.parent / "policies")
    with gateway(config, ENVIRON) as running:
        assert call(running.url).json()["error"]["code"] == -32602


def test_a_failing_case_keeps_the_policy_out(config: Path) -> None:
    cases = config.parent / "policies" / "cases"
    cases.mkdir()
    (cases / "wrong.toml").write_text(
        '[[case]]\nname = "nobody calls"\nagent = "tester"\nobject = "tool/desk/echo"\n'
        'act = "call"\nexpect = "deny"\n'
    )
    code, complaint = refused_start(config)
    assert code == 3
    assert "nobody calls" in complaint


def test_a_log_cut_short_is_not_taken_up(config: Path) -> None:
    with gateway(config, ENVIRON) as running:
        assert call(running.url).status_code == 200
    data = config.parent / "data"
    before = config.parent / "before"
    shutil.copytree(data, before)
    with gateway(config, ENVIRON) as running:
        assert call(running.url).status_code == 200
    shutil.rmtree(data)
    before.rename(data)
    code, complaint = refused_start(config)
    assert code == 3
    assert "were published" in complaint


def test_a_missing_key_beside_a_log_is_not_made_again(config: Path) -> None:
    with gateway(config, ENVIRON):
        pass
    (config.parent / "keys" / "log.ed25519").unlink()
    code, complaint = refused_start(config)
    assert code == 3
    assert "restore it" in complaint
    assert not (config.parent / "keys" / "log.ed25519").exists()


def test_a_log_that_cannot_be_written_calls_nothing_and_stays_up(config: Path) -> None:
    with gateway(config, ENVIRON) as running:
        assert call(running.url).status_code == 200
        # What a disk that fails looks like to SQLite: its next write hits a table it cannot use.
        database = config.parent / "data" / "customhouse.db"
        sabotage(database)
        refused = call(running.url)
        assert refused.status_code == 503
        assert httpx2.get(f"{running.url}/livez").status_code == 200
        assert httpx2.get(f"{running.url}/readyz").status_code == 503


def sabotage(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute(
        "CREATE TRIGGER no_space BEFORE INSERT ON entries"
        " BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    )
    connection.commit()
    connection.close()


def test_a_second_gateway_on_the_same_folder_is_refused(config: Path) -> None:
    with gateway(config, ENVIRON):
        code, complaint = refused_start(config)
    assert code in (3, 6)
    assert "owns" in complaint


def test_the_data_and_keys_are_for_their_owner_only(config: Path) -> None:
    with gateway(config, ENVIRON):
        folder = config.parent
        for path in (folder / "data", folder / "keys"):
            assert path.stat().st_mode & 0o077 == 0
        assert (folder / "data" / "admin.sock").stat().st_mode & 0o077 == 0
        for path in (folder / "keys").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_no_child_outlives_a_gateway_that_was_killed(config: Path) -> None:
    running = GatewayProcess(config, ENVIRON).start()
    assert call(running.url).status_code == 200
    children = children_of(running.process.pid)
    assert children
    running.kill()
    with gateway(config, ENVIRON) as again:
        assert call(again.url).status_code == 200
        assert not [pid for pid in children if is_alive(pid)]


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
