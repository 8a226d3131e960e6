"""Having an operation done: over the socket of the running server, else by owning the house briefly."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import pwd
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.domain.operator import Exit, OperationRefused
from gateway.edge.admin import (
    MAX_ANSWER_BYTES,
    OPERATION_S,
    SOCKET,
    address,
    author_of,
    operators_of,
)

if TYPE_CHECKING:
    from gateway.config import Config

BUSY_S = 3.0  # how long another owner of the folder may take to go, or to open its socket
RETRY_S = 0.1
CONNECT_S = 5.0
# With two_person_policy it matters who asks. Only on the socket does the kernel say so: in a name
# space of users, anybody is root to his own processes.
VOUCHED = frozenset({"policy.apply", "policy.rollback", "policy.approve"})
WAITING = "approval."


def perform(
    config: Config,
    environ: Mapping[str, str],
    name: str,
    args: Mapping[str, Any],
    unserved: Callable[[], None],
) -> Any:
    """Have operation *name* done and return what became of it; *unserved* is told that no server does it.

    Raises: OperationRefused: it was not done. Whatever opening the house raises.
    """
    from gateway.store.engine import FolderInUse

    until_s = time.monotonic() + BUSY_S
    while True:
        answer = ask(config.data_dir / SOCKET, name, args)
        if answer is not None:
            return _unpacked(answer)
        try:
            return _here(config, environ, name, args, unserved)
        except FolderInUse:
            # A server that is starting holds the lock and has no socket yet.
            if time.monotonic() > until_s:
                raise
            time.sleep(RETRY_S)


def health(config: Config) -> Mapping[str, Any] | None:
    """What the gateway that runs says of itself; None when none runs."""
    answer = ask(config.data_dir / SOCKET, "server.health", {})
    if answer is None:
        return None
    said = answer.get("ok", {})
    return said if isinstance(said, dict) else {}


def with_lock(config: Config, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Definitions with `not_in_lock`: why a gateway that runs frozen refuses what is approved."""
    unlocked: dict[str, str] = {}
    with suppress(OperationRefused):  # one that does not answer takes no list away
        unlocked = (health(config) or {}).get("not_in_lock", {})
    return [row | {"not_in_lock": unlocked.get(row["object"], "")} for row in rows]


def with_restart(config: Config, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Agents, with `at_restart` where the gateway that runs will know another when it starts again."""
    answer = None
    with suppress(OperationRefused):  # one that does not answer takes no list away
        answer = ask(config.data_dir / SOCKET, "agent.list", {})
    if answer is None or "ok" not in answer:
        return rows
    running = {row["name"]: row for row in answer["ok"]}
    marked = [row | _at_restart(row, running) for row in rows]
    gone = running.keys() - {row["name"] for row in rows}
    return marked + [running[name] | {"at_restart": "removed"} for name in sorted(gone)]


def _at_restart(row: dict[str, Any], running: Mapping[str, Any]) -> dict[str, Any]:
    if row["name"] not in running:
        return {"at_restart": "added"}
    return {} if running[row["name"]] == row else {"at_restart": "changed"}


def ask(path: Path, name: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The server's answer, or None when none listens at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_S)
        try:
            with address(path) as place:
                connection.connect(place)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except PermissionError as err:
            raise _no_operator(path) from err
        except OSError as err:
            raise _silent(path, err) from err
        try:
            connection.settimeout(OPERATION_S + CONNECT_S)
            _send(connection, {"op": name, "args": dict(args)})
            return _received(connection)
        except (OSError, ValueError) as err:
            raise _silent(path, err) from err


def _send(connection: socket.socket, request: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):  # refused before it was read: the answer says why
        connection.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")


def _received(connection: socket.socket) -> Mapping[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = connection.recv(65_536)
        if not chunk or len(line) > MAX_ANSWER_BYTES:
            raise ValueError("the connection was closed before the answer")
        line += chunk
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not one")  # noqa: TRY004 - told to the operator as it is
    return answer


def _unpacked(answer: Mapping[str, Any]) -> Any:
    if "ok" in answer:
        return answer["ok"]
    no = answer.get("refused", {})
    said = [str(no.get(key, "")) for key in ("what", "why", "fix")]
    code = no.get("exit_code", Exit.BUG)
    raise OperationRefused(said[0], said[1], said[2], Exit(code if code in set(Exit) else Exit.BUG))


def _here(
    config: Config,
    environ: Mapping[str, str],
    name: str,
    args: Mapping[str, Any],
    unserved: Callable[[], None],
) -> Any:
    """Own the house for one operation."""
    if name.startswith(WAITING):
        raise _nobody_waits()
    if config.two_person_policy and name in VOUCHED:
        raise _not_vouched_for(name)
    import structlog

    from gateway.app.logs import configure_logs
    from gateway.app.operations.administration import owned

    author = author_of(_operator())
    _refuse_strangers(config.data_dir)
    _become_owner(config.data_dir)
    if not structlog.is_configured():
        configure_logs("warning")

    async def once() -> Any:
        async with owned(config, environ) as administration:
            unserved()
            return await administration.operate(author, name, args)

    try:
        return asyncio.run(once())
    except PermissionError as err:
        raise _no_operator(config.data_dir) from err


def alone(config: Config, work: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    """Do *work*, which is told its author, on a house that cannot be opened as it is.

    Raises: OperationRefused: not an operator.
    """
    author = author_of(_operator())
    _refuse_strangers(config.data_dir)
    _become_owner(config.data_dir)
    try:
        return asyncio.run(work(author))
    except PermissionError as err:
        raise _no_operator(config.data_dir) from err


@functools.cache
def _operator() -> int:
    """Who typed the command, whoever the process has become since."""
    return os.geteuid()


def _refuse_strangers(data_dir: Path) -> None:
    """The same rule as on the socket, so that it does not matter whether a server runs."""
    try:
        operators = operators_of(data_dir)
    except FileNotFoundError:
        return  # it is about to be made, by its owner
    except PermissionError as err:
        raise _no_operator(data_dir) from err
    if os.geteuid() not in operators:
        raise _no_operator(data_dir)


def _become_owner(data_dir: Path) -> None:
    """Root goes on as the owner of the folder, for good.

    A file that root made there, such as the remembered checkpoint, could not be read by the gateway
    when it starts again; and children of ours have no business with root's rights.
    """
    if os.geteuid() != 0 or not data_dir.exists():
        return
    owner = data_dir.stat()
    if owner.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        os.setgroups([owner.st_gid])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _no_operator(path: Path) -> OperationRefused:
    return OperationRefused(
        f"uid {os.geteuid()} is not an operator of this gateway",
        f"{path} belongs to somebody else, and only its owner and root may do this",
        "run the command as one of them",
        Exit.NOT_OPERATOR,
    )


def _nobody_waits() -> OperationRefused:
    return OperationRefused(
        "no gateway runs here",
        "calls wait for an approval at a gateway that runs, and only that can tell who approves",
        "start it: customhouse serve",
        Exit.UNREACHABLE,
    )


def _not_vouched_for(name: str) -> OperationRefused:
    return OperationRefused(
        f"{name.replace('.', ' ')}: no gateway runs here",
        "two_person_policy is on, and only a gateway that runs can tell who asks",
        "start it, then repeat the command: customhouse serve",
        Exit.UNREACHABLE,
    )


def _silent(path: Path, err: Exception) -> OperationRefused:
    return OperationRefused(
        f"the gateway at {path} does not answer",
        f"{type(err).__name__}: {err}; whether the operation took effect is in its log",
        "look with: customhouse audit query kind:change, and at the gateway's own log",
        Exit.UNREACHABLE,
    )
