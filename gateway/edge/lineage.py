"""Whose child a process is, as the kernel says it: a server of ours is no operator."""

from __future__ import annotations

from pathlib import Path

MAX_STEPS = 64


def descends_from(pid: int, ancestor: int) -> bool | None:
    """Whether *ancestor* is the parent of *pid*, or its parent's, and so on; None: *pid* is not seen.

    A process that let its parents die is the child of whoever took it in, which for servers is
    their warden, and that one is ours.
    """
    parent = _parent_of(pid)
    if parent is None:
        return None
    for _ in range(MAX_STEPS):
        if parent == ancestor:
            return True
        above = _parent_of(parent) if parent > 1 else None
        if above is None:
            return False
        parent = above
    return False


def _parent_of(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    return None
