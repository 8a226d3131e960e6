"""What is in deploy/ is what its linters, the gateway and systemd say is right."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from gateway.config import load
from gateway.policy.load import load as load_policy
from tests.journey.process import GatewayProcess

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = "customhouse.service"
MAX_EXPOSURE = 2.5
PROGRAM = "/opt/customhouse/bin/customhouse"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def ran(*command: str, cwd: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_container_file_passes_its_linter() -> None:
    linted = ran(str(Path(sys.executable).parent / "hadolint"), "Containerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_composition_fits_the_compose_specification() -> None:
    checker = str(Path(sys.executable).parent / "check-jsonschema")
    checked = ran(checker, "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert checked.returncode == 0, checked.stdout


def test_the_last_stage_of_the_image_is_not_root_and_stops_by_draining() -> None:
    stage = (DEPLOY / "Containerfile").read_text().rsplit("\nFROM ", 1)[1]
    [user] = re.findall(r"^USER (\d+):\d+$", stage, re.MULTILINE)
    assert int(user) > 0
    assert "STOPSIGNAL SIGTERM" in stage
    composed = (DEPLOY / "compose.yaml").read_text()
    assert composed.count("read_only: true") == composed.count("cap_drop: [ALL]") == 2


@needs_systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = (DEPLOY / UNIT).read_text()
    assert f"ExecStart={PROGRAM} serve" in unit
    (tmp_path / UNIT).write_text(unit.replace(PROGRAM, sys.executable))  # one that is there
    verified = ran("systemd-analyze", "verify", f"./{UNIT}", cwd=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_unit_leaves_the_service_little_to_reach() -> None:
    said = ran("systemd-analyze", "security", "--offline=true", f"./{UNIT}")
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert float(exposure) <= MAX_EXPOSURE


def test_after_installing_commands_and_the_unit_mean_the_same_house(tmp_path: Path) -> None:
    unit, runbook = (DEPLOY / UNIT).read_text(), (DEPLOY / "RUNBOOK.md").read_text()
    assert "Environment=" not in unit
    assert "mkdir /etc/customhouse && cd /etc/customhouse && customhouse init\n" in runbook
    [edit] = re.findall(r"^    (sed .*)$", runbook, re.MULTILINE)
    customhouse = str(Path(sys.executable).parent / "customhouse")
    assert ran(customhouse, "init", cwd=tmp_path).returncode == 0
    assert ran("sh", "-c", edit, cwd=tmp_path).returncode == 0
    config = load(tmp_path / "customhouse.toml", {})
    folders = [str(config.data_dir), str(config.keys_dir)]
    assert folders == ["/var/lib/customhouse", "/var/lib/customhouse-keys"]
    [made] = re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
    assert [f"/var/lib/{name}" for name in made.split()] == folders
    assert f"ln -s {PROGRAM} /usr/local/bin/" in runbook


def test_the_runbook_names_whose_tokens_are_revoked_as_the_command_does() -> None:
    said = ran(str(Path(sys.executable).parent / "customhouse"), "token", "revoke", "--help")
    assert "ISSUER/SUBJECT" in said.stdout
    assert "customhouse token revoke ISSUER/SUBJECT " in (DEPLOY / "RUNBOOK.md").read_text()


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE))


def test_the_image_is_built_from_the_versions_that_were_tested() -> None:
    image, tested = pins(DEPLOY / "requirements.lock"), pins(ROOT / "requirements.lock")
    assert image
    assert {name: tested.get(name) for name in image} == image
    assert not {"pytest", "mypy", "hypothesis"} & image.keys()


def test_the_configuration_of_the_composition_would_start_and_its_cases_pass() -> None:
    config = load(DEPLOY / "etc" / "customhouse.toml", {"CUSTOMHOUSE__LISTEN": "0.0.0.0:8080"})
    assert config.agents["scraper"].key == "file:/run/secrets/scraper_key"
    assert load_policy(DEPLOY / "etc" / "policies", ()).snapshot.version


@pytest.mark.slow
def test_prometheus_is_answered_as_the_composition_lets_it_ask(tmp_path: Path) -> None:
    key = tmp_path / "scraper.key"
    key.write_text(secrets.token_urlsafe(32))
    key.chmod(0o600)
    gateway = GatewayProcess(
        DEPLOY / "etc" / "customhouse.toml",
        {
            "CUSTOMHOUSE__LISTEN": "127.0.0.1:0",
            "CUSTOMHOUSE__DATA_DIR": str(tmp_path / "data"),
            "CUSTOMHOUSE__KEYS_DIR": str(tmp_path / "keys"),
            "CUSTOMHOUSE__POLICIES": str(DEPLOY / "etc" / "policies"),
            "CUSTOMHOUSE__AGENTS__SCRAPER__KEY": f"file:{key}",
        },
    ).start()
    try:
        headers = {"Host": "customhouse:8080", "Authorization": f"Bearer {key.read_text()}"}
        scraped = httpx2.get(f"{gateway.url}/metrics", headers=headers)
        assert scraped.status_code == 200
        assert "customhouse_log_entries" in scraped.text
        stranger = httpx2.get(f"{gateway.url}/metrics", headers={"Host": "customhouse:8080"})
        assert stranger.status_code == 401
    finally:
        gateway.process.terminate()
        assert gateway.wait() == 0


def test_the_first_key_is_made_once_and_not_shown(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "first-keys.sh", tmp_path)
    first = ran("sh", "first-keys.sh", cwd=tmp_path)
    key = (tmp_path / "secrets" / "scraper.key").read_text()
    assert len(key) >= 32
    assert key not in first.stdout + first.stderr
    assert ran("sh", "first-keys.sh", cwd=tmp_path).returncode == 0
    assert (tmp_path / "secrets" / "scraper.key").read_text() == key
