"""Stands between the gateway and one server process, so that nothing outlives the gateway.

    gateway ---lifeline---> warden ---> server ---> whatever the server starts
       \\________ stdin, stdout, stderr ____/

The warden keeps no pipe but the lifeline. When that closes (the gateway stopped the server, or died
by whatever signal), or when the server ends, the whole process group is ended and reaped, then
whatever has left the group. Should the warden itself be killed, the kernel kills the server.

Run by its path with `python -I -S`: standard library only, no import of the gateway, one thread.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

GRACE_S = 2.0  # between SIGTERM and SIGKILL
REAP_S = 2.0
CANNOT_START = 127
MAX_DESCRIPTORS = 1_048_576
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Wakes:
    """Turns SIGCHLD and SIGTERM into a readable descriptor, so that one poll sees everything."""

    def __init__(self) -> None:
        self.term = False
        self.readable, writable = os.pipe()
        os.set_blocking(self.readable, False)
        os.set_blocking(writable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        # A terminal's Ctrl-C and hang-up are the gateway's to judge.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_term(self, *_: object) -> None:
        self.term = True

    def drain(self) -> None:
        try:
            os.read(self.readable, 4096)
        except BlockingIOError:
            return


def main() -> int:
    """argv: the lifeline's descriptor, then the command. Returns the server's exit code."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    _close_strays(lifeline)
    wakes = Wakes()
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what leaves the group becomes ours when its parent ends
    warden = os.getpid()
    server = os.fork()
    if server == 0:
        _become(command, prctl, warden)
    _let_go_of_pipes()
    status = _watch(server, lifeline, wakes)
    if status is None:
        status = _terminate(server, wakes)
    _signal_group(server, signal.SIGKILL)
    _end_orphans()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _close_strays(lifeline: int) -> None:
    """Whatever else the gateway's event loop let through (uvloop does not close descriptors): the
    server shall neither see it, nor hold its own output open by a second name."""
    os.set_inheritable(lifeline, False)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, lifeline)
    os.closerange(lifeline + 1, limit if 0 < limit < MAX_DESCRIPTORS else MAX_DESCRIPTORS)


def _prctl() -> Callable[[int, int], object]:
    """prctl(2); where there is none, a call that does nothing."""
    if sys.platform != "linux":
        return lambda option, value: None
    import ctypes

    call: Callable[[int, int], object] = ctypes.CDLL(None).prctl
    return call


def _become(command: list[str], prctl: Callable[[int, int], object], warden: int) -> NoReturn:
    """In the forked child: its own session, ordinary signals, and the kernel's promise."""
    try:
        os.setsid()
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == warden:  # else it died before the promise was made
            os.execvp(command[0], command)  # noqa: S606 - the operator's command, without a shell
    except OSError as err:
        os.write(2, f"cannot start {command[0]}: {err.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def _let_go_of_pipes() -> None:
    """The end of the server's stdout must be the end of the pipe."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _watch(server: int, lifeline: int, wakes: Wakes) -> int | None:
    """Wait for the server's end (its status) or for a reason to end it (None)."""
    poller = select.poll()
    poller.register(lifeline, select.POLLIN | select.POLLHUP)
    poller.register(wakes.readable, select.POLLIN)
    while True:
        status = _reap(server)
        if status is not None:
            return status
        ready = {fd for fd, _ in poller.poll()}
        if lifeline in ready or wakes.term:
            return None
        wakes.drain()


def _terminate(server: int, wakes: Wakes) -> int:
    """Ask the group to end, insist after the grace, and return the server's status."""
    _signal_group(server, signal.SIGTERM)
    poller = select.poll()
    poller.register(wakes.readable, select.POLLIN)
    until_s = time.monotonic() + GRACE_S
    while (left_s := until_s - time.monotonic()) > 0:
        status = _reap(server)
        if status is not None:
            return status
        poller.poll(left_s * 1000)
        wakes.drain()
    _signal_group(server, signal.SIGKILL)
    return os.waitpid(server, 0)[1]


def _reap(server: int) -> int | None:
    """Collect whoever has ended; the server's status, when it was among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == server:
            return status
        if pid == 0:
            return None


def _end_orphans() -> None:
    """Kill and collect what left the group, generation after generation, for a bounded time."""
    until_s = time.monotonic() + REAP_S
    while time.monotonic() < until_s:
        for pid in _children():
            _kill(pid)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.005)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:  # noqa: PTH123 - no pathlib here
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
