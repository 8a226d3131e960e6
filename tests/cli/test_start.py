"""From an empty folder to a running gateway, as a newcomer types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from shutil import copy

import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.cli.starter import ADMIN_ROLES, files
from tests.cli.household import Household

ROOT = Path(__file__).parents[2]


def environ() -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if k != "CUSTOMHOUSE_CONFIG"},
        "PYTHONPATH": str(ROOT),
    }


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        cwd=folder,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def process(folder: Path, *arguments: str, stdout: bool = False) -> Iterator[Running]:
    running = Running(folder, arguments, stdout=stdout)
    try:
        yield running
    finally:
        running.end()


class Running:
    """A command that goes on; its lines come through a queue, so that every wait is bounded."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], *, stdout: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *arguments],
            cwd=folder,
            env=environ(),
            stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if stdout else subprocess.PIPE,
            text=True,
        )
        self.lines: Queue[str] = Queue()
        self._stream = self.process.stdout if stdout else self.process.stderr
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._stream is not None
        for line in self._stream:
            self.lines.put(line.rstrip("\n"))

    def until(self, text: str) -> str:
        """The first line that holds *text*."""
        seen = []
        try:
            while text not in (line := self.lines.get(timeout=30)):
                seen.append(line)
        except Empty:
            raise AssertionError(f"{text!r} did not come, but: {seen}") from None
        return line

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self._reader.join(10)
        assert self._stream is not None
        self._stream.close()
        return code


def test_init_writes_what_the_other_commands_accept(tmp_path: Path) -> None:
    home = Household(tmp_path)
    written = home.ask("init", str(tmp_path))["written"]
    assert written == list(files())
    assert home.do("config", "check").endswith("nothing is wrong\n")
    assert home.run("policy", "test").exit_code == 0


def test_init_overwrites_nothing_and_adds_nothing_to_a_policy_that_is_there(
    tmp_path: Path,
) -> None:
    home = Household(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "customhouse.toml").write_text("# mine\n")
    done = home.ask("init", str(tmp_path))
    assert done["written"] == []
    assert (tmp_path / "customhouse.toml").read_text() == "# mine\n"
    assert list((tmp_path / "policies").iterdir()) == []


def test_init_writes_the_roles_of_the_example_for_those_who_administer(tmp_path: Path) -> None:
    """The same lines as in the example, which its cases judge."""
    home, example = Household(tmp_path), ROOT / "policies"
    home.do("init", "--admin-roles", str(tmp_path))
    assert (tmp_path / "policies" / "policy.csv").read_text().endswith(ADMIN_ROLES)
    assert (example / "policy.csv").read_text().endswith(ADMIN_ROLES)
    copy(example / "cases" / "administration.toml", tmp_path / "policies" / "cases")
    assert home.run("policy", "test").exit_code == 0
    assert home.run("policy", "check").exit_code == 0
    home.do("agent", "add", "ops", "--role", "gateway-operator")
    assert home.do("policy", "can-i", "ops", "admin/servers", "--act", "admin") == "yes\n"
    assert home.run("policy", "can-i", "ops", "admin/policy", "--act", "admin").exit_code == 1


def test_the_roles_are_not_added_to_a_policy_that_is_there(tmp_path: Path) -> None:
    home = Household(tmp_path)
    (tmp_path / "policies").mkdir()
    assert home.refusal("init", "--admin-roles", str(tmp_path))["exit_code"] == 6
    assert [path.name for path in tmp_path.iterdir()] == ["policies"]


def test_init_honours_the_name_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["init", "--config", "sub/foo.toml"])
    assert done.exit_code == 0
    assert (tmp_path / "sub" / "foo.toml").exists()
    assert (tmp_path / "sub" / "policies" / "policy.csv").exists()
    assert not (tmp_path / "customhouse.toml").exists()
    assert "next: customhouse serve --config sub/foo.toml" in done.stderr


def test_what_comes_next_works_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["init", "sub/deeper"])
    assert "next: cd sub/deeper && customhouse serve" in done.stderr


