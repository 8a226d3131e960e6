"""The two things the suite is run against: the fixture, and the gateway in front of one."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from tests.conformance import definitions
from tests.conformance.relay import relay
from tests.conformance.suite import WORK

ROOT = Path(__file__).parents[2]
MODERN = "2026-07-28"
ENDPOINT = "/mcp/s/fixture"

# Beside the Python that runs this: what a user would type.
CUSTOMHOUSE = (str(Path(sys.executable).parent / "customhouse"),)

_START_S = 60.0
_POLL_S = 0.1
_STOP_S = 10.0

CONFIG = """\
listen = "127.0.0.1:{port}"
data_dir = "{folder}/data"
keys_dir = "{folder}/keys"
policies = "{folder}/policies"
[servers.fixture]
url = "http://127.0.0.1:{upstream}/mcp"
approve = "first-seen"
session = "per-caller"
requests = ["elicitation", "sampling", "roots"]
[agents.conformance]
key = "env:CONFORMANCE_KEY"
"""
POLICY = """\
p, conformance, default, server/fixture, *, -, allow
p, conformance, default, tool/fixture/*,     *, -, allow
p, conformance, default, resource/fixture/*, *, -, allow
p, conformance, default, template/fixture/*, *, -, allow
p, conformance, default, prompt/fixture/*,   *, -, allow
"""


class NotStarted(Exception):
    """A target did not come up."""


@contextlib.asynccontextmanager
async def _child(
    *command: str | Path, log: Path, env: Mapping[str, str] | None = None, ask: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process until the block ends; its output goes to *log* (with *ask*, stderr only)."""
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if ask else sink,
            stderr=sink,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_STOP_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


@contextlib.asynccontextmanager
async def fixture() -> AsyncIterator[int]:
    """A fresh fixture server; yields its port."""
    command = (sys.executable, "-m", "tests.conformance.fixture", "--port", "0")
    log = WORK / "fixture.log"
    async with _child(*command, log=log, ask=True) as process:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_S):
                line = (await process.stdout.readline()).decode()
        except TimeoutError as err:
            raise NotStarted(f"no fixture within {_START_S:.0f} s") from err
        found = re.search(r":(\d+)$", line.strip())
        if found is None:
            raise NotStarted(f"the fixture did not start: {_tail(log)}")
        yield int(found[1])


@contextlib.asynccontextmanager
async def gateway(command: Sequence[str]) -> AsyncIterator[str]:
    """Customhouse, started with *command*, in front of a fresh fixture; yields the URL at which no token is needed."""
    async with fixture() as upstream:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            port, key = _free_port(), secrets.token_urlsafe(32)
            config = _write_config(Path(folder), port, upstream)
            log, env = WORK / "gateway.log", {"CONFORMANCE_KEY": key}
            serve = (*command, "serve", "--config", str(config))
            async with _child(*serve, log=log, env=env) as process:
                await _until_listed(process, port, key, log)
                async with relay(port, key) as front:
                    yield f"http://127.0.0.1:{front}{ENDPOINT}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _write_config(folder: Path, port: int, upstream: int) -> Path:
    policies = folder / "policies"
    policies.mkdir()
    shutil.copy(ROOT / "policies" / "model.conf", policies)
    (policies / "policy.csv").write_text(POLICY)
    config = folder / "customhouse.toml"
    config.write_text(CONFIG.format(port=port, upstream=upstream, folder=folder))
    return config


async def _until_listed(
    process: asyncio.subprocess.Process, port: int, key: str, log: Path
) -> None:
    """Wait until the gateway lists every tool of the fixture."""
    listed = -1
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_S):
            while process.returncode is None:
                listed = await asyncio.to_thread(_count_tools, port, key)
                if listed >= len(definitions.TOOLS):
                    return
                await asyncio.sleep(_POLL_S)
    raise NotStarted(
        f"the gateway lists {listed} of {len(definitions.TOOLS)} tools (-1: no answer), "
        f"exit code {process.returncode}:\n{_tail(log)}"
    )


def _count_tools(port: int, key: str) -> int:
    """How many tools the gateway lists; -1 when it does not answer with a list."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/list",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", ENDPOINT, json.dumps(ask), headers)
        return len(json.loads(connection.getresponse().read())["result"]["tools"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return -1
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
