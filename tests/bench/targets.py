"""The processes that are measured: the upstream, the raw hop, and Customhouse itself."""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.load import Caller, Era, Target, WrongReply
from tests.bench.wire import Client, connect

ROOT = Path(__file__).parents[2]
KEY = secrets.token_urlsafe(32)

HOPS = {"asgi": "raw hop", "bare": "bare hop"}

_START_S = 60.0
_STOP_S = 30.0
_POLL_S = 0.005

# Everything on, nothing in the way: every level has a rate or a budget that is looked at and
# charged with every call, and none that is reached.
CONFIG = """\
listen = "127.0.0.1:{port}"
data_dir = "{folder}/data"
keys_dir = "{folder}/keys"
policies = "{folder}/policies"
[tenants.default]
budget = {{ tokens = "{plenty}/month", calls = "{plenty}/month" }}
[teams.measuring]
budget = {{ tokens = "{plenty}/day", calls = "{plenty}/day" }}
[servers.bench]
url = "http://127.0.0.1:{upstream}{path}"
{cache}approve = "first-seen"
[servers.bench.limits]
rate = "{often}/s"
[agents.bench]
team = "measuring"
roles = ["caller"]
key = "env:BENCH_KEY"
rate = "{often}/s"
budget = {{ tokens = "{plenty}/day", calls = "{plenty}/day" }}
"""
POLICY = """\
p, caller, default, server/bench/*, list, -, allow
p, caller, default, tool/bench/*, list, -, allow
p, caller, default, tool/bench/*, call, -, allow
p, caller, default, tool/bench/tool_0*, call, -, allow
p, *, *, tool/bench/forbidden_*, call, -, deny
"""
OFTEN, PLENTY = 1_000_000, 1_000_000_000_000


class NotStarted(Exception):
    """A process did not come up."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that answers calls, and how long it took to the first answer."""

    target: Target
    pid: int
    start_s: float


@contextlib.asynccontextmanager
async def _child(
    *command: str | Path, env: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
        )
        try:
            yield process
        finally:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _said_port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(_START_S):
        line = (await process.stdout.readline()).decode().strip()
    found = re.search(r":(\d+)$", line)
    if found is None:
        raise NotStarted(f"a process of the benchmark did not start; it said {line!r}")
    return int(found[1])


@contextlib.asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[Running]:
    """The counting upstream; as a target it is the direct way."""
    command = (sys.executable, "-m", "tests.bench.upstream")
    async with _child(*command, env={}, log=folder / "upstream.log") as process:
        began = time.perf_counter()
        target = Target("direct", await _said_port(process), "/mcp")
        yield await _answering(process, target, began, folder / "upstream.log")


@contextlib.asynccontextmanager
async def hop(folder: Path, upstream_port: int, kind: str) -> AsyncIterator[Running]:
    """The hop of one *kind*, "asgi" or "bare", in front of the upstream."""
    env = {"BENCH_KEY": KEY, "BENCH_UPSTREAM": str(upstream_port)}
    command = (sys.executable, "-m", "tests.bench.hop", kind)
    async with _child(*command, env=env, log=folder / "hop.log") as process:
        began = time.perf_counter()
        target = Target(HOPS[kind], await _said_port(process), "/mcp", KEY)
        yield await _answering(process, target, began, folder / "hop.log")


# Beside the Python that runs this: what a user would type.
CUSTOMHOUSE: tuple[str, ...] = (str(Path(sys.executable).parent / "customhouse"),)


@dataclass(frozen=True, slots=True)
class House:
    """Where a gateway lives, what it is started with, and which list stands behind it."""

    folder: Path
    upstream_port: int
    command: tuple[str, ...] = CUSTOMHOUSE
    path: str = "/mcp"
    cache_s: int = 0  # how long a result of `echo` answers equal calls
    more: str = ""  # configuration
    more_policy: str = ""


@contextlib.asynccontextmanager
async def gateway(house: House, env: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """Customhouse with everything on; its folder keeps its log from one start to the next."""
    port = free_port()
    config = write_config(house, port)
    command = (*house.command, "serve", "--config", str(config))
    began = time.perf_counter()
    log = house.folder / "gateway.log"
    # Whatever this shell says of it: a warm start is one with the bytecode kept.
    wanted = {"BENCH_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    async with _child(*command, env=wanted, log=log) as process:
        reader = asyncio.ensure_future(_swallow(process))
        target = Target("customhouse", port, "/mcp/s/bench", KEY)
        try:
            yield await _answering(process, target, began, log)
        finally:
            reader.cancel()


async def _swallow(process: asyncio.subprocess.Process) -> None:
    """Read what the gateway says on stdout: a full pipe would stop it."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass


def free_port() -> int:
    """A port on loopback that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def write_config(house: House, port: int) -> Path:
    """customhouse.toml of *house* and its policy; where it is."""
    folder = house.folder
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "policies" / "model.conf", policies)
    (policies / "policy.csv").write_text(POLICY + house.more_policy)
    config = folder / "customhouse.toml"
    config.write_text(
        CONFIG.format(
            port=port,
            folder=folder,
            upstream=house.upstream_port,
            path=house.path,
            cache=f'cache = {{ "echo" = {house.cache_s} }}\n' if house.cache_s else "",
            often=OFTEN,
            plenty=PLENTY,
        )
        + house.more
    )
    return config


async def _answering(
    process: asyncio.subprocess.Process, target: Target, began: float, log: Path
) -> Running:
    """Call until a call is answered as it should be."""
    why: Exception | None = None
    while time.perf_counter() - began < _START_S and process.returncode is None:
        client: Client | None = None
        try:
            client = await connect(target.port)
            await Caller(client, target, Era.MODERN).call()
            took_s = time.perf_counter() - began
            client.transport.close()
            return Running(target, process.pid, took_s)
        except (OSError, WrongReply) as err:
            why = err
            if client is not None:
                client.transport.close()
            await asyncio.sleep(_POLL_S)
    code = process.returncode
    raise NotStarted(f"{target.name} does not answer ({why}); exit {code}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def many(running: Running) -> Running:
    """The same process, asked for the long list where it has one beside the short."""
    return replace(running, target=replace(running.target, path="/many"))