def test_a_command_founds_no_gateway_where_somebody_strayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUSTOMHOUSE_CONFIG", raising=False)
    done = CliRunner().invoke(main, ["agent", "add", "bot"])
    assert done.exit_code == 3
    assert "customhouse init" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_config_show_says_where_each_value_comes_from(home: Household) -> None:
    home.write('[servers.docs]\nurl = "https://docs.example/mcp?key=s3cret"\nauth = "env:TOKEN"\n')
    home.environ["TOKEN"] = "s3cret"
    rows = {row["key"]: row for row in home.ask("config", "show")}
    assert rows["listen"]["origin"].startswith("customhouse.toml:")
    assert rows["log_level"]["origin"] == "default"
    assert "s3cret" not in json.dumps(rows)


def test_config_check_names_a_secret_that_is_not_there(home: Household) -> None:
    home.write('[servers.docs]\nurl = "https://docs.example/mcp"\nauth = "env:NO_SUCH_TOKEN"\n')
    result = home.run("config", "check")
    assert result.exit_code == 3
    assert "server docs: env:NO_SUCH_TOKEN is not set" in result.stderr
    assert "opens without it, and refuses calls of server docs: credential_missing" in result.stderr


@pytest.mark.slow
def test_a_gateway_that_opens_without_a_secret_says_at_once_whose_calls_it_refuses(
    home: Household,
) -> None:
    home.write(
        '[models.gpt]\nurl = "http://127.0.0.1:9/v1"\nauth = "env:NO_SUCH_KEY"\n'
        'model = { id = "m" }\n'
    )
    with process(home.folder, "serve") as serving:
        said = serving.until("secret_missing")
        assert "model gpt: env:NO_SUCH_KEY is not set" in said
        assert "refuses calls of model gpt: credential_missing" in said
        serving.until("customhouse serves")


def test_config_check_warns_of_roles_that_no_rule_names_and_of_skills_no_card_has(
    home: Household,
) -> None:
    home.write(
        '[agents.bot]\nroles = ["operatr", "signer", "chief"]\n'
        '[issuers.corp]\nurl = "https://login.example.com"\n'
        'roles = { "scope:a" = "operater", "scope:b" = "operator" }\n'
        '[peers.billing]\nurl = "http://127.0.0.1:9/card.json"\nrules = { skills = ["qoute"] }\n'
    )
    home.policy(
        "p, operator, default, tool/x/*, call, -, allow",
        "p, operator, default, tool/x/pay, call, approval:signer, allow",
        "g, chief, operator, default",
    )
    assert home.ask("config", "check")["warnings"] == [
        "agents.bot.roles: no rule names the role operatr; did you mean 'operator'?",
        "issuers.corp.roles: no rule names the role operater; did you mean 'operator'?",
    ], "of a card that was never seen nothing is known"


def test_config_check_warns_of_what_cannot_be_started(home: Household) -> None:
    (home.folder / "mine").mkdir()
    (home.folder / "mine" / "desk.py").write_text("raise SystemExit('it was imported')\n")
    (home.folder / "mine" / "__init__.py").write_text("raise SystemExit('it was imported')\n")
    home.write(
        '[servers.gone]\ncommand = ["no-such-program-here"]\n'
        '[servers.lost]\npython = "python:mine.lost"\ncwd = "."\n'
        '[servers.desk]\npython = "python:mine.desk"\ncwd = "."\n'
        f'[servers.there]\ncommand = ["{sys.executable}"]\n'
    )
    warnings = home.ask("config", "check")["warnings"]
    assert [warning.partition(":")[0] for warning in warnings] == [
        "servers.gone.command",
        "servers.lost.python",
    ]


def test_config_check_warns_of_a_toolset_that_names_no_server(home: Household) -> None:
    home.write(
        f'[servers.desk]\ncommand = ["{sys.executable}"]\n'
        '[toolsets.office]\ntools = ["desk/word_count", "wiki/*", "dsk/x", "role:analyst"]\n'
    )
    assert home.ask("config", "check")["warnings"] == [
        "toolsets.office.tools: there is no server dsk",
        "toolsets.office.tools: there is no server wiki",
    ]
    home.lists()
    home.do("server", "add", "wiki", "--", *home.shelf)
    assert home.ask("config", "check")["warnings"] == [
        "toolsets.office.tools: there is no server dsk"
    ]


