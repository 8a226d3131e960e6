"""One child process with its three pipes: lines in, lines out, and an end that is certain.

stdin   <- one JSON-RPC message per line
stdout  -> one JSON-RPC message per line, bounded
stderr  -> the gateway's log, bounded and escaped
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

import anyio

from gateway.upstream.message import unreachable
from gateway.upstream.spec import StdioTransport
from gateway.upstream.stderr import StderrLog

# What a program needs to run at all. Everything else of our environment stays here: it may hold
# the secrets of other servers.
ALLOWED_ENV = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ")
MAX_BACKLOG_BYTES = 8_388_608  # written by us, not yet read by the child
EXIT_GRACE_S = 1.0  # after its input was closed, before it is told to end
KILL_GRACE_S = 5.0  # for the warden to end everything
_WARDEN = str(Path(__file__).with_name("warden.py"))


class Listener(Protocol):
    """Whom a child speaks to; called from its pipe callbacks: `started` first, `ended` once."""

    def started(self, child: Child) -> None: ...

    def line(self, line: bytes) -> None: ...

    def ended(self, why: str) -> None: ...


def environment(transport: StdioTransport) -> dict[str, str]:
    """The whole environment of a child."""
    allowed = {name: os.environ[name] for name in ALLOWED_ENV if name in os.environ}
    # Servers installed beside the gateway are found, but shadow nothing.
    beside = str(Path(sys.executable).parent)
    allowed["PATH"] = os.pathsep.join([allowed.get("PATH", os.defpath), beside])
    return {**allowed, **transport.env}


async def spawn(
    transport: StdioTransport, max_line_bytes: int, listener: Listener, stderr: StderrLog
) -> Child:
    """Start the command under a warden. Raises: UpstreamFailed: it cannot be started."""
    loop = asyncio.get_running_loop()
    lifeline, ours = os.pipe()
    try:
        _, protocol = await loop.subprocess_exec(
            lambda: Child(listener, max_line_bytes, stderr, ours),
            *(sys.executable, "-I", "-S", _WARDEN, str(lifeline), *transport.command),
            env=environment(transport),
            cwd=transport.cwd or None,
            pass_fds=(lifeline,),
            start_new_session=True,
        )
    except BaseException as err:
        os.close(ours)  # whatever was started ends with it
        if isinstance(err, OSError | ValueError):
            raise unreachable(f"cannot start {transport.command[0]}: {err}") from None
        raise
    finally:
        os.close(lifeline)
    return protocol


class Child(asyncio.SubprocessProtocol):
    """Made by `spawn`; ended by `end`, or by itself."""

    def __init__(
        self, listener: Listener, max_line_bytes: int, stderr: StderrLog, lifeline: int
    ) -> None:
        self._listener = listener
        self._max_line_bytes = max_line_bytes
        self._stderr = stderr
        self._lifeline: int | None = lifeline
        self._unfinished = bytearray()
        self._over = False
        self._is_resting = False
        self._gone = asyncio.Event()

    # -- for the session -----------------------------------------------------

    def write(self, line: bytes) -> bool:
        """Send one line; False when the child is gone or does not read what it is sent."""
        if self._over or self._stdin.is_closing():
            return False
        if self._stdin.get_write_buffer_size() > MAX_BACKLOG_BYTES:
            return False
        self._stdin.write(line)
        return True

    def rest(self, for_s: float) -> None:
        """Read nothing of what it says for a while, so that it has to wait, too."""
        stdout = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1))
        if self._is_resting or stdout is None or stdout.is_closing():
            return
        self._is_resting = True
        stdout.pause_reading()
        asyncio.get_running_loop().call_later(for_s, self._read_on, stdout)

    def kill(self, why: str) -> None:
        """End it now; `ended` is called before this returns."""
        self._end_of_talk(why)
        self._cut_lifeline()
        stdout = self._transport.get_pipe_transport(1)
        if stdout is not None:
            stdout.close()  # it shall not keep us busy until it is gone

    async def end(self) -> None:
        """Close its input, then insist; returns when it is gone, in bounded time."""
        self._end_of_talk("the gateway stopped it")
        if not await self._wait(EXIT_GRACE_S):
            self._cut_lifeline()
            if not await self._wait(KILL_GRACE_S):
                with suppress(ProcessLookupError):
                    self._transport.kill()
                await self._wait(KILL_GRACE_S)
        self._cut_lifeline()
        self._transport.close()

    # -- asyncio.SubprocessProtocol ------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._listener.started(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr.feed(data)
        elif not self._over:
            self._feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end_of_talk("it closed its output")

    def process_exited(self) -> None:
        code = self._transport.get_returncode()
        # Its last lines may still be in the pipe; the end of the pipe follows at once, because
        # the warden ends everybody who could hold it open.
        asyncio.get_running_loop().call_later(0.2, self._end_of_talk, f"it exited with {code}")
        self._gone.set()

    # -- inside --------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        if b"\n" not in data:
            self._unfinished += data
        else:
            *lines, rest = (bytes(self._unfinished) + data).split(b"\n")
            self._unfinished = bytearray(rest)
            for line in lines:
                if len(line) > self._max_line_bytes:
                    self._unfinished = bytearray(line)
                    break
                if line and not line.isspace():
                    self._listener.line(line)
                if self._over:
                    return
        if len(self._unfinished) > self._max_line_bytes:
            self._unfinished.clear()
            self.kill(f"it wrote a line of more than {self._max_line_bytes} bytes")

    def _read_on(self, stdout: asyncio.ReadTransport) -> None:
        self._is_resting = False
        if not stdout.is_closing():
            stdout.resume_reading()

    def _end_of_talk(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._stdin.close()
        self._stderr.flush()
        self._listener.ended(why)

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def _wait(self, timeout_s: float) -> bool:
        # Not asyncio.timeout: before Python 3.11.3 it ends a task that is being cancelled, shielded
        # or not, and what is waited for here has to end then most of all.
        with anyio.move_on_after(timeout_s):
            await self._gone.wait()
        return self._gone.is_set()
