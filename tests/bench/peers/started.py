"""A peer as a process: started in a clean environment, asked until it answers, stopped by its id."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from tests.bench import proc, targets
from tests.bench.load import Caller, Era, Target, WrongReply
from tests.bench.peers.sites import Peer, Site, Start
from tests.bench.targets import NotStarted, Running
from tests.bench.wire import connect

_START_S = 120.0
_STOP_S = 15.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Way:
    """A process that answers calls, in these eras; what it is made of, its memory when idle (0:
    it is the upstream)."""

    running: Running
    eras: tuple[Era, ...]
    does: str
    made_of: str = ""
    idle_mb: float = 0.0

    @property
    def name(self) -> str:
        return self.running.target.name


def _made_of(environment: Path, package: str) -> str:
    folders = list(environment.glob("lib/python*/site-packages"))
    if not folders:
        raise NotStarted(f"no environment {environment.name}: `make bench-peers` makes it")
    versions = (
        next(iter(distributions(name=name, path=[str(folders[0])]))).version
        for name in (package, "mcp")
    )
    return "{} (mcp {}, {})".format(*versions, folders[0].parent.name)


@contextlib.asynccontextmanager
async def started(
    peer: Peer, environments: Path, folder: Path, upstream: Target
) -> AsyncIterator[Way]:
    """*peer*, answering calls.

    Raises: NotStarted.
    """
    environment = environments / peer.environment
    made_of = _made_of(environment, peer.package)
    site = _site(environment, folder, upstream)
    start = peer.start(site)
    began = time.perf_counter()
    async with _process(start, folder) as process:
        target = start.target(peer.name, site.port)
        eras = await _answering(process, start, target, folder / "log")
        running = Running(target, process.pid, time.perf_counter() - began)
        yield Way(running, eras, peer.does, made_of, proc.pss_mb(process.pid))


def _site(environment: Path, folder: Path, upstream: Target) -> Site:
    folder.mkdir()
    url = f"http://127.0.0.1:{upstream.port}{upstream.path}"
    return Site(environment, folder, targets.free_port(), url)


@contextlib.asynccontextmanager
async def _process(start: Start, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    # None of our variables: what this shell is set to is no part of the peer.
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **start.environ}
    with (folder / "log").open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *start.command,
            cwd=folder,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End it, and whatever it started: its process group has the id of its first process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _answering(
    process: asyncio.subprocess.Process, start: Start, target: Target, log: Path
) -> tuple[Era, ...]:
    """Ask until a call is answered as it should be; in which eras it is."""
    why: Exception | None = None
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and process.returncode is None:
        try:
            if start.register is not None:
                await asyncio.to_thread(start.register)
            await _call(target, Era.SESSION)
        except (OSError, WrongReply) as err:
            why = err
            await asyncio.sleep(_POLL_S)
            continue
        try:
            await _call(target, Era.MODERN)
        except WrongReply:
            return (Era.SESSION,)
        return tuple(Era)
    code = process.returncode
    raise NotStarted(f"{target.name} does not answer ({why}); exit {code}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _call(target: Target, era: Era) -> None:
    client = await connect(target.port)
    try:
        caller = Caller(client, target, era)
        await caller.open()
        await caller.call()
    finally:
        client.transport.close()
