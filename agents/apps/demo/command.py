"""The gateway as the demo sees it: the command `customhouse`, and what it answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process

from agents.apps.demo.stage import SCRIBE_VARIABLE, Stage
from agents.apps.demo.story import BrokenPromise

START_S = 30.0
COMMAND_S = 30.0
DRAIN_S = 12.0
LOOK_EVERY_S = 0.05
EXIT_OF_KILLED = -9


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Gateway:
    """`customhouse` with the demo's configuration. Made by `serving`."""

    stage: Stage
    process: Process

    async def stop(self) -> int:
        """Tell it to drain, as a service would be told; return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(DRAIN_S):
            return await self.process.wait()
        self.process.kill()
        await self.process.wait()
        return EXIT_OF_KILLED


@asynccontextmanager
async def provided(stage: Stage) -> AsyncIterator[None]:
    """The provider of the model as a child, listening when this is entered and gone when it is left.

    Raises: BrokenPromise: it did not start in time.
    """
    process = await anyio.open_process(
        [sys.executable, "-m", "agents.apps.scribe", str(stage.scribe_port)],
        env={**os.environ, SCRIBE_VARIABLE: stage.scribe_key},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None,
    )
    try:
        await _until_listening(process, stage.scribe_port)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def serving(stage: Stage) -> AsyncIterator[Gateway]:
    """`customhouse serve` as a child, ready when this is entered and gone when it is left.

    Raises: BrokenPromise: it did not start in time.
    """
    with stage.gateway_log.open("wb") as log:
        process = await anyio.open_process(
            [_program(), "serve", "--config", str(stage.config)],
            env={**os.environ, **stage.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    gateway = Gateway(stage, process)
    try:
        await _until_ready(gateway)
        yield gateway
    finally:
        with anyio.CancelScope(shield=True):
            await gateway.stop()


async def customhouse(
    stage: Stage, *arguments: str, environ: dict[str, str] | None = None
) -> Ended:
    """Run one command of the gateway on the demo's configuration."""
    with anyio.fail_after(COMMAND_S):
        done = await anyio.run_process(
            [_program(), *arguments, "--config", str(stage.config)],
            env={**os.environ, **stage.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


async def _until_listening(process: Process, port: int) -> None:
    with anyio.move_on_after(START_S):
        while process.returncode is None:
            try:
                async with await anyio.connect_tcp("127.0.0.1", port):
                    return
            except OSError:
                await anyio.sleep(LOOK_EVERY_S)
    raise BrokenPromise(f"the provider of the model did not listen on port {port}")


async def _until_ready(gateway: Gateway) -> None:
    """Wait for /readyz, which needs no key and answers nothing but yes or no."""
    with anyio.move_on_after(START_S):
        while gateway.process.returncode is None:
            if await _is_ready(gateway.stage.port):
                return
            await anyio.sleep(LOOK_EVERY_S)
    last = gateway.stage.gateway_log.read_text(errors="replace")[-2_000:]
    raise BrokenPromise(f"the gateway did not get ready. The end of its log:\n{last}")


async def _is_ready(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            return (await stream.receive(64)).split(b" ")[1:2] == [b"200"]
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False


def _program() -> str:
    """The command beside this Python, else the one on the path."""
    beside = Path(sys.executable).with_name("customhouse")
    found = str(beside) if beside.exists() else shutil.which("customhouse")
    if found is None:
        raise BrokenPromise("the command customhouse is not installed: run make setup")
    return found
