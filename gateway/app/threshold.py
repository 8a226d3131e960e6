"""Before anything is opened: is the place free, and is the process closed to its own children?"""

from __future__ import annotations

import ctypes
import errno
import socket
import sys

from gateway.config import Config
from gateway.domain.operator import Exit, OperationRefused
from gateway.edge import admin

BACKLOG = 2048
_PR_SET_DUMPABLE = 4


def close_to_children() -> None:
    """Let no process of the same user read the memory or environment of this one (Linux).

    Servers run as children with its user's rights; its environment holds the secrets of the others.
    What is executed from here on starts dumpable again, and root may look all the same.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def refuse_second(config: Config) -> None:
    """Raises: OperationRefused: a gateway serves this data folder already."""
    path = config.data_dir / admin.SOCKET
    try:
        with admin.address(path) as place, socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(1.0)
            knocking.connect(place)
    except OSError:
        return  # nobody is there; whoever else has the folder is found at its lock
    raise OperationRefused(
        "a gateway is already serving here",
        f"it answers at {path}, and one process owns a data folder",
        "stop that one (SIGTERM), or choose another `data_dir` and `listen` for this one",
        Exit.CONFLICT,
    )


def bound(config: Config) -> socket.socket:
    """A socket bound to the address of *config*; `open_to_callers` lets them in.

    Raises: OperationRefused: it is taken, not ours to bind, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in config.listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.listen.host, config.listen.port))
    except OSError as err:
        listener.close()
        raise _not_bound(config, err) from err
    listener.setblocking(False)
    return listener


def open_to_callers(listener: socket.socket, config: Config) -> None:
    """Raises: OperationRefused: somebody else began to listen there since it was bound."""
    try:
        listener.listen(BACKLOG)
    except OSError as err:
        raise _not_bound(config, err) from err


def _not_bound(config: Config, err: OSError) -> OperationRefused:
    place = str(config.listen)
    if err.errno == errno.EADDRINUSE:
        return OperationRefused(
            f"{place} is taken",
            "another program listens there",
            "change `listen` in the configuration, or stop the other program",
            Exit.CONFLICT,
        )
    if err.errno == errno.EACCES:
        what, why = f"{place} cannot be bound", "this user may not open that port (below 1024)"
        fix = "change `listen` to a port from 1024 on, and put a reverse proxy in front"
        return OperationRefused(what, why, fix, Exit.INVALID)
    return OperationRefused(
        f"{place} cannot be listened on: {err.strerror}",
        "it is not an address of this machine",
        "change `listen` in the configuration, for example to 127.0.0.1:8080",
        Exit.INVALID,
    )
