"""The operator's socket: who may speak, what is understood, and what becomes of half a request."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.domain.operator import Exit, OperationRefused
from gateway.edge import admin
from gateway.edge.lineage import descends_from
from tests.cli.household import listens

pytestmark = pytest.mark.anyio
NOBODY = 65_534


class Desk:
    """Operations that can be held up, to see what happens meanwhile."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.finished = asyncio.Event()
        self.done: list[str] = []

    async def operate(self, author: str, name: str, args: Mapping[str, Any]) -> Any:
        self.begun.set()
        if name == "refuse":
            raise OperationRefused("no", "because", "do not", Exit.CONFLICT)
        if name == "fail":
            raise RuntimeError("secret inner state")
        if name == "wait":
            await self.go_on.wait()
        self.done.append(name)
        self.finished.set()
        return {"author": author, "args": dict(args)}


@asynccontextmanager
async def serving(folder: Path, desk: Desk) -> AsyncIterator[Path]:
    path = folder / admin.SOCKET
    task = asyncio.ensure_future(admin.serve(path, desk.operate))
    try:
        with anyio.fail_after(5):
            while not listens(path):
                assert not task.done(), task
                await asyncio.sleep(0)
        yield path
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask(path: Path, line: bytes) -> dict[str, Any]:
    """Send raw bytes, and read one answer."""
    with admin.address(path) as place:
        reader, writer = await asyncio.open_unix_connection(place, limit=1 << 24)
    with anyio.fail_after(10):
        writer.write(line)
        answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    return answer


def request(name: str, **args: Any) -> bytes:
    return json.dumps({"op": name, "args": args}).encode() + b"\n"


async def test_the_author_is_who_the_kernel_says(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        answer = await ask(path, request("do", author="uid:0 root", x=1))
        expected = admin.author_of(os.geteuid())
        assert answer == {"ok": {"author": expected, "args": {"author": "uid:0 root", "x": 1}}}
        assert expected.startswith(f"uid:{os.geteuid()}")


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_refusal_and_a_fault_are_answers(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        refused = (await ask(path, request("refuse")))["refused"]
        assert refused == {"what": "no", "why": "because", "fix": "do not", "exit_code": 6}
        fault = (await ask(path, request("fail")))["refused"]
        assert fault["exit_code"] == Exit.BUG
        assert "secret" not in json.dumps(fault)
        assert "ok" in await ask(path, request("do"))  # and the server goes on


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\n", id="nothing"),
        pytest.param(b"[]\n", id="a list"),
        pytest.param(b'{"args":{}}\n', id="no operation"),
        pytest.param(b'{"op":"do","args":[]}\n', id="arguments that are a list"),
        pytest.param(b'{"op":"do","uid":0}\n', id="an unknown member"),
        pytest.param(b'{"op":"do","op":"other"}\n', id="a member twice"),
        pytest.param(b'{"op":"do","args":{"a":NaN}}\n', id="not a number"),
        pytest.param(b'{"op":"do"}{"op":"do"}\n', id="two requests in a line"),
        pytest.param(b'{"op":"\xff"}\n', id="not UTF-8"),
        pytest.param(b'{"op":"do","args":{"a":' + b"[" * 9000 + b"]" * 9000 + b"}}\n", id="deep"),
        pytest.param(b'{"op":"' + b"a" * (admin.MAX_REQUEST_BYTES + 1) + b'"}\n', id="too long"),
    ],
)
async def test_what_is_not_a_request_is_refused(tmp_path: Path, line: bytes) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        assert (await ask(path, line))["refused"]["exit_code"] == Exit.USAGE
        assert desk.done == []
        assert "ok" in await ask(path, request("do"))


async def test_several_requests_use_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, Desk()) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        with anyio.fail_after(5):
            for number in range(3):
                writer.write(request("do", n=number))
                assert json.loads(await reader.readline())["ok"]["args"] == {"n": number}
        writer.close()


