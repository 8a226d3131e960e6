"""Whatever kills the gateway, no server and nothing that a server started outlives it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.domain.model import Status
from gateway.upstream.spec import ServerSpec, StdioTransport
from tests.fakes import border, eventually, gone, make_call

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the loop of the test says nothing here


SERVERS = Path(__file__).parents[1] / "servers"


@contextmanager
def house() -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A gateway process, and the three processes that its server has become."""
    command = [sys.executable, "-m", "tests.servers.house"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_no_descendant_survives_the_gateway(number: signal.Signals) -> None:
    with house() as (process, pids):
        assert len(pids) == 3
        assert not any(gone(pid) for pid in pids)
        process.send_signal(number)
        process.wait(5)
        await eventually(lambda: all(gone(pid) for pid in pids), within_s=8)


def warden_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


async def test_killing_the_warden_kills_the_server_and_fails_its_calls() -> None:
    transport = StdioTransport(
        (sys.executable, "-S", str(SERVERS / "lines.py"), "modern", "stubborn")
    )
    async with border(ServerSpec("fake", transport)) as upstreams:
        outcome = await upstreams.call(make_call(name="descendants"))
        server, near, far = json.loads(json.loads(outcome.result)["content"][0]["text"])
        warden = warden_of(server)
        assert "warden.py" in command_of(warden)
        os.kill(warden, signal.SIGKILL)
        await eventually(lambda: gone(server))
        assert (await upstreams.call(make_call(name="echo"))).status in {Status.OK, Status.FAILED}
        for pid in (near, far):  # nobody is left to end these: the warden was
            os.kill(pid, signal.SIGKILL)
