"""The folder of the demo: a configuration, policies, a small repository, and keys; made afresh."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

MARK = ".made-by-the-customhouse-demo"
GIT_S = 20.0
KEY_VARIABLES = {
    "report-bot": "REPORT_BOT_KEY",
    "dev-bot": "DEV_BOT_KEY",
    "ops-bot": "OPS_BOT_KEY",
}
SCRIBE_VARIABLE = "SCRIBE_KEY"
POLICIES = Path(__file__).resolve().parents[3] / "policies"

CONFIG = """\
# Made by `customhouse demo`. Every key is explained in the README.
listen = "127.0.0.1:{port}"
data_dir = "./data"
keys_dir = "./keys"
policies = "./policies"

# ---- servers behind the border ------------------------------------------------------------------

[servers.time]                          # somebody else's MCP server, from the package registry
command = ["mcp-server-time", "--local-timezone", "UTC"]
approve = "first-seen"

[servers.git]                           # another one, on the small repository beside this file
command = ["mcp-server-git", "--repository", "{repository}"]
approve = "first-seen"
tags = {{ "git_reset" = ["destructive"] }} # policy.csv keeps agents away from this tag
max_result_tokens = 1500

[servers.desk]                          # a module of Python functions, in a process of its own
python = "python:agents.apps.desk"      # approve = "ask": a person looks first
price = {{ "refund" = 250_000 }}          # millionths: a quarter for each
max_result_tokens = 200

[models.scribe]                         # a program of ours that speaks like a provider of models
url = "{scribe}"
auth = "env:SCRIBE_KEY"                 # the gateway has it, the agents do not
model = {{ id = "scribe-1", prompt = 1_000_000, completion = 5_000_000 }} # per million tokens
max_result_tokens = 100

# ---- agents in front of it ----------------------------------------------------------------------

[agents.report-bot]
team = "reporting"
roles = ["analyst"]
key = "env:REPORT_BOT_KEY"
rate = "{rate}"

[agents.dev-bot]
team = "engineering"
roles = ["developer"]
key = "env:DEV_BOT_KEY"
budget = {{ tokens = "{tokens}" }}

[agents.ops-bot]
team = "operations"
roles = ["operator"]
key = "env:OPS_BOT_KEY"
budget = {{ calls = "100/day", cost = "{cost}" }}

[agents.ada]                            # a person, who may say yes to calls that wait for one;
roles = ["approver"]                    # customhouse key issue ada: then also from elsewhere

[runs]
repeats = {repeats}                             # of one call in one run: more is a loop
"""
RATE, TOKENS, COST, REPEATS = "20/min", "4k/day", "1M/day", 3

README_OF_SHOP = "# The shop\n\nOrders come in, parcels go out.\n"
ORDERS = "A-17  a lamp      40\nA-18  two chairs  180\n"
COMMITS = (
    ("Begin the shop", {"README.md": README_OF_SHOP}),
    ("Take the first orders", {"orders.txt": ORDERS}),
    ("Say when parcels leave", {"README.md": README_OF_SHOP + "They leave at noon.\n"}),
)
AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@shop.example",
    "GIT_AUTHOR_DATE": "2026-11-02T09:00:00Z",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@shop.example",
    "GIT_COMMITTER_DATE": "2026-11-02T09:00:00Z",
}


class NotOurs(Exception):
    """The folder holds something that the demo did not make, and will not delete."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays."""

    folder: Path
    port: int
    keys: dict[str, str]  # agent -> API key
    scribe_port: int
    scribe_key: str

    @property
    def config(self) -> Path:
        return self.folder / "customhouse.toml"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def database(self) -> Path:
        return self.folder / "data" / "customhouse.db"

    @property
    def gateway_log(self) -> Path:
        return self.folder / "gateway.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """All keys, under the names by which the configuration refers to them."""
        keys = {KEY_VARIABLES[agent]: key for agent, key in self.keys.items()}
        return {**keys, SCRIBE_VARIABLE: self.scribe_key}


def make(folder: Path) -> Stage:
    """Make the demo's folder, in place of one that an earlier run left.

    Raises: NotOurs: there is another folder of this name; it was not touched.
    """
    _clear(folder)
    folder.mkdir(mode=0o700, parents=True)
    (folder / MARK).touch()
    keys = {agent: f"chk_{secrets.token_urlsafe(32)}" for agent in KEY_VARIABLES}
    port, scribe_port = _free_ports()
    stage = Stage(folder, port, keys, scribe_port, secrets.token_urlsafe(32))
    stage.config.write_text(_configuration(stage))
    shutil.copytree(POLICIES, folder / "policies")
    _write_keys(stage)
    _make_repository(stage.repository)
    return stage


def _clear(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / MARK).is_file():
        raise NotOurs(f"{folder} was not made by the demo, so it is not deleted")
    shutil.rmtree(folder)


def _configuration(stage: Stage) -> str:
    return CONFIG.format(
        port=stage.port,
        repository=stage.repository,
        scribe=f"http://127.0.0.1:{stage.scribe_port}/v1",
        rate=RATE,
        tokens=TOKENS,
        cost=COST,
        repeats=REPEATS,
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _write_keys(stage: Stage) -> None:
    """The keys for whoever plays on afterwards: . demo/keys.env"""
    lines = [f"export {name}={key}\n" for name, key in stage.environ.items()]
    descriptor = os.open(stage.folder / "keys.env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(lines)


def _make_repository(repository: Path) -> None:
    repository.mkdir()
    _git(repository, "init", "--quiet", "--initial-branch=main")
    for setting in (("user.name", "dev-bot"), ("user.email", "dev-bot@shop.example")):
        _git(repository, "config", *setting)
    for message, files in COMMITS:
        for name, text in files.items():
            (repository / name).write_text(text)
        _git(repository, "add", "--all")
        _git(repository, "commit", "--quiet", f"--message={message}")


def _git(repository: Path, *arguments: str) -> None:
    """git as on any machine: whatever is configured for this one or this person stays out."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **AUTHOR,
    }
    subprocess.run(  # noqa: S603 - our own words
        ["git", "-C", str(repository), *arguments],  # noqa: S607 - wherever this machine has it
        env=environ,
        check=True,
        timeout=GIT_S,
        stdin=subprocess.DEVNULL,
    )