async def test_one_that_waits_holds_up_nobody(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        waiting = asyncio.ensure_future(ask(path, request("wait")))
        with anyio.fail_after(5):
            await desk.begun.wait()
            assert "ok" in await ask(path, request("do"))
            desk.go_on.set()
            assert "ok" in await waiting


async def test_an_operation_goes_on_when_its_asker_leaves(tmp_path: Path) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        _, writer = await asyncio.open_unix_connection(path)
        with anyio.fail_after(5):
            writer.write(request("wait"))
            await desk.begun.wait()
            writer.close()
            await writer.wait_closed()
            desk.go_on.set()
            await desk.finished.wait()
    assert desk.done == ["wait"]


async def test_what_is_under_way_is_finished_when_the_server_ends(tmp_path: Path) -> None:
    desk = Desk()
    path = tmp_path / admin.SOCKET
    async with serving(tmp_path, desk):
        waiting = asyncio.ensure_future(ask(path, request("wait")))
        with anyio.fail_after(5):
            await desk.begun.wait()
        asyncio.get_running_loop().call_later(0.05, desk.go_on.set)
    assert "ok" in await waiting
    assert desk.done == ["wait"]


async def test_what_does_not_finish_then_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "FINISH_S", 0.05)
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        waiting = asyncio.ensure_future(ask(path, request("wait")))
        with anyio.fail_after(5):
            await desk.begun.wait()
    assert (await waiting)["refused"]["exit_code"] == Exit.UNREACHABLE


async def test_who_sends_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "READ_S", 0.05)
    async with serving(tmp_path, Desk()) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        with anyio.fail_after(5):
            assert await reader.read() == b""
        writer.close()


async def test_only_so_many_are_attended_to_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        waiting = asyncio.ensure_future(ask(path, request("wait")))
        with anyio.fail_after(5):
            await desk.begun.wait()
            monkeypatch.setattr(admin, "MAX_CONNECTIONS", 1)
            answer = await ask(path, request("do"))
            assert answer["refused"]["exit_code"] == Exit.UNREACHABLE
            desk.go_on.set()
            await waiting


async def test_a_dead_servers_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / admin.SOCKET))
    async with serving(tmp_path, Desk()) as path:
        assert "ok" in await ask(path, request("do"))
    path.write_text("somebody's")
    with pytest.raises(FileExistsError):
        await admin.serve(path, Desk().operate)
    assert path.read_text() == "somebody's"


async def test_a_path_longer_than_a_sockets_name_may_be(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    async with serving(deep, Desk()) as path:
        assert len(str(path)) > 108
        assert "ok" in await ask(path, request("do"))


def _as_nobody(path: str) -> bytes:
    """One request by another user, from a child that drops its rights for good."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the test runner may run in here
        answer = b""
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(path)
                with suppress(BrokenPipeError):  # it is answered before it is read
                    connection.sendall(request("do"))
                answer = connection.recv(65_536)
        except OSError as err:
            answer = type(err).__name__.encode()
        finally:
            os.write(writing, answer)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter: those of the test runner are its owner's alone."""
    with tempfile.TemporaryDirectory(prefix="customhouse-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o600, 0o666], ids=["as it is", "opened by mistake"])
async def test_another_user_is_refused_whatever_the_mode_of_the_socket(
    open_folder: Path, mode: int
) -> None:
    desk = Desk()
    async with serving(open_folder, desk) as path:
        await anyio.Path(path).chmod(mode)
        answer = await anyio.to_thread.run_sync(_as_nobody, str(path))
        assert not desk.begun.is_set()
    if mode == 0o600:
        assert answer == b"PermissionError"
    else:
        refused = json.loads(answer)["refused"]
        assert refused["exit_code"] == Exit.NOT_OPERATOR
        assert str(NOBODY) in refused["what"]


async def test_a_child_of_the_gateway_does_not_administer_it(tmp_path: Path) -> None:
    """Also a grandchild whose parent is alive; the one who serves here is this very process."""
    knock = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "print(s.makefile().readline())"
    )
    through = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    desk = Desk()
    async with serving(tmp_path, desk) as path:
        with admin.address(path) as place:
            for command in (["-c", knock], ["-c", through, knock]):
                child = await asyncio.create_subprocess_exec(
                    sys.executable, *command, place, stdout=asyncio.subprocess.PIPE
                )
                async with asyncio.timeout(20):
                    said, _ = await child.communicate()
                refused = json.loads(said)["refused"]
                assert refused["exit_code"] == 4
                assert "does not administer" in refused["what"]
    assert desk.done == []


def test_who_descends_from_whom() -> None:
    assert descends_from(os.getpid(), os.getppid()) is True
    assert descends_from(os.getppid(), os.getpid()) is False
    assert descends_from(2**22 + 1, os.getpid()) is None  # above the highest pid there can be
