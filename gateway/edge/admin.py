"""The operator's socket: administration by those for whom the kernel vouches.

    -> {"op":"agent.disable","args":{"name":"report-bot"}}
    <- {"ok":{"changed":true}}
    <- {"refused":{"what":"...","why":"...","fix":"...","exit_code":6}}

One request and one answer per line. The peer's uid comes from the socket, not from the request:
root and the owner of the data folder are operators, everybody else is answered before a byte of
theirs is read. So are the gateway's own children, who have its uid: they are servers, not people.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.edge.lineage import descends_from
from gateway.edge.strict import scan

SOCKET = "admin.sock"
MAX_REQUEST_BYTES = 1_048_576
MAX_ANSWER_BYTES = 67_108_864
MAX_CONNECTIONS = 32
READ_S = 10.0  # for one request, from the moment it may come
OPERATION_S = 180.0
FINISH_S = 5.0  # for what is under way when the server ends
WRITE_S = 10.0
_MAX_ADDRESS_BYTES = 100  # sun_path holds 108 on Linux, fewer elsewhere
_PEER = struct.Struct("=iII")  # struct ucred: pid, uid, gid

Operate = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]
"""(author, operation, arguments) -> what becomes of it, JSON-able. Raises: OperationRefused."""

log = structlog.get_logger("customhouse.admin")


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    args: dict[str, Any] = {}


_REQUEST = msgspec.json.Decoder(_Request)


def author_of(uid: int) -> str:
    """How the log knows the operator: `uid:1000 alice`, without the name where there is none."""
    try:
        return f"uid:{uid} {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid:{uid}"


def operators_of(folder: Path) -> frozenset[int]:
    """The uids that may administer the house in *folder*."""
    return frozenset({0, folder.stat().st_uid})


@contextmanager
def address(path: Path) -> Iterator[str]:
    """What to bind or connect to for *path*, also when it is longer than a socket's name may be."""
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def serve(path: Path, operate: Operate) -> None:
    """Answer operators at *path* until cancelled; what is under way then has FINISH_S to end.

    Whoever calls this holds the lock on the folder, so that a socket found there is a dead one's.
    Raises: OSError: the socket cannot be made there.
    """
    listener = _listen(path)
    desk = _Desk(operate, operators_of(path.parent))
    try:
        async with anyio.create_task_group() as group:
            try:
                await _accept(listener, desk, group)
            finally:
                desk.close()
    finally:
        _leave(listener, path)


def _leave(listener: socket.socket, path: Path) -> None:
    listener.close()
    with suppress(OSError):
        path.unlink()


