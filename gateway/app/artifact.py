"""What a server is, as far as a lock can pin it down, and what a lock then lets through."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway.config import Config, Model, Peer, Server, Upstream
from gateway.config.sources.loaders import chooses_code
from gateway.config.sources.references import secret_argument
from gateway.domain.lock import MAX_LOCK_BYTES, BadLock, Lock, read
from gateway.domain.operator import Exit, OperationRefused
from gateway.store.pins import Place
from gateway.store.registry import Registry

LOCK_SUFFIX, LOCK_NAME = ".lock", "customhouse.lock"
MAX_TOLD = 20
MAX_DOCUMENT_BYTES = 16_777_216
_HIDDEN = "..."
_OLDER = (
    "the lock is older, and does not say with which variables and where it is started;"
    " write it anew: customhouse tool lock"
)
log = structlog.get_logger("customhouse.lock")


def lock_file(config: Config) -> Path:
    """Where the lock is: beside the configuration, called like it."""
    return config.file.with_suffix(LOCK_SUFFIX) if config.file else Path(LOCK_NAME)


def read_lock(file: Path) -> Lock:
    """Raises: OperationRefused (invalid): it is not there, or not as `tool lock` wrote it."""
    try:
        with file.open("rb") as opened:
            return read(opened.read(MAX_LOCK_BYTES + 1).decode())
    except OSError as err:
        raise _unusable(file, f"it cannot be read: {err.strerror}") from err
    except (BadLock, UnicodeDecodeError) as err:
        raise _unusable(file, str(err)) from err


def artifact_digest(server: Upstream, config: Config) -> str:
    """What is started, connected to or served, as one digest.

    Of its environment it holds the variables that decide which code runs, as they are given: a
    reference stands for itself. All others differ from machine to machine. Its folder counts from
    that of the configuration, so that both may lie elsewhere.
    """
    around = _surroundings(server, config) if isinstance(server, Server) else {}
    return _digest({**_target(server), **around})


def artifact_shown(server: Upstream) -> str:
    """The same for people; words that may be secrets are left out."""
    if isinstance(server, Model):
        return f"{server.terms.id} at {server.url.partition('?')[0]}"
    if isinstance(server, Peer) or server.url:
        return server.url.partition("?")[0]
    if server.python:
        return f"python:{server.python}"
    shown: list[str] = []
    for word in server.command:
        before = shown[-1] if shown else ""
        shown.append(_HIDDEN if secret_argument([before, word]) == 1 else word)
    return shlex.join(shown)


def frozen_to(lock: Lock, servers: Mapping[str, Upstream], config: Config) -> Mapping[Place, str]:
    """What may be served of *servers* under *lock*: place -> digest."""
    now = {name: artifact_digest(server, config) for name, server in servers.items()}
    for name, digest in now.items():
        locked = lock.servers.get(name)
        if locked is None:
            log.warning("server_not_locked", server=name, why="it is not in the lock")
        elif locked.digest != digest:
            # Locks of before said nothing of the surroundings, so they let any code through.
            is_older = locked.digest == _digest(_target(servers[name]))
            why = _OLDER if is_older else "it is not what the lock says"
            log.warning("server_not_locked", server=name, why=why)
    return lock.permitted(now)


def tell_unlocked(registry: Registry) -> None:
    """Say what is approved and not served, because it is not in the lock."""
    unlocked = list(registry.unlocked())
    for place, why in unlocked[:MAX_TOLD]:
        log.warning("not_in_lock", server=place[0], kind=str(place[1]), name=place[2], why=why)
    if len(unlocked) > MAX_TOLD:
        log.warning("not_in_lock", more=len(unlocked) - MAX_TOLD)


def _target(server: Upstream) -> Mapping[str, Any]:
    if isinstance(server, Model):
        return {"url": server.url, "model": server.terms.id}
    if isinstance(server, Peer):
        signers = server.jwks if "://" in server.jwks else _document(server.jwks[len("file:") :])
        return {"url": server.url, "jwks": signers}
    target: dict[str, Any] = {
        "command": list(server.command),
        "url": server.url,
        "python": server.python,
    }
    if server.openapi is not None:
        target["document"] = _document(server.openapi.document)
        target["writes"] = server.openapi.writes
    return target


def _surroundings(server: Server, config: Config) -> Mapping[str, Any]:
    """With what and where it is started, as far as that decides which code runs; often nothing."""
    found: dict[str, Any] = {}
    env = {name: value for name, value in server.env.items() if chooses_code(name)}
    if env:
        found["env"] = env
    if server.cwd is not None:
        # Of any command: npx and python look there first, and an argument may be a path.
        base = (config.file.parent if config.file else Path.cwd()).absolute()
        found["cwd"] = os.path.relpath(server.cwd, base)
    return found


def _digest(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _document(place: str) -> str:
    """The digest of what is at a path; what is fetched stands for itself."""
    if place.startswith(("http://", "https://")):
        return place
    try:
        with Path(place).open("rb") as opened:
            body = opened.read(MAX_DOCUMENT_BYTES + 1)
    except OSError:
        return ""
    return hashlib.sha256(body).hexdigest()


def _unusable(file: Path, why: str) -> OperationRefused:
    return OperationRefused(
        f"{file} cannot be used",
        why,
        "write it anew from what is approved, and compare: customhouse tool lock",
        Exit.INVALID,
    )
