"""Secrets are never in the file, only references: env:NAME or file:PATH."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from gateway.config.error import ConfigError

MIN_KEY_CHARS = 32
_MIN_DISTINCT_CHARS = 10
_MAX_SECRET_BYTES = 65_536
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
_ANYONE_WRITES = stat.S_IWGRP | stat.S_IWOTH
_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def resolve(reference: str, environ: Mapping[str, str]) -> str:
    """The secret that *reference* names; one trailing line break of a file is not part of it.

    A file that others can write is refused. One that others can read is not, because containers
    mount secrets so; `load` warns of it.
    Raises: ConfigError: not a reference, nothing there, empty, or not one line of text.
    """
    if not is_reference(reference):
        # It may be the secret itself, written where its reference belongs: it is not repeated.
        raise ConfigError(
            "a secret is given by reference only",
            "what stands in the file ends up in backups and repositories",
            "write env:NAME or file:PATH",
        )
    kind, _, name = reference.partition(":")
    secret = _from_environment(name, environ) if kind == "env" else _from_file(Path(name))
    if not secret or not secret.isprintable() or secret != secret.strip():
        raise ConfigError(
            f"{reference} does not hold one line of text",
            "a secret goes into a header or an environment, where blanks and line breaks would cut it",
            "store exactly the secret, nothing else",
        )
    return secret


def check_key(agent: str, reference: str, key: str) -> None:
    """Raises: ConfigError: somebody could guess *key*."""
    if len(key) < MIN_KEY_CHARS or len(set(key)) < _MIN_DISTINCT_CHARS or not key.isascii():
        raise ConfigError(
            f"the key of agent {agent} ({reference}) can be guessed",
            f"a key has at least {MIN_KEY_CHARS} random ASCII characters",
            f"{_MAKE_ONE}, or leave `key` out and run: customhouse key issue {agent}",
        )


def exposed_file(reference: str) -> str:
    """A warning when other users of this machine can read the secret; "" otherwise."""
    kind, _, name = reference.partition(":")
    if kind == "file":
        try:
            mode = Path(name).stat().st_mode
        except OSError:
            return ""  # told when it is needed
        if mode & stat.S_IROTH:
            return f"{reference} can be read by every user of this machine (chmod 600 it)"
    return ""


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise ConfigError(
            f"env:{name} is not set",
            "the configuration refers to it for a secret",
            f"set {name} in the environment of the gateway, or use file:PATH",
        )
    return environ[name]


def _from_file(path: Path) -> str:
    try:
        # Not to hang on a pipe that somebody put there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise _unusable(path, f"it cannot be read ({err.strerror})") from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "it is not a file")
        if status.st_mode & _ANYONE_WRITES:
            raise _unusable(path, "other users can write it, so they could choose the secret")
        body = os.read(descriptor, _MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(body) > _MAX_SECRET_BYTES:
        raise _unusable(path, f"it has more than {_MAX_SECRET_BYTES} bytes")
    try:
        return body.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as err:
        raise _unusable(path, "it is not UTF-8 text") from err


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"file:{path} does not give a secret",
        why,
        "make it a file of mode 600 that the gateway's user owns and that holds only the secret",
    )