def test_a_key_that_is_not_there_is_told_with_its_agent(home: Household) -> None:
    home.write('[agents.bot]\nkey = "env:NO_SUCH_KEY"\n')
    result = home.run("config", "check")
    assert (result.exit_code, "agent bot: env:NO_SUCH_KEY is not set" in result.stderr) == (3, True)


def test_without_a_configuration_the_gateway_listens_on_loopback_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUSTOMHOUSE_CONFIG", raising=False)
    result = CliRunner().invoke(main, ["config", "show", "--json"])
    rows = {row["key"]: row for row in json.loads(result.stdout)}
    assert (rows["listen"]["value"], rows["listen"]["origin"]) == ('"127.0.0.1:8080"', "default")


@pytest.mark.slow
def test_serving_without_a_configuration_denies_all_and_says_what_to_type_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE__LISTEN", "127.0.0.1:0")  # others may use the default port
    with process(tmp_path, "serve") as serving:
        assert "/mcp" in serving.until("customhouse serves http://127.0.0.1:")
        assert "customhouse init" in serving.until("next: ")
        assert command(tmp_path, "agent", "add", "bot").returncode == 0
        answer = command(tmp_path, "policy", "can-i", "bot", "admin/metrics", "--json")
        assert answer.returncode == 1
    assert serving.process.returncode == 0
    assert json.loads(command(tmp_path, "audit", "verify", "--json").stdout)["clean"]


@pytest.mark.slow
def test_a_port_that_is_taken_is_a_conflict_found_before_any_server_is_started(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = home.folder / "started"
    home.write(f'[servers.mark]\ncommand = ["touch", "{mark}"]\n')
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("CUSTOMHOUSE__LISTEN", place)
        done = command(home.folder, "serve")
    assert (done.returncode, done.stderr.splitlines()[0]) == (6, f"error: {place} is taken")
    assert not mark.exists()


@pytest.mark.slow
def test_an_address_of_another_machine_is_not_listened_on(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE__LISTEN", "127.0.0.1:0")
    home.do("agent", "add", "bot")
    home.do("key", "issue", "bot")
    monkeypatch.setenv("CUSTOMHOUSE__LISTEN", "192.0.2.1:8080")
    done = command(home.folder, "serve")
    assert (done.returncode, "not an address of this machine" in done.stderr) == (3, True)


@pytest.mark.slow
def test_a_second_gateway_in_one_folder_is_told_of_the_first(home: Household) -> None:
    with process(home.folder, "serve") as serving:
        serving.until("customhouse serves")
        done = command(home.folder, "serve")
    assert done.returncode == 6
    assert "a gateway is already serving here" in done.stderr
    assert "data_dir" in done.stderr


@pytest.mark.slow
def test_a_newcomers_first_hour(home: Household) -> None:
    """Serve, add, issue, look at the log: every step a process of its own, beside the server."""
    folder = home.folder
    home.lists()
    with process(folder, "serve") as serving:
        assert "server add" in serving.until("next: ")
        added = command(folder, "server", "add", "shelf", "--", *home.shelf)
        assert (added.returncode, added.stdout) == (0, "added server shelf\n")
        assert command(folder, "agent", "add", "bot", "--role", "reader").returncode == 0
        key = command(folder, "key", "issue", "bot").stdout.strip()
        assert key.startswith("chk_")
        second = command(folder, "serve")
        assert (second.returncode, "owns" in second.stderr) == (6, True)
        with process(folder, "audit", "tail", "--follow", stdout=True) as following:
            following.until("key.issue")
            assert command(folder, "agent", "disable", "bot").returncode == 0
            following.until("agent.disable agent/bot")
    assert serving.process.returncode == 0
    assert command(folder, "audit", "verify").returncode == 0
    for path in (folder / "data").iterdir():
        assert key.encode() not in path.read_bytes()


@pytest.mark.slow
def test_output_that_nobody_reads_any_more_ends_quietly(busy: Household) -> None:
    reading = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "audit", "tail", "-n", "10000", "--follow"],
        cwd=busy.folder,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reading.stdout is not None
    assert reading.stderr is not None
    assert reading.stdout.readline()
    reading.stdout.close()
    busy.do("agent", "disable", "bot")  # something more to write
    assert reading.wait(30) == 141
    assert reading.stderr.read() == ""
    reading.stderr.close()