def _listen(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is in the way: it is not a socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Before bind, so that there is no moment at which others may connect. (Linux makes the
        # file with the mode of the socket; the uid of each peer is looked at anyway.)
        os.fchmod(listener.fileno(), 0o600)
        with address(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(MAX_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


async def _accept(listener: socket.socket, desk: _Desk, group: TaskGroup) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as err:  # out of descriptors, or the peer left: the next one may do better
            log.warning("admin_not_accepted", error=type(err).__name__)
            await asyncio.sleep(0.1)
            continue
        group.start_soon(desk.attend, connection)


class _Desk:
    """Attends to connections, and knows what is under way."""

    def __init__(self, operate: Operate, operators: frozenset[int]) -> None:
        self._operate = operate
        # Looked up once: where names of users come from a directory, that may take a while.
        self._authors = {uid: author_of(uid) for uid in operators}
        self._connections = 0
        self._under_way: set[anyio.CancelScope] = set()

    def close(self) -> None:
        """Nothing new begins; what is under way has FINISH_S left."""
        deadline = anyio.current_time() + FINISH_S
        for scope in self._under_way:
            scope.deadline = min(scope.deadline, deadline)

    async def attend(self, connection: socket.socket) -> None:
        """Answer one peer until it leaves. Whatever goes wrong with it ends there."""
        self._connections += 1
        try:
            with connection:
                await self._converse(connection)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the peer left, or sends nothing: there is nobody to tell
        except Exception:
            log.exception("admin_fault")
        finally:
            self._connections -= 1

    async def _converse(self, connection: socket.socket) -> None:
        pid, uid = _peer_of(connection)
        reader, writer = await asyncio.open_unix_connection(
            sock=connection, limit=MAX_REQUEST_BYTES
        )
        try:
            no = self._not_attended(pid, uid)
            if no is not None:
                await _write(writer, _encoded({"refused": no.as_json()}))
                return
            while await self._one(reader, writer, self._authors[uid]):
                pass
        finally:
            writer.close()

    def _not_attended(self, pid: int, uid: int) -> OperationRefused | None:
        if uid not in self._authors:
            log.warning("admin_refused", uid=uid)
            return OperationRefused(
                f"uid {uid} is not an operator of this gateway",
                "only root and the owner of the data folder are",
                "run the command as one of them",
                Exit.NOT_OPERATOR,
            )
        if _is_server_of_ours(pid, uid):
            log.warning("admin_refused", uid=uid, pid=pid)
            return OperationRefused(
                "a server behind the gateway does not administer it",
                f"process {pid} was started by the gateway itself",
                "run the command from a terminal, or another service, of an operator",
                Exit.NOT_OPERATOR,
            )
        if self._connections > MAX_CONNECTIONS:
            return OperationRefused(
                "too many commands at once",
                f"the gateway attends to {MAX_CONNECTIONS} of them",
                "repeat the command in a moment",
                Exit.UNREACHABLE,
            )
        return None

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, author: str
    ) -> bool:
        """One request and its answer; False when there will be no further one."""
        try:
            async with asyncio.timeout(READ_S):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            no = usage(f"a request of more than {MAX_REQUEST_BYTES} bytes", "send less at once")
            await _write(writer, _encoded({"refused": no.as_json()}))
            return False
        # An operation that has begun is finished, whatever becomes of the asker or of the server:
        # half of one would be an entry without its effect.
        answer = _encoded({"refused": _unfinished().as_json()})
        with anyio.CancelScope(shield=True) as scope:
            scope.deadline = anyio.current_time() + OPERATION_S
            self._under_way.add(scope)
            try:
                answer = await self._answer(line, author)
            finally:
                self._under_way.discard(scope)
        await _write(writer, answer)
        return True

    async def _answer(self, line: bytes, author: str) -> bytes:
        try:
            request = _parsed(line)
            return _encoded({"ok": await self._operate(author, request.op, request.args)})
        except OperationRefused as no:
            return _encoded({"refused": no.as_json()})
        except Exception as err:  # a fault of ours must not end the server
            log.exception("admin_fault", author=author)
            return _encoded({"refused": _fault(err).as_json()})


def _peer_of(connection: socket.socket) -> tuple[int, int]:
    """The pid (0: outside our namespace) and the uid of whoever connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(raw)
    return int(pid), int(uid)


def _is_server_of_ours(pid: int, uid: int) -> bool:
    """Children have our uid. One that is gone already, and left its connection to others, is none
    to be trusted; what another user hides from us is no child of ours."""
    if pid in (0, os.getpid()):
        return False
    descends = descends_from(pid, os.getpid())
    return uid == os.geteuid() if descends is None else descends


def _parsed(line: bytes) -> _Request:
    try:
        request = _REQUEST.decode(line)
        scan(line)
    except (ValueError, RecursionError) as err:
        raise usage("a request that is not one", 'send {"op":"...","args":{...}}') from err
    return request


def _encoded(answer: Mapping[str, Any]) -> bytes:
    line = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    if len(line) <= MAX_ANSWER_BYTES:
        return line + b"\n"
    return _encoded({"refused": usage("the answer is too long", "ask for less").as_json()})


async def _write(writer: asyncio.StreamWriter, line: bytes) -> None:
    async with asyncio.timeout(WRITE_S):
        writer.write(line)
        await writer.drain()


def _unfinished() -> OperationRefused:
    return OperationRefused(
        "the operation was not finished in time",
        "it took too long, or the gateway is ending; whether it took effect is in the log",
        "look with: customhouse audit query kind:change",
        Exit.UNREACHABLE,
    )


def _fault(err: Exception) -> OperationRefused:
    return OperationRefused(
        f"the gateway failed: {type(err).__name__}",
        "this is a bug; whether the operation took effect is in the log",
        "see the gateway's own log for the trace, and report it",
        Exit.BUG,
    )
