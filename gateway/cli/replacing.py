"""Replacing a file: whole or not at all, only where it seems to be, and only if it is still the one
that was looked at."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.domain.operator import Exit, OperationRefused

MAX_BYTES = 16_777_216
PRIVATE, PUBLIC = 0o600, 0o644
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Looked:
    """A file as it was when it was looked at."""

    path: Path  # itself, no link
    body: bytes | None  # None: it is not there yet
    mode: int

    @property
    def text(self) -> str:
        """Raises: OperationRefused: it is not UTF-8 text."""
        try:
            return (self.body or b"").decode()
        except UnicodeDecodeError as err:
            raise _unfit(self.path, "it is not UTF-8 text") from err


def look(path: Path, within: Path, mode: int = PRIVATE) -> Looked:
    """What is at *path*; *mode* is for the file that is not there yet.

    A link may lead to another place below *within*, and nowhere else: a folder that somebody else
    filled must not choose which file is written.
    Raises: OperationRefused: it leads outside, is no file, cannot be read, or is somebody else's.
    """
    try:
        real, root = path.resolve(), within.resolve()
        if not real.is_relative_to(root):
            raise _unfit(path, f"it leads to {real}, outside {root}")
        descriptor = os.open(real, _OPEN)
    except FileNotFoundError:
        return Looked(real, None, mode)
    except (OSError, RuntimeError) as err:  # RuntimeError: links in a circle
        raise _unfit(path, getattr(err, "strerror", None) or str(err)) from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unfit(path, "it is not a file")
        if os.geteuid() not in (0, status.st_uid):
            raise _unfit(path, "it belongs to somebody else")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            body = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(body) > MAX_BYTES:
        raise _unfit(path, f"it has more than {MAX_BYTES} bytes")
    return Looked(real, body, stat.S_IMODE(status.st_mode))


def put(looked: Looked, content: bytes) -> Looked:
    """Have *content* there instead, with the same mode and owner; a crash leaves one or the other.

    Raises: OperationRefused (conflict): somebody else wrote it meanwhile, and nothing was changed.
    """
    from gateway.store.keys import sync_folder

    folder = looked.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{looked.path.name}.{secrets.token_hex(8)}"
    try:
        _write_new(beside, content, looked.mode, looked.path)
        _refuse_changed(looked)
        if looked.body is None:
            os.link(beside, looked.path)  # unlike a rename, it never takes another's place
        else:
            beside.replace(looked.path)
    except FileExistsError as err:
        raise _changed(looked.path) from err
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()
    sync_folder(folder)
    return Looked(looked.path, content, looked.mode)


def back_up(looked: Looked, now: datetime) -> Path | None:
    """A copy beside it that only its owner can read, never in place of another; None of nothing."""
    from gateway.store.keys import sync_folder

    if looked.body is None:
        return None
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    copy = looked.path.with_name(f"{looked.path.name}.{stamp}.before-customhouse")
    _write_new(copy, looked.body, looked.mode & PRIVATE, looked.path)
    sync_folder(copy.parent)
    return copy


def replaced(looked: Looked, content: bytes, now: datetime) -> Path | None:
    """`put`, and beside it a copy of what was there, if that was done."""
    copy = back_up(looked, now)
    try:
        put(looked, content)
    except (OperationRefused, OSError):
        if copy:
            copy.unlink()
        raise
    return copy


def _write_new(path: Path, content: bytes, mode: int, like: Path) -> None:
    descriptor = os.open(path, _MAKE, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if os.geteuid() == 0:
                owner = (like if like.exists() else like.parent).stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except OSError:
        path.unlink()  # half of a copy is none
        raise


def _refuse_changed(looked: Looked) -> None:
    """As late as possible; what is written in the instant between cannot be noticed."""
    try:
        descriptor = os.open(looked.path, _OPEN)
    except FileNotFoundError:
        now = None
    except OSError as err:
        raise _changed(looked.path) from err
    else:
        with os.fdopen(descriptor, "rb") as file:
            now = file.read(MAX_BYTES + 1)
    if now != looked.body:
        raise _changed(looked.path)


def _changed(path: Path) -> OperationRefused:
    return OperationRefused(
        f"{path} has changed since it was looked at",
        "another program wrote it meanwhile; what it wrote was kept, and nothing was changed",
        "close the program that writes it, and repeat the command",
        Exit.CONFLICT,
    )


def _unfit(path: Path, why: str) -> OperationRefused:
    return OperationRefused(
        f"{path} is left alone",
        why,
        "name the file itself with --file, or edit it by hand",
        Exit.INVALID,
    )
