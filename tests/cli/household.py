"""A folder with everything a gateway needs, and commands run in it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from click.testing import CliRunner, Result

from gateway.app.house import House, open_house
from gateway.app.operations.administration import Administration
from gateway.cli.main import main
from gateway.cli.starter import files
from gateway.config import Config, load
from gateway.edge import admin

SHELF = str(Path(__file__).parents[1] / "servers" / "shelf.py")
OBJECT: dict[str, Any] = {"type": "object"}
SETTINGS = """\
listen = "127.0.0.1:0"
data_dir = "./data"
keys_dir = "./keys"
policies = "./policies"
"""


def tool(name: str, description: str = "", schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": schema or OBJECT}


@dataclass
class Household:
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        return load(self.folder / "customhouse.toml", {})

    @property
    def database(self) -> Path:
        return self.folder / "data" / "customhouse.db"

    def write(self, extra: str = "") -> None:
        for name, content in files().items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SETTINGS + extra if name == "customhouse.toml" else content)

    def policy(self, *rules: str) -> None:
        """Replace the rules; the cases go, they were about others."""
        for case in (self.folder / "policies" / "cases").iterdir():
            case.unlink()
        (self.folder / "policies" / "policy.csv").write_text("\n".join(rules) + "\n")

    def lists(self, *tools: dict[str, Any], **more: Any) -> None:
        """What the server `shelf` says from now on."""
        (self.folder / "shelf.json").write_text(json.dumps({"tools": list(tools), **more}))

    @property
    def shelf(self) -> list[str]:
        return [sys.executable, "-S", SHELF, str(self.folder / "shelf.json")]

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        """One command, as the shell would run it."""
        environ = {"CUSTOMHOUSE_CONFIG": str(self.folder / "customhouse.toml"), **self.environ}
        result = CliRunner().invoke(main, list(arguments), input=typed, env=environ)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def do(self, *arguments: str) -> str:
        """One command that has to succeed; its standard output."""
        result = self.run(*arguments)
        assert result.exit_code == 0, f"{arguments}: {result.exit_code}\n{result.output}"
        return result.stdout

    def ask(self, *arguments: str) -> Any:
        """The JSON of one command that has to succeed."""
        return json.loads(self.do(*arguments, "--json"))

    def refusal(self, *arguments: str) -> dict[str, Any]:
        """The error of one command that has to fail."""
        result = self.run(*arguments, "--json")
        assert result.exit_code != 0, result.output
        error: dict[str, Any] = json.loads(result.stderr.strip().splitlines()[-1])["error"]
        assert error["exit_code"] == result.exit_code
        return error

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[House, Administration]]:
        """The house itself, with its upstreams started."""
        async with open_house(self.config, self.environ) as house:
            await house.upstreams.start()
            try:
                yield house, Administration(house)
            finally:
                await house.upstreams.stop()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[House]:
        """The house with its operator's socket, as a server has it."""
        path = self.folder / "data" / admin.SOCKET
        async with self.open() as (house, administration):
            serving = asyncio.ensure_future(admin.serve(path, administration.operate))
            try:
                with anyio.fail_after(5):
                    while not listens(path):
                        assert not serving.done(), serving
                        await asyncio.sleep(0)
                yield house
            finally:
                serving.cancel()
                await asyncio.wait([serving])


def listens(path: Path) -> bool:
    """Whether anybody accepts at *path*; a socket's file may be a dead one's."""
    with admin.address(path) as place, socket.socket(socket.AF_UNIX) as knocking:
        return knocking.connect_ex(place) == 0


def each(output: str) -> Iterator[list[str]]:
    """The rows of a table that was not drawn for a terminal, without the headings."""
    for line in output.splitlines()[1:]:
        yield line.split("\t")
