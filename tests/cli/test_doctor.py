"""One look at everything: what is wrong is found by its name, with why it matters and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from gateway.app.operations import doctor
from tests.cli.household import Household

pytestmark = pytest.mark.anyio


def looked(home: Household) -> dict[str, dict[str, Any]]:
    """The worst that was found of each thing."""
    order = ["ok", "warning", "problem"]
    worst: dict[str, dict[str, Any]] = {}
    for check in json.loads(home.run("doctor", "--json").stdout):
        known = worst.get(check["id"], {"level": "ok"})
        if order.index(check["level"]) >= order.index(known["level"]):
            worst[check["id"]] = check
    return worst


def levels(home: Household) -> dict[str, str]:
    return {check_id: check["level"] for check_id, check in looked(home).items()}


def test_a_house_in_order_has_no_problem(busy: Household) -> None:
    result = busy.run("doctor")
    assert result.exit_code == 0, result.output
    found = levels(busy)
    assert set(found) == {
        *("folders", "secrets", "keys", "log", "checkpoint", "clock", "policy", "agents"),
        *("budgets", "stops", "exposure", "servers", "disk", "fsync", "sqlite"),
    }
    assert {level for check_id, level in found.items() if check_id not in ("disk", "fsync")} == {
        "ok",
        "warning",
    }
    assert found["agents"] == "warning"  # nobody has a key


def keys_open(home: Household) -> None:
    (home.folder / "keys").chmod(0o750)


def policy_writable(home: Household) -> None:
    (home.folder / "policies").chmod(0o777)


def key_file_open(home: Household) -> None:
    (home.folder / "keys" / "payload.kek").chmod(0o644)


def key_lost(home: Household) -> None:
    (home.folder / "keys" / "log.ed25519").unlink()


def vkey_exchanged(home: Household) -> None:
    (home.folder / "keys" / "log.vkey").write_text("another\n")


def checkpoint_of_another(home: Household) -> None:
    path = home.folder / "keys" / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n9", 1))


def head_cut(home: Household) -> None:
    import sqlite3

    connection = sqlite3.connect(home.database)
    with connection:
        connection.execute("UPDATE head SET size = size - 1")
    connection.close()


def policy_broken(home: Household) -> None:
    (home.folder / "policies" / "policy.csv").write_text("p, clerk, default\n")


def listens_everywhere(home: Household) -> None:
    file = home.folder / "customhouse.toml"
    file.write_text(file.read_text().replace("127.0.0.1:0", "0.0.0.0:8080"))


def program_missing(home: Household) -> None:
    file = home.folder / "customhouse.toml"
    file.write_text(file.read_text() + '\n[servers.gone]\ncommand = ["no-such-program"]\n')


def secret_missing(home: Household) -> None:
    file = home.folder / "customhouse.toml"
    more = '\n[servers.web]\nurl = "https://example.com/mcp"\nauth = "env:NO_SUCH_VARIABLE"\n'
    file.write_text(file.read_text() + more)


@pytest.mark.parametrize(
    ("spoil", "check_id"),
    [
        (keys_open, "folders"),
        (policy_writable, "folders"),
        (key_file_open, "folders"),
        (key_lost, "keys"),
        (vkey_exchanged, "keys"),
        (checkpoint_of_another, "log"),
        (head_cut, "log"),
        (policy_broken, "policy"),
        (listens_everywhere, "exposure"),
        (program_missing, "servers"),
        (secret_missing, "secrets"),
    ],
)
def test_each_thing_that_is_wrong_is_a_problem_of_its_name(
    busy: Household, spoil: Callable[[Household], None], check_id: str
) -> None:
    spoil(busy)
    check = looked(busy)[check_id]
    assert check["level"] == "problem"
    assert all(check[key] for key in ("what", "why", "fix"))
    result = busy.run("doctor")
    assert result.exit_code == 1
    assert f"problem  {check_id}: " in result.stdout


def test_looking_changes_nothing(busy: Household) -> None:
    key_lost(busy)
    before = {path: path.read_bytes() for path in (busy.folder / "keys").iterdir()}
    busy.run("doctor")
    assert {path: path.read_bytes() for path in (busy.folder / "keys").iterdir()} == before


def test_before_the_first_start_there_is_no_log_and_it_says_so(home: Household) -> None:
    found = looked(home)
    assert found["policy"]["level"] in ("ok", "warning")
    assert found["exposure"]["level"] == "ok"


def test_a_policy_that_was_not_applied_is_worth_a_look(busy: Household) -> None:
    busy.policy("p, clerk, default, tool/shelf/pay, call, -, allow")
    assert looked(busy)["policy"]["level"] == "warning"


def test_agents_without_a_key_and_agents_that_never_called_are_told_apart(busy: Household) -> None:
    busy.do("agent", "add", "idle")
    busy.do("key", "issue", "idle")
    said = [c["what"] for c in json.loads(busy.do("doctor", "--json")) if c["id"] == "agents"]
    assert said == ["without a key that is good: bot, guest", "never called: idle"]


def test_a_clock_behind_the_log_and_a_slow_or_full_disk_are_found(
    busy: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.doctor.now_us", lambda: 1_600_000_000_000_000)
    monkeypatch.setattr(doctor, "free_bytes", lambda _: 1_000_000)
    monkeypatch.setattr(doctor, "SLOW_FSYNC_MS", -1.0)
    found = levels(busy)
    assert (found["clock"], found["disk"], found["fsync"]) == ("problem", "problem", "warning")


async def test_a_running_gateway_is_asked_about_its_servers(busy: Household) -> None:
    async with busy.served() as house:
        house.discovery.failures["shelf"] = "it ended"
        found = await anyio.to_thread.run_sync(looked, busy)
        assert (found["servers"]["level"], "it ended" in found["servers"]["what"]) == (
            "problem",
            True,
        )
        assert found["log"]["level"] == "ok"
        house.discovery.failures.clear()
        assert (await anyio.to_thread.run_sync(levels, busy))["servers"] == "ok"


async def test_a_running_gateway_is_asked_for_its_secrets_and_not_the_shell(
    busy: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = busy.folder / "customhouse.toml"
    more = '\n[agents.filed]\nkey = "env:FILED_KEY"\n[servers.web]\n'
    more += 'url = "https://127.0.0.1:9/mcp"\nauth = "env:WEB_KEY"\n'
    file.write_text(file.read_text() + more)
    busy.environ |= {"FILED_KEY": "0123456789abcdefghijABCDEFGHIJ-key", "WEB_KEY": "web"}
    async with busy.served() as house:
        kept, busy.environ = busy.environ, {}
        assert (await anyio.to_thread.run_sync(levels, busy))["secrets"] == "ok"
        monkeypatch.setattr(house, "environ", {"FILED_KEY": kept["FILED_KEY"]})
        check = (await anyio.to_thread.run_sync(looked, busy))["secrets"]
        assert (check["level"], check["what"]) == (
            "problem",
            "server web: env:WEB_KEY is not set",
        )
    assert looked(busy)["secrets"]["what"].startswith("agent filed: env:FILED_KEY is not set")


def test_a_rotation_that_was_cut_short_is_worth_a_look(busy: Household) -> None:
    (busy.folder / "keys" / "log.ed25519.next").write_bytes(b"half")
    (busy.folder / "keys" / "log.ed25519.next").chmod(0o600)
    assert looked(busy)["keys"]["level"] == "warning"
    assert (busy.folder / "keys" / "log.ed25519.next").exists()
