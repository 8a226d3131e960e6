"""What the README says is tried: settings are read, commands are parsed, first steps are taken."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import click
import pytest

from gateway.cli.main import main
from gateway.config import load
from gateway.config.keys import LIMITS, SECTIONS, TOP
from gateway.domain.refusal import BY_ID

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
HOUSE = (ROOT / "gateway" / "README.md").read_text()
COMMAND = re.compile(r"^ *(customhouse(?: +[^\s#]\S*)+?)(?: {2,}.*| +#.*)?$", re.MULTILINE)
STEP_S = 60.0


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for said, text in found if said == language]


def commands(text: str) -> list[str]:
    return [found.group(1) for found in COMMAND.finditer(text)]


def parsed(arguments: list[str]) -> None:
    """Parse a command line as the program would, without doing anything."""
    command: click.Command = main
    context = click.Context(command, info_name="customhouse")
    while isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize("line", sorted(set(commands(README))))
def test_every_command_of_the_readme_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "customhouse"
    parsed(words[1:])  # raises on a command or an option that is not there


def test_the_configuration_in_the_readme_is_read_and_holds_every_key(tmp_path: Path) -> None:
    text = next(block for block in blocks("toml") if "[servers.time]" in block)
    file = tmp_path / "customhouse.toml"
    file.write_text(text)
    (tmp_path / "policies").mkdir()
    config = load(file, {})
    assert set(config.servers) == {"time", "docs", "orders", "desk"}
    keys = {*TOP, *LIMITS, *(key for section in SECTIONS.values() for key in section)}
    assert not [key for key in keys if not re.search(rf"\b{key} = ", text)]


def test_the_policy_in_the_readme_is_part_of_the_example(tmp_path: Path) -> None:
    rules = next(block for block in blocks("") if block.startswith("p, "))
    assert not set(rules.splitlines()) - set((ROOT / "policies/policy.csv").read_text().split("\n"))
    condition = next(block for block in blocks("toml") if block.startswith("[small_refund]"))
    assert condition in (ROOT / "policies" / "conditions.toml").read_text()


@pytest.mark.parametrize("block", blocks("python"))
def test_programs_in_the_readme_are_python(block: str) -> None:
    assert compile(block, "README.md", "exec").co_names


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^):]+)\)", README + HOUSE))))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists() or (ROOT / "gateway" / target).exists()


@pytest.mark.parametrize("refusal", sorted(BY_ID))
def test_every_refusal_is_explained(refusal: str) -> None:
    assert f"`{refusal}`" in HOUSE


# -- the first steps, taken -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("steps")
    return {
        **os.environ,
        "PWD": str(folder),
        "PYTHONPATH": str(ROOT),
        "CUSTOMHOUSE__LISTEN": "127.0.0.1:0",
    }


def run(line: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *shlex.split(line)[1:]],
        cwd=environ["PWD"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=STEP_S,
        check=False,
    )


@pytest.fixture(scope="module")
def address(environ: dict[str, str]) -> Iterator[str]:
    """`customhouse init` and `customhouse serve`, and where it serves."""
    init, serve = commands(blocks("sh")[0])
    assert run(init, environ).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *shlex.split(serve)[1:]],
        cwd=environ["PWD"],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: Queue[str] = Queue()
    pipe = process.stderr
    assert pipe is not None

    def listen() -> None:
        for line in pipe:
            said.put(line)

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        yield _address(said)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STEP_S) == 0
        reader.join(STEP_S)
        pipe.close()


def _address(said: Queue[str]) -> str:
    heard: list[str] = []
    while True:
        try:
            heard.append(said.get(timeout=STEP_S))
        except Empty:
            raise AssertionError(f"it does not serve: {heard}") from None
        if found := re.search(r"serves (http://\S+)/mcp", heard[-1]):
            return found[1]


@pytest.fixture(scope="module")
def key(environ: dict[str, str], address: str) -> str:
    """The second terminal's commands, up to the agent's key."""
    assert address
    issued = ""
    for line in commands(blocks("sh")[1]):
        # Nobody is at this terminal to say yes.
        done = run(f"{line} --yes" if " approve " in line else line, environ)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        if "key issue" in line:
            issued = done.stdout.strip()
    return issued


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [block for block in blocks("python") if "langchain" not in block],
    ids=["with the SDK", "with agents.client"],
)
def test_the_first_steps_lead_to_an_answer(
    block: str, environ: dict[str, str], address: str, key: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.replace("http://127.0.0.1:8080", address)],
        env={**environ, "CUSTOMHOUSE_KEY": key},
        capture_output=True,
        text=True,
        timeout=STEP_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "day_of_week" in done.stdout
    assert "tokens/day" in done.stdout


@pytest.mark.slow
def test_the_log_of_the_first_steps_is_proved_offline(
    environ: dict[str, str], address: str, key: str, tmp_path: Path
) -> None:
    assert address
    assert key
    folder = Path(environ["PWD"])
    backup = next(line.strip() for line in README.splitlines() if ".backup" in line)
    script = f"cd {folder} && {backup.replace('copy.db', str(tmp_path / 'copy.db'))}"
    if subprocess.run(
        ["sh", "-c", "command -v sqlite3"], capture_output=True, check=False, timeout=9
    ).returncode:
        pytest.skip("sqlite3, the program, is not on this machine")
    subprocess.run(["sh", "-c", script], check=True, timeout=STEP_S)
    keys = folder / "keys"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "gateway.audit.verify", str(tmp_path / "copy.db")),
            *(str(keys / "log.vkey"), "--at-least", str(keys / "checkpoint")),
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=STEP_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
