"""Help is quick, because nothing of the house is imported for it."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from gateway.cli.main import COMMANDS, main

HEAVY = (
    "mcp",
    "sqlmodel",
    "sqlalchemy",
    "alembic",
    "authlib",
    "casbin",
    "aiohttp",
    "rich",
    "anyio",
)
PROBE = """
import sys
from gateway.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print([name for name in {heavy!r} if name in sys.modules], end.code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["audit", "--help"],
        ["server", "add", "--help"],
        ["bridge", "--help"],
        ["adopt", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    probe = [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stdout + done.stderr


def test_the_help_names_every_command_and_every_exit_code() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in said
    for code in ("0 yes", "1 a clean no", "2 usage", "3 configuration", "4 not an operator"):
        assert code in said


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_every_command_takes_config_and_json() -> None:
    for name in ("agent", "key", "server", "tool", "policy", "budget", "audit", "config"):
        group = main.get_command(None, name)  # type: ignore[arg-type]  # ours needs none
        for command in group.commands.values():  # type: ignore[union-attr]  # these are groups
            options = {option for param in command.params for option in param.opts}
            assert {"--config", "--json"} <= options, f"{name} {command.name}"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["agnet"]).exit_code == 2
